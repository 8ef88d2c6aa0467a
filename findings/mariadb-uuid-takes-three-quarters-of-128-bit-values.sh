#!/usr/bin/env bash
# MariaDB 10.11.19 (Debian 12): a column of the type UUID does not take every value of 128 bits. Refused is what has a version
# digit of 8 or more together with a variant digit below 8: a quarter of all values, and so of ULIDs and of other ids of 16
# octets that are written as a UUID. With the strict mode the INSERT fails with error 1292, CAST gives NULL with a warning.
# BINARY(16) takes all, and so does the type uuid of PostgreSQL.
#
# Seen: of the 256 pairs of both digits 64 give NULL, all of them with version 8 to f and variant 0 to 7.
set -euo pipefail
folder=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi; rm -rf "$folder"' EXIT
cd "$folder"
packages="mariadb-server-core=1:10.11.19-0+deb12u1 mariadb-server=1:10.11.19-0+deb12u1 mariadb-client-core=1:10.11.19-0+deb12u1
 mariadb-common libmariadb3 liburing2 libsnappy1v5 liblz4-1 liblzo2-2 libnuma1 libaio1 libncurses6 libedit2 libbsd0"
# shellcheck disable=SC2086
apt-get download -qq $packages >/dev/null 2>&1 || { apt-get update -qq; apt-get download -qq $packages >/dev/null; }
for package in *.deb; do dpkg -x "$package" unpacked; done
LD_LIBRARY_PATH=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
export LD_LIBRARY_PATH
mkdir data tmp
share=$folder/unpacked/usr/share/mysql
options=(--no-defaults --datadir="$folder/data" --tmpdir="$folder/tmp" --lc-messages-dir="$share" --skip-grant-tables
    --innodb-buffer-pool-size=16M)
[ "$(id -u)" -ne 0 ] || options+=(--user=root)
echo 'CREATE DATABASE t;' | unpacked/usr/sbin/mariadbd "${options[@]}" --bootstrap >bootstrap.log 2>&1 || { cat bootstrap.log; exit 1; }
unpacked/usr/sbin/mariadbd "${options[@]}" --skip-networking --socket="$folder/s" --pid-file="$folder/pid" >server.log 2>&1 &
server=$!
ask() { unpacked/usr/bin/mariadb --no-defaults -u root -S "$folder/s" -N -B -f t; }
for _ in $(seq 100); do if echo 'SELECT 1' | ask >/dev/null 2>&1; then break; fi; sleep 0.2; done
echo 'SELECT VERSION()' | ask
digits="0 1 2 3 4 5 6 7 8 9 a b c d e f"
for version in $digits; do
    for variant in $digits; do
        echo "SELECT '$version', '$variant' WHERE CAST('018bcfe5-6800-${version}ed4-${variant}734-cc6bfaa6cede' AS UUID) IS NULL;"
    done
done | ask >refused
count=$(wc -l <refused)
others=$(grep -cvP '^[89a-f]\t[0-7]$' refused || true)
echo "$count of 256 pairs of version and variant are refused, $others of them with other digits than 8 to f and 0 to 7"
echo "CREATE TABLE a (u UUID, b BINARY(16)); SET sql_mode = 'STRICT_ALL_TABLES';
INSERT INTO a (b) VALUES (UNHEX('018bcfe568008ed40734cc6bfaa6cede'));
INSERT INTO a (u) VALUES ('018bcfe5-6800-8ed4-0734-cc6bfaa6cede');" | ask 2>&1 | tee inserted
grep -q '^ERROR 1292 ' inserted && [ "$count" = 64 ] && [ "$others" = 0 ] || { echo "this has changed"; exit 1; }
