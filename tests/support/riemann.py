"""Riemann's messages by hand, byte by byte, so that a test may also send what no client would; and a connection."""
import os
import socket
import struct

OK = bytes.fromhex("000000021001")

# For tests that look at the agent's memory: AddressSanitizer keeps 256 MiB of what was freed unless it is told otherwise.
MEASURED = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"}


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def zigzag(value):
    return varint(value << 1 ^ value >> 63)


def field(number, wire, payload):
    return varint(number << 3 | wire) + payload


def text(number, value):
    value = value.encode() if isinstance(value, str) else value
    return field(number, 2, varint(len(value)) + value)


def attribute(key, value):
    return text(9, text(1, key) + text(2, value))


def event(service=None, host=None, state=None, description=None, tags=(), attributes=None, time=None, micros=None,
          ttl=None, sint=None, double=None, float32=None, raw=b""):
    out = b""
    if time is not None:
        out += field(1, 0, varint(time))
    for number, value in ((2, state), (3, service), (4, host), (5, description)):
        if value is not None:
            out += text(number, value)
    for tag in tags:
        out += text(7, tag)
    if ttl is not None:
        out += field(8, 5, struct.pack("<f", ttl))
    for key, value in (attributes or {}).items():
        out += attribute(key, value)
    if micros is not None:
        out += field(10, 0, varint(micros))
    if sint is not None:
        out += field(13, 0, zigzag(sint))
    if double is not None:
        out += field(14, 1, struct.pack("<d", double))
    if float32 is not None:
        out += field(15, 5, struct.pack("<f", float32))
    return out + raw


def msg(*events, states=(), query=None):
    out = b"".join(text(4, state) for state in states) + b"".join(text(6, one) for one in events)
    return out + (text(5, text(1, query)) if query is not None else b"")


def frame(message):
    return struct.pack(">I", len(message)) + message


class Connection:
    def __init__(self, address, seconds=20):
        self.socket = socket.create_connection(address, seconds)
        self._rest = b""

    def send(self, *messages):
        self.socket.sendall(b"".join(map(frame, messages)))

    def answer(self):
        """The next answer as it came: header and Msg. b"" where the connection has ended."""
        header = self._read(4)
        return header + self._read(struct.unpack(">I", header)[0]) if header else b""

    def error(self):
        """The text of the next answer, which says that something was refused."""
        answer = self.answer()
        assert answer[4:6] == b"\x10\x00" and answer[6:7] == b"\x1a", answer
        return answer[8 if answer[7] < 0x80 else 9:].decode()

    def _read(self, count):
        while len(self._rest) < count:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                assert not self._rest, f"ended inside an answer: {self._rest!r}"
                return b""
            self._rest += more
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
