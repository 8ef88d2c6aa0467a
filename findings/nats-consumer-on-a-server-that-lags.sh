#!/usr/bin/env bash
# nats-server 2.9.10 (Debian 12), three servers: a consumer with one replica on a stream with three may be put on a server
# that has just come back and has not caught up. Its answer says that nothing is pending, without an error or a hint, and a
# question to it is told "no messages", though the stream's leader has had them acknowledged for seconds. So the end that a
# consumer tells is no end: who must know that a message is gone has to ask the leader (STREAM.MSG.GET), and a scan of a
# key-value bucket by a consumer may leave out keys.
#
# Seen: consumers for 2 000 messages, made one after the other while the third server catches up: those on the two others
# have num_pending 2000, those on the third one 0, for some seconds.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
package=nats-server=2.9.10-1+b3
apt-get download -qq "$package" >/dev/null 2>&1 || { apt-get update -qq; apt-get download -qq "$package" >/dev/null; }
dpkg -x nats-server_*.deb root
python3 - "$(find root -type f -name nats-server | head -n 1)" <<'PY'
import json, os, signal, socket, subprocess, sys, time

MESSAGES, BALLAST, OCTETS = 2_000, 15_000, 30_000

def port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]

clients, routes = [port() for _ in range(3)], [port() for _ in range(3)]
known = ", ".join(f"nats://127.0.0.1:{route}" for route in routes)

def start(number):
    with open(f"n{number}.conf", "w") as file:
        file.write(f"server_name: n{number}\nlisten: 127.0.0.1:{clients[number]}\njetstream {{ store_dir: data{number} }}\n"
                   f"cluster {{ name: c, listen: 127.0.0.1:{routes[number]}, routes: [{known}] }}\n")
    log = open(f"n{number}.log", "a")
    return subprocess.Popen([sys.argv[1], "--config", f"n{number}.conf"], stdout=log, stderr=log)

class Link:
    def __init__(self, number):
        self.socket = socket.create_connection(("127.0.0.1", clients[number]), timeout=5)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false}\r\nSUB in 1\r\n')

    def publish(self, subject, body, reply=""):
        self.socket.sendall(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(body), body))

    def ask(self, subject, value=None):
        self.publish("$JS.API." + subject, b"" if value is None else json.dumps(value).encode(), "in")
        while True:
            line = self.lines.readline()
            if line == b"PING\r\n":
                self.socket.sendall(b"PONG\r\n")
            elif line.startswith(b"MSG "):
                answer = json.loads(self.lines.read(int(line.split()[-1])))
                self.lines.readline()
                return answer

def until(what, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = what()
            if found:
                return found
        except (OSError, KeyError):
            pass
        time.sleep(0.2)
    sys.exit("it did not come to that")

running = [start(number) for number in range(3)]
try:
    wanted = {"name": "S", "subjects": ["s.>"], "storage": "file", "num_replicas": 3}
    made = until(lambda: Link(0).ask("STREAM.CREATE.S", wanted)["cluster"])
    leader = int(made["leader"][1:])
    third = next(number for number in range(3) if number != leader)
    running[third].kill()
    running[third].wait()
    link = Link(leader)
    for subject, count, octets in (("s.ballast", BALLAST, OCTETS), ("s.wanted", MESSAGES, 5)):
        for _ in range(count):
            link.publish(subject, b"x" * octets)
    until(lambda: link.ask("STREAM.INFO.S")["state"]["messages"] == MESSAGES + BALLAST)
    running[third] = start(third)
    seen, end = {}, time.monotonic() + 30
    config = {"deliver_policy": "all", "ack_policy": "none", "filter_subject": "s.wanted", "num_replicas": 1,
              "mem_storage": True, "inactive_threshold": 2_000_000_000}
    while time.monotonic() < end and (f"n{third}", MESSAGES) not in seen:
        try:
            answer = link.ask("CONSUMER.CREATE.S", {"stream_name": "S", "config": config})
        except TimeoutError:
            # It was given to the third server before that one listened.
            link = Link(leader)
            continue
        assert "error" not in answer, answer
        key = answer["cluster"]["leader"], answer["num_pending"]
        seen[key] = seen.get(key, 0) + 1
    for (server, pending), count in sorted(seen.items()):
        which = "the third server" if server == f"n{third}" else "another"
        print(f"{which} ({server}): num_pending {pending}, {count} times")
    assert (f"n{third}", 0) in seen, "none was on the server that lags"
    assert all(pending == MESSAGES for server, pending in seen if server != f"n{third}"), seen
finally:
    for own in running:
        own.kill()
PY
