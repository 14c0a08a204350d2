"""Blocks: where one ends in a stream, and how one is wrapped for a Data packet.

The engine writes its Native format as a run of blocks: number of columns, number of rows, then
for each column its name, its type and its values. In a packet the same bytes follow eight bytes
of "block info". Revisions from 54454 would add a byte a column, so the listener offers less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .columns import parse_type
from .framing import Buffer, ProtocolError, Steps, run, string, varint

BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Field 1 (is_overflows) 0, field 2 (bucket_num) -1, end of fields."""

_MAX_COLUMNS = 100_000


@dataclass(frozen=True)
class Block:
    """One block in the Native format.

    Attributes:
        columns: names and types.
        rows: number of rows.
        body: the block's bytes, without block info.
    """

    columns: tuple[tuple[str, str], ...]
    rows: int
    body: bytes


def read_block(buffer: Buffer) -> Steps[Block]:
    """Read one block without block info, from the buffer's position to the block's end.

    Raises:
        ProtocolError: what arrived is no block.
        UnknownTypeError: it has a column whose length is not known here.
    """
    start = buffer.pos
    count = yield from buffer.varint()
    rows = yield from buffer.varint()
    if count > _MAX_COLUMNS:
        raise ProtocolError(f"a block of {count} columns is announced")
    columns = []
    for _ in range(count):
        name = yield from buffer.string()
        spec = yield from buffer.string()
        columns.append((name, spec))
        if rows:
            kind = parse_type(spec)
            yield from kind.prefix(buffer)
            yield from kind.data(buffer, rows)
    return Block(tuple(columns), rows, bytes(memoryview(buffer.data)[start : buffer.pos]))


def read_packet_block(buffer: Buffer) -> Steps[Block]:
    """Read block info and one block, as they stand in a Data packet that is not compressed."""
    while field := (yield from buffer.varint()):
        if field not in (1, 2):
            raise ProtocolError(f"block info has a field {field}")
        yield from buffer.skip(1 if field == 1 else 4)
    return (yield from read_block(buffer))


def split_blocks(native: bytes) -> Iterator[Block]:
    """Split Native output into its blocks.

    Raises:
        ProtocolError: the output ends within a block.
        UnknownTypeError: as `read_block`.
    """
    buffer = Buffer(native)
    while buffer.left:
        yield run(read_block(buffer))


def header_block(columns: tuple[tuple[str, str], ...]) -> Block:
    """Make a block that has columns and no rows: the header of a result, the sample of a table."""
    parts = [varint(len(columns)), varint(0)]
    for name, spec in columns:
        parts += (string(name), string(spec))
    return Block(columns, 0, b"".join(parts))
