#!/bin/sh
# Usage: [DURABLE=1] postgresql.sh DIR
#
# A throw-away PostgreSQL in the foreground, with DIR as its private folder and a socket there as its only one; no port.
# With DURABLE it waits for the disk. The user radius needs no password. The server refuses to run as root: then it runs as
# postgres, whose DIR becomes. Replaces itself by the server: the child's process id is the server's.
set -eu
dir=$1
mkdir -p "$dir"
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
as=
if [ "$(id -u)" -eq 0 ]; then
	as="setpriv --reuid=postgres --regid=postgres --clear-groups"
	chown postgres: "$dir"
fi
cd "$dir"
[ -d "$dir/data" ] || $as "$bin/initdb" -D "$dir/data" -U radius -A trust -N -E UTF8 --locale=C >"$dir/install.log" 2>&1
exec $as "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync="$([ -n "${DURABLE:-}" ] && echo on || echo off)"
