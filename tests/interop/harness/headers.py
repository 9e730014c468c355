"""PROXY headers of version 2, read by a broker."""

import struct

from .scripted import ScriptedBroker

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL = 0x01, 0x02, 0x03, 0x05, 0x20
SSL_VERSION, SSL_CN, SSL_CIPHER = 0x21, 0x22, 0x23


class HeaderBroker(ScriptedBroker):
    """Reads a header of version 2 before each CONNECT."""

    def __init__(self, name, answer):
        self.headers = []
        super().__init__(name, answer)

    def serve(self, sock):
        fixed = read(sock, 16)
        if fixed:
            assert fixed[:12] == SIGNATURE
            self.headers.append((fixed[12], fixed[13], read(sock, int.from_bytes(fixed[14:], "big"))))
        super().serve(sock)


def read(sock, count):
    data = bytearray()
    while len(data) < count and (got := sock.recv(count - len(data))):
        data.extend(got)
    return bytes(data)


def tlvs(data):
    """The values by their types, each of which is there once."""
    found = {}
    while data:
        kind, length = struct.unpack_from(">BH", data)
        assert kind not in found and len(data) >= 3 + length
        found[kind] = data[3 : 3 + length]
        data = data[3 + length :]
    return found
