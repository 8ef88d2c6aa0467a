#!/usr/bin/env bash
# nats-server 2.9.10 (Debian 12), three servers, a stream with three replicas: after the stream's leader was cut off from both
# others for some seconds under load, its copy may differ from theirs for good. What it had not yet replicated stays in its
# copy under the places where the others have other, acknowledged messages; it refuses the repeats of what it has, and from
# there on the same message has another sequence there. Nothing says so: all three are "current". Whoever then reads by a
# consumer at that server misses messages, and who has read at another one and goes on there by sequence passes over some.
#
# Seen: two publishers with 256 messages outstanding each, a cut of 10 seconds, 11 584 messages acknowledged in the end: the server
# that led before the cut has 11 328 of them, and the copies differ from the place on where the cut began. It takes up to four
# tries.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
package=nats-server=2.9.10-1+b3
apt-get download -qq "$package" >/dev/null 2>&1 || { apt-get update -qq; apt-get download -qq "$package" >/dev/null; }
dpkg -x nats-server_*.deb root
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check nats-py==2.11.0
env/bin/python - "$(find root -type f -name nats-server | head -n 1)" <<'PY'
import asyncio, collections, contextlib, json, os, socket, subprocess, sys, time
import nats

WINDOW, PAUSE, BEFORE, CUT, AFTER, TRIES = 256, 0.15, 3, 10, 4, 4

def port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]

async def quiet(_):
    pass

class Way:
    """A route between two servers that can be cut: nothing goes through, and no connection ends."""

    def __init__(self, to):
        self.to, self.port, self.open = to, port(), asyncio.Event()
        self.open.set()

    async def run(self):
        await asyncio.start_server(self.link, "127.0.0.1", self.port)

    async def link(self, reader, writer):
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
            await asyncio.gather(self.copy(reader, back), self.copy(there, writer))

    async def copy(self, reader, writer):
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                await self.open.wait()
                writer.write(octets)
                await writer.drain()
        writer.close()

async def once(folder):
    clients, routes = [port() for _ in range(3)], [port() for _ in range(3)]
    ways = {(one, other): Way(routes[other]) for one in range(3) for other in range(3) if one != other}
    for way in ways.values():
        await way.run()
    running = []
    for number in range(3):
        known = ", ".join(f"nats://127.0.0.1:{way.port}" for (one, _), way in ways.items() if one == number)
        with open(f"n{number}.conf", "w") as file:
            file.write(f"server_name: n{number}\nlisten: 127.0.0.1:{clients[number]}\n"
                       f"jetstream {{ store_dir: {folder}{number} }}\n"
                       f"cluster {{ name: c, listen: 127.0.0.1:{routes[number]}, routes: [{known}],\n"
                       # Nobody is told another way to it.
                       f"  advertise: \"127.0.0.1:9\", no_advertise: true }}\n")
        log = open(f"n{number}.log", "a")
        running.append(subprocess.Popen([sys.argv[1], "--config", f"n{number}.conf"], stdout=log, stderr=log))
    try:
        return await play(clients, ways)
    finally:
        for own in running:
            own.kill()
            own.wait()

async def connect(number, clients):
    while True:
        try:
            return await nats.connect(f"nats://127.0.0.1:{clients[number]}", allow_reconnect=False, ping_interval=600, error_cb=quiet)
        except Exception:
            await asyncio.sleep(0.2)

