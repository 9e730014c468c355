"""Processes that end with the tests, free ports, and waiting for conditions."""

import random
import signal
import socket
import subprocess
import time
from pathlib import Path

# Generous, as the machine may be busy: only a failing test waits this long.
PATIENCE = 30.0

LOOPBACK = "127.0.0.1"


def wait_for(what, condition, patience=PATIENCE):
    """Returns the condition's first true value; fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{patience:.0f} s without {what}")
        time.sleep(0.01)


def free_port():
    """A loopback port that nothing listens on, outside the range that outgoing connections use."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def accepts(port):
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


class Process:
    """A child whose output goes to a file; the kernel ends it should the tests be killed."""

    def __init__(self, name, command, folder, env=None):
        self.name = name
        self.output = Path(folder) / f"{name}.out"
        with self.output.open("ab") as output:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=env,
            )

    def text(self):
        return self.output.read_text(errors="replace")

    def wait_until(self, what, condition, patience=PATIENCE):
        """As `wait_for`, but fails at once with the output should the process end."""

        def check():
            assert self.child.poll() is None, f"{self.name} ended:\n{self.text()}"
            return condition()

        return wait_for(f"{what} from {self.name}", check, patience)

    def wait(self, patience=PATIENCE):
        """The exit code."""
        return self.child.wait(patience)

    def kill(self):
        """Ends it as a crash would."""
        self.child.kill()
        return self.child.wait(PATIENCE)

    def stop(self, patience=PATIENCE):
        """Asks it to end, and makes it; the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end:\n{self.text()}") from None
