"""Brokers that do one thing only, most of them badly."""

import socket
import struct
import threading

from .process import LOOPBACK, PATIENCE

RESET = object()


class ScriptedBroker:
    """Reads each CONNECT, answers it with these bytes, and closes, or resets without an answer."""

    def __init__(self, name, answer):
        self.name, self.answer = name, answer
        self.connects = []
        self.listener = socket.create_server((LOOPBACK, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, name=name, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        sock.settimeout(PATIENCE)
        with sock:
            connect = read_packet(sock)
            if connect is None:
                return
            self.connects.append(connect)
            if self.answer is RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                sock.sendall(self.answer)

    def stop(self):
        # A thread in `accept` learns of it by this, and not by the close alone.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def read_packet(sock):
    """One whole MQTT packet; None if the stream ends first."""
    packet = bytearray()

    def read(count):
        while count and (got := sock.recv(count)):
            packet.extend(got)
            count -= len(got)
        return not count

    if not read(2):
        return None
    # The remaining length: seven bits a byte, the lowest first (MQTT 5.0 section 1.5.5).
    while packet[-1] & 0x80:
        if not read(1):
            return None
    length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(packet[1:]))
    return bytes(packet) if read(length) else None


def connack(version, code, *properties):
    """A CONNACK; properties are (identifier, UTF-8 text) pairs."""
    body = bytes([0, code])
    if version == 5:
        encoded = b"".join(
            bytes([identifier]) + struct.pack(">H", len(text.encode())) + text.encode()
            for identifier, text in properties
        )
        body += bytes([len(encoded)]) + encoded
    return bytes([0x20, len(body)]) + body
