#!/usr/bin/env bash
# radsecproxy 1.9.2 (Debian 12): an Accounting-Request without User-Name is confirmed by the proxy itself and never
# sent on, whatever the realm `*` says. An Accounting-On (RFC 2866 §5.1), which has no user by nature, is lost the same
# way, so the server behind never closes the sessions of a gateway that was restarted.
# With a User-Name the same request goes on, and without an answer from the server the client gets none.
#
# Seen: both requests without User-Name answered by Accounting-Response, 0 packets at the server; with User-Name 1 or more
# packets at the server and no answer.
set -euo pipefail
folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq radsecproxy=1.9.2-2+deb12u1 libnettle8 >/dev/null 2>&1 || { apt-get update -qq; apt-get download -qq radsecproxy=1.9.2-2+deb12u1 libnettle8 >/dev/null; }
for package in *.deb; do dpkg -x "$package" root; done
libraries=$(find root -name '*.so.*' -printf '%h\n' | sort -u | head -n 1)
export LD_LIBRARY_PATH=$folder/$libraries
read -r proxy server < <(python3 -c '
import socket
ports = []
for _ in range(2):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); ports.append(s)
print(*[s.getsockname()[1] for s in ports])')
cat >conf <<CONF
ListenUDP 127.0.0.1:$proxy
client gateway {
    host 127.0.0.1
    type udp
    secret testing123
}
server upstream {
    host 127.0.0.1
    port $server
    type udp
    secret testing123
}
realm * {
    server upstream
    accountingServer upstream
}
CONF
"$(find "$folder" -path '*/sbin/radsecproxy' | head -n 1)" -f -c conf 2>log & pid=$!
sleep 1
python3 - "$proxy" "$server" <<'PY'
import hashlib, socket, struct, sys

proxy, server = int(sys.argv[1]), int(sys.argv[2])
behind = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
behind.bind(("127.0.0.1", server))
behind.settimeout(2)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(2)

def attribute(kind, value):
    return bytes([kind, len(value) + 2]) + value

def try_request(identifier, attributes):
    body = b"".join(attributes)
    head = struct.pack("!BBH", 4, identifier, 20 + len(body))
    authenticator = hashlib.md5(head + bytes(16) + body + b"testing123").digest()
    client.sendto(head + authenticator + body, ("127.0.0.1", proxy))
    try:
        answer = client.recv(4096)[0]
    except socket.timeout:
        answer = None
    try:
        arrived = len(behind.recv(4096)) > 0
    except socket.timeout:
        arrived = False
    return answer, arrived

nas, session = attribute(4, bytes([192, 0, 2, 1])), attribute(44, b"s1")
seen = [
    try_request(1, [attribute(40, struct.pack("!I", 7)), nas, session]),
    try_request(2, [attribute(40, struct.pack("!I", 1)), nas, session]),
    try_request(3, [attribute(40, struct.pack("!I", 1)), nas, session, attribute(1, b"alice@example.com")]),
]
for name, (answer, arrived) in zip(("Accounting-On", "Start without User-Name", "Start with User-Name"), seen):
    print(f"{name}: answer code {answer}, reached the server: {arrived}")
raise SystemExit(0 if seen == [(5, False), (5, False), (None, True)] else "this has changed")
PY
