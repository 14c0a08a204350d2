"""The smallest pieces of ClickHouse's native protocol, read without doing any I/O.

A reader here is a generator (`Steps[T]`): it takes what it needs from a `Buffer`, yields whenever
the buffer holds too little, and returns its value when it is complete. Whoever runs it feeds more
bytes after each yield; so the same code serves a socket, a decompressed stream and a test that
hands over one byte at a time, and half a value is never taken for a whole one.

Source of the encodings: ClickHouse's documentation, "Native protocol basics" (variable-length
unsigned integers as LEB128, strings as length and bytes, fixed-width integers little-endian).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")
Steps = Generator[None, None, _T]

MAX_STRING = 256 * 1024 * 1024
"""A longer string in a packet is a broken or hostile peer; so is a longer query text."""


class ProtocolError(Exception):
    """The peer sent bytes that are not ClickHouse's native protocol; the connection must close."""


class Buffer:
    """Bytes that have arrived and a position up to which they are read.

    Attributes:
        data: what has arrived since the last `forget`.
        pos: offset in `data` of the first byte not yet read.
    """

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.pos = 0

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self.data += data

    def forget(self) -> None:
        """Drop what has been read; offsets taken before are void afterwards."""
        del self.data[: self.pos]
        self.pos = 0

    @property
    def left(self) -> int:
        """Number of bytes that arrived and are not yet read."""
        return len(self.data) - self.pos

    def need(self, size: int) -> Steps[None]:
        """Return when at least `size` unread bytes are here."""
        while len(self.data) - self.pos < size:
            yield

    def skip(self, size: int) -> Steps[None]:
        """Read and drop `size` bytes."""
        yield from self.need(size)
        self.pos += size

    def take(self, size: int) -> Steps[bytes]:
        """Read exactly `size` bytes."""
        yield from self.need(size)
        taken = bytes(memoryview(self.data)[self.pos : self.pos + size])
        self.pos += size
        return taken

    def uint(self, size: int) -> Steps[int]:
        """Read a little-endian unsigned integer of `size` bytes."""
        yield from self.need(size)
        value = int.from_bytes(self.data[self.pos : self.pos + size], "little")
        self.pos += size
        return value

    def varint(self) -> Steps[int]:
        """Read an unsigned LEB128 integer of at most 64 bits."""
        value = shift = 0
        while True:
            yield from self.need(1)
            byte = self.data[self.pos]
            self.pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ProtocolError("a variable-length integer is longer than 64 bits")

    def string(self) -> Steps[str]:
        """Read a string; bytes that are not UTF-8 come as surrogates, so that none are lost."""
        size = yield from self.varint()
        if size > MAX_STRING:
            raise ProtocolError(f"a string of {size} bytes is announced, {MAX_STRING} are allowed")
        return (yield from self.take(size)).decode("utf-8", "surrogateescape")

    def skip_strings(self, count: int) -> Steps[None]:
        """Read and drop `count` strings; the one loop a column of strings costs."""
        while True:
            data, pos, end = self.data, self.pos, len(self.data)
            while count and pos < end:
                size = data[pos]
                after = pos + 1
                if size > 0x7F:
                    shift = 7
                    size &= 0x7F
                    while after < end:
                        byte = data[after]
                        after += 1
                        size |= (byte & 0x7F) << shift
                        if byte < 0x80:
                            break
                        shift += 7
                        if shift > 63:
                            raise ProtocolError("a string's length is longer than 64 bits")
                    else:
                        break
                after += size
                if after > end:
                    break
                pos = after
                count -= 1
            self.pos = pos
            if not count:
                return
            yield


def run(steps: Steps[_T]) -> _T:
    """Run a reader over bytes that are all here.

    Raises:
        ProtocolError: it needs more than there is.
    """
    try:
        next(steps)
    except StopIteration as done:
        result: _T = done.value
        return result
    raise ProtocolError("the data ends before the value is complete")


def varint(value: int) -> bytes:
    """Encode an unsigned integer as LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: str | bytes) -> bytes:
    """Encode a string: its length in bytes, then its bytes."""
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return varint(len(raw)) + raw
