"""A network of the test's own, in which packets can be lost and ports be few."""

import ctypes
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")

# Of <linux/sched.h>.
CLONE_NEWNET = 0x40000000
TABLE = "inet lossy"


@contextmanager
def private_network():
    """Gives this thread, and all that it starts, a loopback of their own.

    The namespace has no name, so that nothing of it is left when the last of them has ended. Raises
    OSError where the kernel or the user's rights do not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(function, *arguments):
        if function(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    with open("/proc/thread-self/ns/net", "rb") as outside:
        call(libc.unshare, CLONE_NEWNET)
        try:
            run("ip", "link", "set", "lo", "up")
            nft(f"add table {TABLE}")
            nft(f"add chain {TABLE} input {{ type filter hook input priority 0; }}")
            yield
        finally:
            call(libc.setns, outside.fileno(), CLONE_NEWNET)


@contextmanager
def lost_to(port):
    """No packet to this port arrives; yields what counts them."""
    rule = f"tcp dport {port} counter drop"
    nft(f"add rule {TABLE} input {rule.replace('counter', 'counter packets 0 bytes 0')}")
    counted = re.compile(rf"tcp dport {port} counter packets (\d+) ")
    try:
        yield lambda: int(counted.search(run("nft", "list", "table", *TABLE.split()))[1])
    finally:
        nft(f"flush chain {TABLE} input")


@contextmanager
def all_lost(port):
    """No packet from or to this port arrives."""
    nft(f"add rule {TABLE} input tcp dport {port} drop")
    nft(f"add rule {TABLE} input tcp sport {port} drop")
    try:
        yield
    finally:
        nft(f"flush chain {TABLE} input")


def set_local_ports(low, high):
    """From now on, connections of this network have ports from `low` to `high`."""
    LOCAL_PORTS.write_text(f"{low} {high}")


def nft(command):
    run("nft", command)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
