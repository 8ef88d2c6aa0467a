#!/bin/sh
# Usage: [DURABLE=1] mariadb.sh DIR
#
# A throw-away MariaDB in the foreground, with DIR as its private folder and DIR/db.sock as its only socket; no port.
# With DURABLE what it has confirmed outlives a kill. The user root has no password. Replaces itself by the server: the
# child's process id is the server's.
set -eu
dir=$1
# A server that starts removes what looks like temporary tables of an old one in this folder: in a shared one also those of
# others that run.
mkdir -p "$dir/data" "$dir/tmp"
if [ ! -d "$dir/data/mysql" ]; then
	mariadb-install-db --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --auth-root-authentication-method=normal \
		--skip-test-db >"$dir/install.log" 2>&1
fi
[ "$(id -u)" -ne 0 ] || user=--user=root
exec /usr/sbin/mariadbd --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --socket="$dir/db.sock" --skip-networking \
	--pid-file="$dir/db.pid" --innodb-buffer-pool-size=16M --innodb-flush-log-at-trx-commit=${DURABLE:-0} ${user:-}