async def play(clients, ways):
    links = [await connect(number, clients) for number in range(3)]
    async def ask(subject, value=None, of=1):
        answer = await links[of].request("$JS.API." + subject, json.dumps(value).encode() if value else b"", timeout=5)
        return json.loads(answer.data)
    async def until(what):
        for _ in range(200):
            with contextlib.suppress(Exception):
                if found := await what():
                    return found
            await asyncio.sleep(0.2)
        sys.exit("it did not come to that")
    wanted = {"name": "S", "subjects": ["s"], "storage": "file", "num_replicas": 3, "duplicate_window": 600_000_000_000}
    async def make():
        return (await ask("STREAM.CREATE.S", wanted))["cluster"]["leader"]
    leader = int((await until(make))[1:])
    others = [number for number in range(3) if number != leader]
    stop, acked = asyncio.Event(), collections.Counter()
    async def publisher(number, name):
        link, order, waiting = links[number], 0, {}
        async def one(key):
            while True:
                with contextlib.suppress(Exception):
                    answer = json.loads((await link.request("s", key.encode() * 20, timeout=5, headers={"Nats-Msg-Id": key})).data)
                    if "seq" in answer:
                        acked[key] += 1
                        return
                await asyncio.sleep(0.25)
        under = set()
        while not stop.is_set():
            while len(under) < WINDOW:
                order += 1
                under.add(asyncio.create_task(one(f"{name}{order:07}")))
            _, under = await asyncio.wait(under, timeout=PAUSE, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(PAUSE)
        if under:
            await asyncio.wait(under)
    publishers = [asyncio.create_task(publisher(leader, "a")), asyncio.create_task(publisher(others[0], "b"))]
    cut = [way for pair, way in ways.items() if leader in pair]
    await asyncio.sleep(BEFORE)
    for way in cut:
        way.open.clear()
    await asyncio.sleep(CUT)
    for way in cut:
        way.open.set()
    await asyncio.sleep(AFTER)
    stop.set()
    await asyncio.gather(*publishers)
    await asyncio.sleep(2)
    copies = {}
    while len(copies) < 3:
        copies.update(await copy(links, ask, copies))
    return f"n{leader}", copies, set(acked)

async def copy(links, ask, known):
    """What one server has, by a consumer that lives there."""
    config = {"deliver_policy": "all", "ack_policy": "none", "num_replicas": 1, "mem_storage": True, "headers_only": True,
              "inactive_threshold": 5_000_000_000}
    made = await ask("CONSUMER.CREATE.S", {"stream_name": "S", "config": config})
    server = made.get("cluster", {}).get("leader")
    if server is None or server in known:
        # The servers have no leader that makes consumers yet, or this one was drawn before.
        await asyncio.sleep(0.1)
        return {}
    inbox, seen = links[1].new_inbox(), {}
    messages = await links[1].subscribe(inbox)
    await links[1].publish(f"$JS.API.CONSUMER.MSG.NEXT.S.{made['name']}", json.dumps({"batch": 1_000_000, "no_wait": True}).encode(), reply=inbox)
    with contextlib.suppress(nats.errors.TimeoutError):
        while True:
            message = await messages.next_msg(timeout=3)
            if message.headers and "Nats-Msg-Id" in message.headers:
                seen[message.metadata.sequence.stream] = message.headers["Nats-Msg-Id"]
            elif message.headers:
                break
    return {server: seen}

async def main():
    for number in range(TRIES):
        leader, copies, acked = await once(f"data{number}-")
        whole = copies[next(server for server in sorted(copies) if server != leader)]
        print(f"run {number + 1}: {len(acked)} messages acknowledged; the copies have "
              + ", ".join(f"{server} {len(seen)}" for server, seen in sorted(copies.items())))
        for server, seen in sorted(copies.items()):
            differing = sorted(place for place in set(whole) | set(seen) if whole.get(place) != seen.get(place))
            missing = acked - set(seen.values())
            if differing:
                which = "led before the cut" if server == leader else "followed"
                print(f"{server}, which {which}: {len(differing)} places differ, the first is {differing[0]}; "
                      f"{len(missing)} acknowledged messages are not there")
        if any(seen != whole for seen in copies.values()):
            return
    print(f"the copies were alike in {TRIES} runs", flush=True)
    os._exit(1)

loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda *_: None)
loop.run_until_complete(main())
sys.stdout.flush()
os._exit(0)
PY
