#!/bin/sh
# Usage: nats.sh DIR PORT
#
# A throw-away nats-server with JetStream in the foreground, on that port of 127.0.0.1 and with DIR as its private folder.
# DIR/more.conf, if there is one, is added to its configuration. Replaces itself by the server: the child's process id is
# the server's.
set -eu
dir=$1 port=$2
mkdir -p "$dir/store"
[ -e "$dir/more.conf" ] || : >"$dir/more.conf"
cat >"$dir/nats.conf" <<END
listen: 127.0.0.1:$port
jetstream { store_dir: "$dir/store", max_file: 1GB }
include "more.conf"
END
exec nats-server --config "$dir/nats.conf"
