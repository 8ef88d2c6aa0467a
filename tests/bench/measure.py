"""What the benches read of processes, ports and the machine."""
import glob
import os
import signal
import socket
import subprocess

TICK = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and all below it."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                children.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
        except OSError:
            pass
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def own_secs(pid):
    """CPU of the process alone; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_secs(pid):
    """CPU of the process and all below it."""
    return sum(own_secs(process) for process in tree(pid))


def thread_secs(pid):
    """CPU of each living thread of the process, by name."""
    found = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        try:
            with open(f"{task}/comm") as comm, open(f"{task}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
                name = comm.read().strip()
        except OSError:
            continue
        found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICK
    return found


def thread_switches(pid):
    """Times that threads of the process waited and were interrupted, by name."""
    found = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        try:
            with open(f"{task}/comm") as comm, open(f"{task}/status") as status:
                name = comm.read().strip()
                fields = dict(line.split(":", 1) for line in status.read().splitlines() if ":" in line)
        except OSError:
            continue
        before = found.get(name, (0, 0))
        found[name] = (before[0] + int(fields["voluntary_ctxt_switches"]), before[1] + int(fields["nonvoluntary_ctxt_switches"]))
    return found


def octets_written(pid):
    """Octets that the process has had written to disks."""
    with open(f"/proc/{pid}/io") as table:
        return next(int(line.split()[1]) for line in table if line.startswith("write_bytes"))


class SystemCalls:
    """Counts the system calls of a process with perf, where that may be used."""

    def __init__(self, pid):
        command = ["perf", "stat", "-x", ";", "-e", "raw_syscalls:sys_enter", "-p", str(pid)]
        try:
            self.perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        except OSError:
            self.perf = None

    def count(self):
        """How many there were; None where perf is missing or may not count them."""
        if self.perf is None:
            return None
        if self.perf.poll() is None:
            self.perf.send_signal(signal.SIGINT)
        first = self.perf.communicate()[1].split(";")[0].strip()
        return int(first) if first.isdigit() else None


def memory_kib(pid, key="Pss:"):
    total = 0
    for process in tree(pid):
        try:
            with open(f"/proc/{process}/smaps_rollup") as rollup:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith(key))
        except OSError:
            pass
    return total


def free_ports(count):
    """Ports free for UDP and TCP on loopback, found together so that they differ."""
    held, ports = [], []
    while len(ports) < count:
        one, other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held += [one, other]
        one.bind(("127.0.0.1", 0))
        try:
            other.bind(one.getsockname())
        except OSError:
            continue
        ports.append(one.getsockname()[1])
    for one in held:
        one.close()
    return ports


def listening(port):
    out = subprocess.run(["ss", "-Hltun", f"sport = :{port}"], capture_output=True, text=True).stdout
    return f":{port}" in out


def machine():
    """What a figure depends on beside the build."""
    with open("/proc/cpuinfo") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{os.cpu_count()} x {models[0] if models else 'unknown'}, load average {os.getloadavg()[0]:.1f} at the end"


def machine_secs():
    """What all cores have worked, and what they could have, in seconds since the start."""
    with open("/proc/stat") as stat:
        user, nice, system, idle, waiting, *interrupts = (int(field) for field in stat.readline().split()[1:9])
    busy = user + nice + system + sum(interrupts)
    return busy / TICK, (busy + idle + waiting) / TICK
