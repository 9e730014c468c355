"""A machine of the test's own: systemd is its process 1, and its root a copy of this one's in memory.

Nothing that is installed or written there reaches this machine, and all of it is gone once process 1
has ended. Its network is that of the test.
"""

import os
import re
import subprocess
from pathlib import Path

from .process import Process, wait_for

SYSTEMD = Path("/lib/systemd/systemd")
SCRIPT = Path(__file__).with_name("machine.sh")
# What the copy has to have, so that it has to be on the file system of /.
COPIED = ["/etc", "/usr", "/var/lib/dpkg"]
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
TARGET = "machine.target"
CGROUP2 = re.compile(r"^\S+ \S+ \S+ (/\S*) (/\S*) .* - cgroup2 ", re.MULTILINE)


class Unsupported(Exception):
    """Why there can be no machine."""


class Machine:
    """`folder` of this machine is /mnt there."""

    def __init__(self, folder):
        self.process = self.cgroup = self.pid = None
        self.check()
        try:
            self.cgroup = make_cgroup()
            enter = f'echo $$ >{self.cgroup}/cgroup.procs && exec "$@"'
            spaces = ["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child"]
            script = ["unshare", *spaces, "bash", SCRIPT, folder, TARGET]
            self.process = Process("machine", ["sh", "-c", enter, "sh", *script], folder)
            self.boot()
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def check():
        if os.geteuid() != 0:
            raise Unsupported("root's rights are needed")
        if not SYSTEMD.exists():
            raise Unsupported("no systemd")
        apart = [name for name in COPIED if os.stat(name).st_dev != os.stat("/").st_dev]
        if apart:
            raise Unsupported(f"not on the file system of /: {', '.join(apart)}")

    def boot(self):
        """The script's last words are those before systemd: what fails earlier is not supported."""
        child = self.process.child

        def started():
            if child.poll() is not None:
                raise Unsupported(self.process.text().strip() or "no namespaces")
            return self.process.text().endswith("booting\n")

        wait_for("a root for the machine", started)
        self.pid = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text())
        booted = ["systemctl", "is-active", "--quiet", TARGET]
        self.process.wait_until("to boot", lambda: self.run(*booted, check=False).returncode == 0)

    def run(self, *command, check=True, **options):
        """Runs it there. What it prints is `output`, with its errors."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--cgroup", "--uts", "--ipc"]
        done = subprocess.run(
            [*enter, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=CLEAN,
            timeout=120,
            check=False,
            **options,
        )
        done.output = done.stdout.strip()
        assert not check or done.returncode == 0, f"{command}: {done.returncode}: {done.output}"
        return done

    def file(self, path):
        """The path here of a file that is there, while it runs."""
        return Path(f"/proc/{self.pid}/root{path}")

    def stop(self):
        if self.process:
            self.process.kill()
        if self.cgroup:
            wait_for("the machine's control groups to empty", lambda: remove_cgroup(self.cgroup))


def make_cgroup():
    """A control group of its own, as systemd takes the one it is in for the root."""
    mounted = CGROUP2.search(Path("/proc/self/mountinfo").read_text())
    if not mounted:
        raise Unsupported("no control groups of version 2")
    own = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)[1]
    root, at = mounted.groups()
    made = Path(at, os.path.relpath(own, root), f"mqtt-lb-test-{os.getpid()}")
    try:
        made.mkdir()
    except OSError as fault:
        raise Unsupported(f"no control group: {fault}") from None
    return made


def remove_cgroup(path):
    """Whether it is gone. It is busy while the kernel ends its processes."""
    try:
        for folder, _, _ in os.walk(path, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True
