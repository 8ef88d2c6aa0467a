"""nats-servers in a folder, and network namespaces for them, which end with the program that made them."""
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

READY_S = 60
PORT = 4222
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def dies_with_us():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ip(*words, of=None):
    """`ip` in the namespace of a process, or here; what it complains of is raised."""
    command = ["ip", *words] if of is None else ["nsenter", "-t", str(of), "-n", "ip", *words]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


class Loopback:
    """Servers side by side on 127.0.0.1."""

    def __init__(self, count):
        self.ports = [(free_port(), free_port(), free_port()) for _ in range(count)]

    def place(self, number):
        return ("127.0.0.1", *self.ports[number - 1])

    def wrap(self, _number, command):
        return command

    def cut(self, *_pair):
        raise RuntimeError("without network namespaces nothing can be cut")

    heal = cut


class Namespaces:
    """A namespace for each server, all on a bridge in one more, which a pair of devices leads to from here.

    All of them belong to sleeping processes and end with these, and so do the devices."""

    def __init__(self, count):
        self.holders, self.subnet = [], None
        hub = self.hold()
        for number in range(512):
            second, third = divmod((os.getpid() + number) % 512, 256)
            subnet, ours = f"198.{18 + second}.{third}", f"tg{second}{third}"
            try:
                ip("link", "add", ours, "type", "veth", "peer", "name", "up0", "netns", str(hub))
            except RuntimeError as error:
                if "File exists" in str(error):
                    continue
                raise
            self.subnet = subnet
            break
        ip("addr", "add", f"{subnet}.254/24", "dev", ours)
        ip("link", "set", ours, "up")
        ip("link", "add", "br0", "type", "bridge", of=hub)
        for device in ("lo", "br0"):
            ip("link", "set", device, "up", of=hub)
        ip("link", "set", "up0", "master", "br0", "up", of=hub)
        self.spaces = []
        for number in range(1, count + 1):
            own = self.hold()
            ip("link", "add", f"s{number}", "type", "veth", "peer", "name", "eth0", "netns", str(own), of=hub)
            ip("link", "set", f"s{number}", "master", "br0", "up", of=hub)
            ip("link", "set", "lo", "up", of=own)
            ip("addr", "add", f"{subnet}.{number}/24", "dev", "eth0", of=own)
            ip("link", "set", "eth0", "up", of=own)
            self.spaces.append(own)

    def hold(self):
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL, preexec_fn=dies_with_us)
        self.holders.append(holder)
        ours = os.readlink("/proc/self/ns/net")
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if holder.poll() is not None:
                raise RuntimeError("no network namespace can be made")
            if os.readlink(f"/proc/{holder.pid}/ns/net") != ours:
                return holder.pid
            time.sleep(0.01)
        raise RuntimeError("no network namespace was made")

    def place(self, number):
        return (f"{self.subnet}.{number}", PORT, PORT + 1, PORT + 2)

    def wrap(self, number, command):
        return ["nsenter", "-t", str(self.spaces[number - 1]), "-n", *command]

    def cut(self, one, other):
        for own, far in ((one, other), (other, one)):
            ip("route", "add", "blackhole", f"{self.subnet}.{far}/32", of=self.spaces[own - 1])

    def heal(self, one, other):
        for own, far in ((one, other), (other, one)):
            ip("route", "del", "blackhole", f"{self.subnet}.{far}/32", of=self.spaces[own - 1])

    def end(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()


class Servers:
    def __init__(self, folder, count, net, more):
        self.folder, self.count, self.net, self.more = folder, count, net, more
        self.running = {}

    def numbers(self):
        return range(1, self.count + 1)

    def urls(self):
        return ["nats://%s:%d" % self.net.place(number)[:2] for number in self.numbers()]

    def start(self, number):
        if number in self.running and self.running[number].poll() is None:
            raise RuntimeError("it runs")
        own = os.path.join(self.folder, f"n{number}")
        os.makedirs(os.path.join(own, "store"), exist_ok=True)
        host, client, route, monitor = self.net.place(number)
        lines = [
            f"server_name: n{number}",
            f"listen: {host}:{client}",
            f"http: {host}:{monitor}",
            f'jetstream {{ store_dir: "{own}/store", max_file: 4GB, max_mem: 64MB }}',
        ]
        if self.count > 1:
            routes = ", ".join("nats://%s:%d" % (self.net.place(other)[0], self.net.place(other)[2]) for other in self.numbers())
            lines.append(f"cluster {{ name: tollgate, listen: {host}:{route}, routes: [{routes}] }}")
        lines += open(self.more).read().splitlines() if self.more else []
        with open(os.path.join(own, "nats.conf"), "w") as file:
            file.write("\n".join(lines) + "\n")
        log = open(os.path.join(own, "out"), "a")
        command = self.net.wrap(number, ["nats-server", "--config", os.path.join(own, "nats.conf")])
        self.running[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=dies_with_us)

    def signal(self, number, what):
        self.running[number].send_signal(what)
        if what == signal.SIGKILL:
            self.running[number].wait()

    def leads(self, number):
        """Whether a server answers and knows of a leader of the whole."""
        host, _, _, monitor = self.net.place(number)
        try:
            with urllib.request.urlopen(f"http://{host}:{monitor}/jsz", timeout=2) as answer:
                about = json.load(answer)
        except OSError:
            return False
        if self.count == 1:
            return True
        meta = about.get("meta_cluster", {})
        return bool(meta.get("leader")) and meta.get("cluster_size") == self.count and answers(host, self.net.place(number)[1])

    def wait(self):
        until = time.monotonic() + READY_S
        while not all(self.leads(number) for number in self.numbers()):
            dead = [number for number, own in self.running.items() if own.poll() is not None]
            if dead:
                sys.exit(f"server {dead[0]} has ended: {self.folder}/n{dead[0]}/out")
            if time.monotonic() > until:
                sys.exit(f"no leader within {READY_S} s")
            time.sleep(0.1)

    def end(self):
        for own in self.running.values():
            own.kill()
            own.wait()


def answers(host, port):
    """Whether JetStream answers at all: until it has a leader it does not. A server with a login is taken to."""
    try:
        with socket.create_connection((host, port), 2) as link:
            link.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB _INBOX.ready 1\r\nPUB $JS.API.INFO _INBOX.ready 0\r\n\r\n')
            link.settimeout(2)
            heard = b""
            while b"account_info_response" not in heard:
                if b"-ERR" in heard:
                    return True
                some = link.recv(4096)
                if not some:
                    return False
                heard += some
            return b'"error"' not in heard
    except OSError:
        return False


def network(count, is_loopback):
    if is_loopback or count == 1 or os.geteuid() != 0:
        return Loopback(count)
    try:
        return Namespaces(count)
    except (RuntimeError, OSError) as error:
        print(f"on loopback: {error}", file=sys.stderr)
        return Loopback(count)
