"""Compressed frames: how blocks travel when the client asked for compression.

A frame is a CityHash128 (version 1.0.2, 16 bytes) of what follows, a byte naming the method
(0x82 LZ4, 0x02 none), the size of the frame without the hash and the size of the plain data (four
bytes each, little-endian), then the data. A block may take several frames. ZSTD is refused:
nothing on one machine needs it.

Source: ClickHouse's documentation, "Native protocol, compression".
"""

from __future__ import annotations

import struct
from typing import cast

import lz4.block  # type: ignore[import-untyped]
from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]

from .blocks import Block, read_packet_block
from .framing import Buffer, ProtocolError, Steps

LZ4 = 0x82
NONE = 0x02
MAX_FRAME = 1024 * 1024 * 1024
"""The engine's own bound of a frame, DBMS_MAX_COMPRESSED_SIZE."""

_FRAME_SIZE = 1024 * 1024
_SIZES = struct.Struct("<BII")


class ChecksumError(ProtocolError):
    """A frame's bytes are not those its sender hashed."""


def compress(plain: bytes) -> bytes:
    """Compress with LZ4 into as many frames as it takes."""
    return b"".join(
        _frame(plain[start : start + _FRAME_SIZE]) for start in range(0, len(plain), _FRAME_SIZE)
    )


def _frame(plain: bytes) -> bytes:
    packed = cast(bytes, lz4.block.compress(plain, store_size=False))
    body = _SIZES.pack(LZ4, _SIZES.size + len(packed), len(plain)) + packed
    return _checksum(body) + body


def _checksum(body: bytes) -> bytes:
    # The hash comes as one number whose upper half is the first eight bytes on the wire.
    value: int = CityHash128(body)
    return (value >> 64).to_bytes(8, "little") + (value & (1 << 64) - 1).to_bytes(8, "little")


def read_frame(buffer: Buffer) -> Steps[bytes]:
    """Read one frame and return its plain data.

    Raises:
        ChecksumError: the hash does not fit.
        ProtocolError: an unknown method, a size that cannot be, or data that does not decompress.
    """
    checksum = yield from buffer.take(16)
    yield from buffer.need(_SIZES.size)
    method, size, plain_size = _SIZES.unpack_from(buffer.data, buffer.pos)
    if not (_SIZES.size <= size <= MAX_FRAME and plain_size <= MAX_FRAME):
        raise ProtocolError(f"a compressed frame of {size} for {plain_size} bytes is announced")
    body = yield from buffer.take(size)
    if _checksum(body) != checksum:
        raise ChecksumError("a compressed frame arrived damaged: its checksum does not match")
    if method == NONE:
        return body[_SIZES.size :]
    if method != LZ4:
        raise ProtocolError(f"compression method 0x{method:02x} is not LZ4 (0x82)")
    try:
        plain = lz4.block.decompress(body[_SIZES.size :], uncompressed_size=plain_size)
    except lz4.block.LZ4BlockError as error:
        raise ProtocolError(f"a compressed frame does not decompress: {error}") from error
    return cast(bytes, plain)


def read_compressed_block(buffer: Buffer) -> Steps[Block]:
    """Read one block, block info included, from the frames it takes.

    Raises:
        ProtocolError: as `read_frame`, or the last frame goes on after the block's end.
    """
    plain = Buffer()
    block = read_packet_block(plain)
    while True:
        try:
            next(block)
        except StopIteration as done:
            if plain.left:
                raise ProtocolError("a compressed frame goes on after its block") from None
            result: Block = done.value
            return result
        plain.feed((yield from read_frame(buffer)))
