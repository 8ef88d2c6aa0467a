#!/bin/sh
# Usage: rabbitmq.sh DIR PORT DISTRIBUTION_PORT EPMD_PORT
#
# A throw-away RabbitMQ in the foreground, on PORT of 127.0.0.1 and with DIR as its private folder: its node's name, its
# cookie, its port for the distribution of Erlang and its epmd, which ends with it, are its own. DIR/more.conf, if there is
# one, is added to its configuration. Ends with SIGTERM or SIGKILL to its process group.
set -eu
dir=$1 port=$2
mkdir -p "$dir/home" "$dir/mnesia" "$dir/log"
[ -e "$dir/more.conf" ] || : >"$dir/more.conf"
{
	echo "listeners.tcp.1 = 127.0.0.1:$port"
	echo "log.console = false"
	echo "log.file.level = warning"
	cat "$dir/more.conf"
} >"$dir/rabbitmq.conf"
: >"$dir/enabled_plugins.empty"
echo "[]." >"$dir/enabled_plugins"
export HOME="$dir/home" RABBITMQ_HOME=/usr/lib/rabbitmq
export RABBITMQ_NODENAME="tollgate-$port@localhost" RABBITMQ_NODE_PORT="$port" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
export RABBITMQ_DIST_PORT="$3" ERL_EPMD_PORT="$4" ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins"
export RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_PID_FILE="$dir/pid"
export RABBITMQ_CONF_ENV_FILE="$dir/none" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +sbwt none"
exec /usr/lib/rabbitmq/bin/rabbitmq-server
