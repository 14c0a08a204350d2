"""The packets of ClickHouse's native protocol, as far as a client that queries needs them.

Sources: ClickHouse's documentation, "Native protocol: client and server packets", and what
clickhouse-driver 0.2.11 reads and writes at a given revision (its defines.py names them).
"""

from __future__ import annotations

from dataclasses import dataclass

from .blocks import BLOCK_INFO, Block
from .compression import compress
from .framing import Buffer, ProtocolError, Steps, string, varint

REVISION = 54453
"""The protocol revision offered: the last one before columns carry how they are serialized
(54454), which the engine's Native output does not tell. It has settings as text (54429), no
addendum to the greeting (54458) and no query parameters (54459; clickhouse-driver puts parameters
into the text of the query itself)."""

MIN_REVISION = 54429
"""Older clients write settings in binary, each by its own type; clickhouse-driver is newer."""

CLIENT_HELLO, CLIENT_QUERY, CLIENT_DATA, CLIENT_CANCEL, CLIENT_PING = range(5)

_HELLO, _DATA, _EXCEPTION, _PROGRESS, _PONG, _END_OF_STREAM, _PROFILE_INFO = range(7)

PONG = varint(_PONG)
END_OF_STREAM = varint(_END_OF_STREAM)

_DISPLAY_NAME, _VERSION_PATCH = 54372, 54401
_INTERSERVER_SECRET, _OPENTELEMETRY = 54441, 54442
_DISTRIBUTED_DEPTH, _START_TIME, _PARALLEL_REPLICAS = 54448, 54449, 54453

_IMPORTANT = 0x01


@dataclass(frozen=True)
class Hello:
    """A client's greeting; `revision` is the one both sides speak."""

    client: str
    revision: int
    database: str
    user: str
    password: str


@dataclass(frozen=True)
class Setting:
    """A setting of one query; an important one that is not known fails the query."""

    value: str
    important: bool


@dataclass(frozen=True)
class Query:
    """A query as it arrived; the blocks that belong to it follow as Data packets."""

    query_id: str
    settings: dict[str, Setting]
    compressed: bool
    sql: str


def read_hello(buffer: Buffer) -> Steps[Hello]:
    """Read a greeting after its packet type."""
    client = yield from buffer.string()
    yield from buffer.varint()
    yield from buffer.varint()
    revision = yield from buffer.varint()
    database = yield from buffer.string()
    user = yield from buffer.string()
    password = yield from buffer.string()
    if revision < MIN_REVISION:
        raise ProtocolError(f"the client speaks revision {revision}, {MIN_REVISION} is needed")
    return Hello(client, min(revision, REVISION), database, user, password)


def hello(revision: int, version: tuple[int, int, int], timezone: str) -> bytes:
    """Answer a greeting: name, version, revision, time zone and display name."""
    major, minor, patch = version
    parts = [varint(_HELLO), string("ClickHouse"), varint(major), varint(minor), varint(REVISION)]
    parts += [string(timezone), string("local"), varint(patch)]
    return b"".join(parts)


def read_query(buffer: Buffer, revision: int) -> Steps[Query]:
    """Read a query after its packet type."""
    query_id = yield from buffer.string()
    yield from _client_info(buffer, revision)
    settings = {}
    while name := (yield from buffer.string()):
        flags = yield from buffer.varint()
        settings[name] = Setting((yield from buffer.string()), bool(flags & _IMPORTANT))
    if revision >= _INTERSERVER_SECRET:
        yield from buffer.string()
    yield from buffer.varint()  # the stage up to which to run; a client asks for the last
    compressed = yield from buffer.varint()
    sql = yield from buffer.string()
    return Query(query_id, settings, bool(compressed), sql)


def _client_info(buffer: Buffer, revision: int) -> Steps[None]:
    if not (yield from buffer.uint(1)):
        return
    for _ in range(3):
        yield from buffer.string()  # initial user, query id, address
    if revision >= _START_TIME:
        yield from buffer.skip(8)
    yield from buffer.skip(1)  # interface: TCP
    for _ in range(3):
        yield from buffer.string()  # system user, host, client name
    for _ in range(3):
        yield from buffer.varint()  # version and revision
    yield from buffer.string()  # quota key
    if revision >= _DISTRIBUTED_DEPTH:
        yield from buffer.varint()
    yield from buffer.varint()  # version patch
    if revision >= _OPENTELEMETRY and (yield from buffer.uint(1)):
        yield from buffer.skip(24)
        yield from buffer.string()
        yield from buffer.skip(1)
    if revision >= _PARALLEL_REPLICAS:
        for _ in range(3):
            yield from buffer.varint()


def data(block: Block, compressed: bool) -> bytes:
    """Write a Data packet: an empty table name, then the block."""
    plain = BLOCK_INFO + block.body
    return varint(_DATA) + string("") + (compress(plain) if compressed else plain)


def exception(code: int, message: str) -> bytes:
    """Write an Exception packet: code, name, message, no stack trace, nothing nested."""
    parts = [varint(_EXCEPTION), code.to_bytes(4, "little", signed=True), string("DB::Exception")]
    return b"".join([*parts, string(message), string(""), b"\x00"])


def progress(rows: int, size: int, written_rows: int = 0, written_bytes: int = 0) -> bytes:
    """Write a Progress packet: rows and bytes since the last one, and what was written."""
    numbers = (_PROGRESS, rows, size, 0, written_rows, written_bytes)
    return b"".join(varint(number) for number in numbers)


def profile_info(rows: int, blocks: int, size: int) -> bytes:
    """Write a ProfileInfo packet: what the result had; the engine does not tell of LIMIT."""
    numbers = (_PROFILE_INFO, rows, blocks, size, 0, 0, 0)
    return b"".join(varint(number) for number in numbers)
