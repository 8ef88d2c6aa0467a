#!/usr/bin/env bash
# nats-server 2.9.10 (Debian 12): STREAM.MSG.DELETE answers with one error code, 10057, for things that a client has to
# treat in opposite ways: the message is gone already (nothing to do), and the stream forbids deletions (nothing ever can
# be done). For "gone" there are two texts. Who removes a value by its sequence, as a compare-and-set, has to read texts.
# And a stream that forbids deletions can never be made to allow them: the update is refused with 10052.
#
# Seen: 10057 "no message found" for a sequence that was deleted, 10057 "stream store EOF" for one that never was, 10057
# "message delete not permitted" with deny_delete; 10052 for the update that would take deny_delete off.
set -euo pipefail
folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
package=nats-server=2.9.10-1+b3
apt-get download -qq "$package" >/dev/null 2>&1 || { apt-get update -qq; apt-get download -qq "$package" >/dev/null; }
dpkg -x nats-server_*.deb root
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$(find root -type f -name nats-server | head -n 1)" -a 127.0.0.1 -p "$port" -js -sd data >log 2>&1 & pid=$!
python3 - "$port" <<'PY'
import json, socket, sys, time

for _ in range(50):
    try:
        link = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
        break
    except OSError:
        time.sleep(0.1)
lines = link.makefile("rb")
lines.readline()
link.sendall(b'CONNECT {"verbose":false}\r\nSUB in 1\r\n')

def ask(subject, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    link.sendall(b"PUB %s in %d\r\n%s\r\n" % (subject.encode(), len(body), body))
    while True:
        line = lines.readline()
        if line == b"PING\r\n":
            link.sendall(b"PONG\r\n")
        elif line.startswith(b"MSG "):
            answer = json.loads(lines.read(int(line.split()[-1])))
            lines.readline()
            return answer

def told(answer):
    return answer["error"]["err_code"], answer["error"]["description"]

def stream(name, **more):
    config = {"name": name, "subjects": [name + ".>"], "storage": "file", **more}
    assert "error" not in ask("$JS.API.STREAM.CREATE." + name, config)
    for text in (b"one", b"two"):
        assert ask(name + ".key", text)["stream"] == name
    return config

def delete(name, sequence):
    return ask("$JS.API.STREAM.MSG.DELETE." + name, {"seq": sequence, "no_erase": True})

stream("OPEN")
assert delete("OPEN", 1)["success"]
shut = stream("SHUT", deny_delete=True)
seen = [told(delete("OPEN", 1)), told(delete("OPEN", 99)), told(delete("SHUT", 1)),
        told(ask("$JS.API.STREAM.UPDATE.SHUT", {**shut, "deny_delete": False}))]
for line in seen:
    print(*line)
want = [(10057, "no message found"), (10057, "stream store EOF"), (10057, "message delete not permitted")]
assert seen[:3] == want and seen[3][0] == 10052, seen
PY
