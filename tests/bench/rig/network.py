"""A loopback of one's own for every measurement, so that none meets another's remains."""

import ctypes
import fcntl
import socket
import struct
from pathlib import Path

from .process import wait_until

CLONE_NEWNET = 0x4000_0000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1
# Every connection leaves two TIME_WAITs for a minute, and 40,000 of them made a connect 15 % dearer.
FEW_TIME_WAITS = 500

_libc = ctypes.CDLL(None, use_errno=True)


def renew():
    """Moves this process, and so all it starts, into a network namespace with nothing but a loopback.

    The kernel forgets the last one, TIME_WAITs and all, once its processes have ended. Gives False where
    that needs a privilege that this process hasn't.
    """
    if _libc.unshare(CLONE_NEWNET):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # struct ifreq: 16 bytes of name, then 24 of a union (netdevice(7)).
        request = struct.pack("16sh22x", b"lo", 0)
        _, flags = struct.unpack("16sh22x", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))
    return True


def await_few_time_waits():
    """Waits, on a loopback that others have used, until connects cost what they cost on a new one."""

    def few():
        fields = Path("/proc/net/sockstat").read_text().split("TCP:")[1].split()
        return int(fields[fields.index("tw") + 1]) <= FEW_TIME_WAITS

    if not few():
        print("  (waiting up to a minute for TIME_WAITs to end)", flush=True)
        wait_until(few, 90, "the end of TIME_WAITs")
