"""Processes pinned to a core: started, measured and ended for certain."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

# The proxy has a core for itself; load and stub brokers share the other.
PROXY_CORE = 1
LOAD_CORE = 0

# Descriptors of every process, as the targets are stated for.
DESCRIPTORS = 20_000

PR_SET_PDEATHSIG = 1
HIGHEST_PRIORITY = -20
TCP_LISTEN = "0A"

# Whether proxies run ahead of all else too, for a machine that has other work. The kernel takes a
# twentieth of the time from one that never rests.
proxies_are_realtime = False

_libc = ctypes.CDLL(None)
# Below the kernel's ephemeral ports, so that no client's port can be in the way.
_ports = iter(range(12_000, 32_000))


class Failure(Exception):
    """The comparison cannot go on; the message says why."""


def free_port():
    """A TCP port that nothing has used in this run: no old TIME_WAIT can meet a new connection."""
    for port in _ports:
        with socket.socket() as probe:
            # Otherwise a TIME_WAIT of an earlier run would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failure("no free port is left")


def wait_until(condition, seconds, what):
    """Waits for a condition, which is cheap to look at."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} took more than {seconds} s")
        time.sleep(0.01)


def is_listening(port):
    """Whether some process listens on the port; asked without a connection that would be measured."""
    with open("/proc/net/tcp") as table:
        next(table)
        for line in table:
            _, local, _, state = line.split(maxsplit=4)[:4]
            # Listeners come first; behind them may be a hundred thousand TIME_WAITs.
            if state != TCP_LISTEN:
                return False
            if int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def core_busy_ns(core):
    """Time that a core was not idle, the hypervisor included."""
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) * tick_ns
    raise Failure(f"there is no core {core}")


class Process:
    """A child and its children, on one core or a set of them. Leaving the `with` block ends them all."""

    def __init__(self, name, command, core, directory, death_signal=signal.SIGKILL, realtime=False, **pipes):
        self.name = name
        self.stopped = False
        self.errors = directory / f"{name}.stderr"

        def prepare():
            # Even a driver that is killed leaves nothing behind.
            _libc.prctl(PR_SET_PDEATHSIG, death_signal)
            os.sched_setaffinity(0, core if isinstance(core, set) else {core})
            try:
                # Whatever else runs on the machine waits, as far as it can.
                os.setpriority(os.PRIO_PROCESS, 0, HIGHEST_PRIORITY)
                if realtime or (core == PROXY_CORE and proxies_are_realtime):
                    # It runs the moment it can: what it measures is not its own wait for the core.
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            except PermissionError:
                pass
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        try:
            with self.errors.open("w") as errors:
                self.child = subprocess.Popen(
                    [str(part) for part in command],
                    stderr=errors,
                    preexec_fn=prepare,
                    start_new_session=True,
                    text=True,
                    **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **pipes},
                )
        except FileNotFoundError as error:
            raise Failure(f"{name} is not there: {error.filename}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Asks the process to end, and makes sure of it; later calls do nothing."""
        if self.stopped:
            return
        self.stopped = True
        for stream in (self.child.stdin, self.child.stdout):
            if stream:
                stream.close()
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def check_alive(self):
        if self.child.poll() is not None:
            raise Failure(f"{self.name} ended with {self.child.returncode}: {self.complaint()}")

    def complaint(self):
        """The end of what the process wrote to standard error."""
        return self.errors.read_text(errors="replace")[-2_000:].strip() or "(it said nothing)"

    def wait_listening(self, port):
        def ready():
            self.check_alive()
            return is_listening(port)

        wait_until(ready, 10, f"{self.name}'s listener on port {port}")

    def pids(self):
        """The process and its children."""
        found = [self.child.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def cpu_ns(self):
        """CPU time of all threads: the same as utime + stime, but not cut to ticks of 10 ms."""
        total = 0
        for pid in self.pids():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0])
        return total

    def anonymous_bytes(self):
        """Private memory in use; smaps_rollup walks the pages, where VmRSS may lag behind."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss_Anon:"):
                    total += int(line.split()[1]) * 1024
        return total

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def settle(self, descriptors=None):
        """Waits until the process rests and, if given, has no more than so many descriptors (and a few)."""
        deadline = time.monotonic() + 10
        before = self.cpu_ns()
        while True:
            # Longer than a log writer's or a sweep's pause, short compared with a measurement.
            time.sleep(0.1)
            now = self.cpu_ns()
            # A spare pipe, a log file or a timer may have come since.
            closed = descriptors is None or self.descriptors() <= descriptors + 16
            if closed and now - before < 500_000:
                return
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} does not come to rest: {self.descriptors()} descriptors")
            before = now
