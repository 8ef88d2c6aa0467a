"""What stands around the gateways of tests/bench/cluster: namespaces with addresses that move, and a database."""
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

sys.path.append(f"{ROOT}/tests/nats")
from servers import Namespaces, dies_with_us, ip
from tally import read_rows

SERVERS, GATEWAYS, DELIVERERS = (1, 2, 3), {"a": 4, "b": 5}, {"one": 6, "two": 7}
PLACES = {**{f"n{number}": number for number in SERVERS}, **GATEWAYS, **DELIVERERS}
READY_S = 60


class Net(Namespaces):
    """A namespace for each process, and an address for each gateway's calls that can move to the other one."""

    def __init__(self):
        super().__init__(len(PLACES))
        self.here = f"{self.subnet}.254"
        self.addresses = {name: f"{self.subnet}.{100 + number}" for name, number in GATEWAYS.items()}
        for number in GATEWAYS.values():
            for address in self.addresses.values():
                ip("addr", "add", f"{address}/32", "dev", "lo", of=self.spaces[number - 1])
        for name in GATEWAYS:
            self.move(name, name)

    def move(self, name, to):
        """The address of one gateway's calls is at the other, or at itself again."""
        ip("route", "replace", f"{self.addresses[name]}/32", "via", self.place(GATEWAYS[to])[0])


class Database:
    """A MariaDB that waits for the disk, with a database for each run."""

    def __init__(self, folder):
        self.folder, self.name = folder, None
        self.process = subprocess.Popen([f"{ROOT}/tests/databases/mariadb.sh", folder], env=dict(os.environ, DURABLE="1"),
                                        stdout=open(f"{folder}.out", "w"), stderr=subprocess.STDOUT, preexec_fn=dies_with_us)
        until = time.time() + READY_S
        while self.process.poll() is None and time.time() < until:
            with contextlib.suppress(RuntimeError):
                self.run("SELECT 1", None)
                return
            time.sleep(0.2)
        raise SystemExit(f"MariaDB does not answer: {open(f'{folder}.out').read()[-600:]}")

    def run(self, statements, name):
        command = ["mariadb", "--no-defaults", "-uroot", "-N", "-B", "-S", f"{self.folder}/db.sock", *([name] if name else [])]
        done = subprocess.run(command, input=statements, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.splitlines()

    def begin(self, name):
        """A new database."""
        self.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4", None)
        self.name = name

    def make(self, schema):
        # When the statement that brought a row began.
        self.run(f"{schema}\nALTER TABLE acc ADD COLUMN stored TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3);", self.name)

    def url(self):
        return f"mysql://root@localhost/{self.name}?socket={self.folder}/db.sock"

    def count(self):
        return int(self.run("SELECT count(*) FROM acc", self.name)[0])

    def rows(self):
        lines = self.run("SELECT id, callid, kind, session, UNIX_TIMESTAMP(stored) FROM acc ORDER BY id", self.name)
        self.run(f"DROP DATABASE {self.name}", None)
        return read_rows(lines)

    def close(self):
        self.process.terminate()
        self.process.wait()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
