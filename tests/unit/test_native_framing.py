"""Framing of the native protocol: whatever is sent in whatever pieces, blocks come out whole."""

import contextlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake_local.clickhouse import framing
from mailwake_local.clickhouse.blocks import (
    BLOCK_INFO,
    Block,
    header_block,
    read_block,
    read_packet_block,
    split_blocks,
)
from mailwake_local.clickhouse.columns import UnknownTypeError, parse_type
from mailwake_local.clickhouse.compression import (
    ChecksumError,
    compress,
    read_compressed_block,
    read_frame,
)
from mailwake_local.clickhouse.framing import Buffer, ProtocolError, Steps, run, string, varint

T = TypeVar("T")


@dataclass
class Column:
    """A column of some type, as the engine would write it."""

    spec: str
    prefix: bytes
    data: bytes


FIXED = {
    "UInt8": 1,
    "Enum8('a, (b)' = 1, 'it\\'s' = 2)": 1,
    "Date": 2,
    "Nothing": 1,
    "DateTime('Europe/Berlin')": 4,
    "DateTime64(3, 'UTC')": 8,
    "IntervalSecond": 8,
    "Decimal(9, 2)": 4,
    "Decimal(38, 10)": 16,
    "Decimal(76, 1)": 32,
    "UUID": 16,
    "FixedString(5)": 5,
    "Point": 16,
}
text = st.one_of(st.binary(max_size=20), st.integers(0, 400).map(lambda size: b"x" * size))


@st.composite
def column(draw: st.DrawFn, rows: int, depth: int = 2) -> Column:
    """Draw a type and `rows` values of it, encoded here by the format's description alone."""
    kinds = ["fixed", "string", "low"]
    kinds += ["nullable", "array", "tuple", "map"] if depth else []
    match draw(st.sampled_from(kinds)):
        case "string":
            return Column("String", b"", b"".join(string(draw(text)) for _ in range(rows)))
        case "low":
            keys = [draw(text) for _ in range(draw(st.integers(1, 3)))]
            nullable = draw(st.booleans())
            spec = "LowCardinality(Nullable(String))" if nullable else "LowCardinality(String)"
            width = draw(st.integers(0, 3))
            data = (0x600 | width).to_bytes(8, "little") + len(keys).to_bytes(8, "little")
            data += b"".join(map(string, keys)) + rows.to_bytes(8, "little")
            data += bytes(rows << width)
            return Column(spec, (1).to_bytes(8, "little"), data if rows else b"")
        case "nullable":
            name, size = draw(st.sampled_from([("Int32", 4), ("UUID", 16)]))
            return Column(f"Nullable({name})", b"", bytes(rows) + b"\x07" * rows * size)
        case "array":
            ends = sorted(draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows)))
            item = draw(column(ends[-1] if ends else 0, depth - 1))
            offsets = b"".join(end.to_bytes(8, "little") for end in ends)
            return Column(f"Array({item.spec})", item.prefix, offsets + item.data)
        case "tuple":
            parts = [draw(column(rows, depth - 1)) for _ in range(draw(st.integers(1, 3)))]
            named = draw(st.booleans())
            specs = [f"`a {n}` {p.spec}" if named else p.spec for n, p in enumerate(parts)]
            prefix = b"".join(part.prefix for part in parts)
            return Column(f"Tuple({', '.join(specs)})", prefix, b"".join(p.data for p in parts))
        case "map":
            ends = sorted(draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows)))
            count = ends[-1] if ends else 0
            key, value = draw(column(count, 0)), draw(column(count, depth - 1))
            offsets = b"".join(end.to_bytes(8, "little") for end in ends)
            data = offsets + key.data + value.data
            return Column(f"Map({key.spec}, {value.spec})", key.prefix + value.prefix, data)
        case _:
            spec, size = draw(st.sampled_from(sorted(FIXED.items())))
            return Column(spec, b"", b"\x03" * rows * size)


@st.composite
def block(draw: st.DrawFn) -> Block:
    rows = draw(st.integers(0, 5))
    columns = [draw(column(rows)) for _ in range(draw(st.integers(1, 4)))]
    parts = [varint(len(columns)), varint(rows)]
    for number, one in enumerate(columns):
        parts += [string(f"c{number}"), string(one.spec)]
        if rows:
            parts += [one.prefix, one.data]
    names = tuple((f"c{number}", one.spec) for number, one in enumerate(columns))
    return Block(names, rows, b"".join(parts))


def in_pieces(steps: Steps[T], buffer: Buffer, data: bytes, cuts: list[int]) -> T | None:
    """Feed bytes cut at these places; nothing when the reader wants more at the end."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    while True:
        try:
            next(steps)
        except StopIteration as done:
            for piece in pieces:
                buffer.feed(piece)
            return done.value  # type: ignore[no-any-return]
        if not pieces:
            return None
        buffer.feed(pieces.pop(0))


cuts = st.lists(st.integers(0, 10_000), max_size=20)


@given(st.integers(0, 2**64 - 1), cuts)
def test_an_integer_comes_back(value: int, cuts: list[int]) -> None:
    buffer = Buffer()
    assert in_pieces(buffer.varint(), buffer, varint(value), cuts) == value
    assert not buffer.left


def test_an_integer_too_long_is_refused() -> None:
    with pytest.raises(ProtocolError):
        run(Buffer(b"\xff" * 11).varint())


@given(st.text(), cuts)
def test_a_string_comes_back(value: str, cuts: list[int]) -> None:
    buffer = Buffer()
    assert in_pieces(buffer.string(), buffer, string(value), cuts) == value


@given(st.binary())
def test_a_string_that_is_not_text_loses_nothing(value: bytes) -> None:
    assert string(run(Buffer(string(value)).string())) == string(value)


def test_an_enormous_string_is_refused_before_it_comes() -> None:
    with pytest.raises(ProtocolError):
        run(Buffer(varint(framing.MAX_STRING + 1)).string())


@given(st.lists(text, max_size=30), cuts)
def test_strings_are_stepped_over(values: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(string, values))
    buffer = Buffer()
    in_pieces(buffer.skip_strings(len(values)), buffer, data + b"rest", cuts)
    assert buffer.left == 4


@given(block(), cuts)
def test_a_block_ends_where_it_ends(block: Block, cuts: list[int]) -> None:
    buffer = Buffer()
    read = in_pieces(read_packet_block(buffer), buffer, BLOCK_INFO + block.body + b"next", cuts)
    assert read == block
    assert buffer.left == 4


@given(block(), cuts, st.data())
def test_half_a_block_is_never_taken_for_a_whole_one(
    block: Block, cuts: list[int], data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(block.body) - 1))
    buffer = Buffer()
    assert in_pieces(read_block(buffer), buffer, block.body[:end], cuts) is None
    if end:
        with pytest.raises(ProtocolError):
            list(split_blocks(block.body[:end]))


@given(st.lists(block(), max_size=4))
def test_a_run_of_blocks_is_split(blocks: list[Block]) -> None:
    assert list(split_blocks(b"".join(block.body for block in blocks))) == blocks


@given(block())
def test_a_header_has_the_columns_and_no_rows(block: Block) -> None:
    header = header_block(block.columns)
    assert run(read_block(Buffer(header.body))) == header
    assert (header.columns, header.rows) == (block.columns, 0)


@given(block(), cuts)
def test_a_compressed_block_comes_back(block: Block, cuts: list[int]) -> None:
    plain = BLOCK_INFO + block.body
    # As several frames, cut anywhere: a sender may end a frame in the middle of a value.
    places = sorted({0, len(plain), *(cut % len(plain) for cut in cuts[:4])})
    sent = b"".join(compress(plain[start:end]) for start, end in pairwise(places))
    buffer = Buffer()
    assert in_pieces(read_compressed_block(buffer), buffer, sent + b"next", cuts) == block
    assert buffer.left == 4


@given(block(), st.data())
def test_half_a_compressed_block_is_never_taken_for_a_whole_one(
    block: Block, data: st.DataObject
) -> None:
    sent = compress(BLOCK_INFO + block.body)
    end = data.draw(st.integers(0, len(sent) - 1))
    buffer = Buffer()
    assert in_pieces(read_compressed_block(buffer), buffer, sent[:end], []) is None


@given(st.binary(min_size=1), st.data())
def test_a_damaged_frame_is_never_taken_for_a_good_one(plain: bytes, data: st.DataObject) -> None:
    sent = bytearray(compress(plain))
    place = data.draw(st.integers(0, len(sent) - 1))
    sent[place] ^= 1 << data.draw(st.integers(0, 7))
    buffer = Buffer()
    with contextlib.suppress(ProtocolError):
        assert in_pieces(read_frame(buffer), buffer, bytes(sent), []) is None


def test_a_frame_longer_than_one_is_several() -> None:
    plain = bytes(3_000_000)
    buffer = Buffer(compress(plain))
    assert b"".join(run(read_frame(buffer)) for _ in range(3)) == plain
    assert not buffer.left


def test_a_wrong_checksum_says_so() -> None:
    sent = bytearray(compress(b"some bytes"))
    sent[-1] ^= 1
    with pytest.raises(ChecksumError):
        run(read_frame(Buffer(bytes(sent))))


def test_a_frame_that_goes_on_after_its_block_is_refused() -> None:
    sent = compress(BLOCK_INFO + b"\x00\x00" + b"more")
    with pytest.raises(ProtocolError):
        run(read_compressed_block(Buffer(sent)))


@given(st.binary(max_size=200))
def test_noise_ends_in_an_error_or_waits(noise: bytes) -> None:
    for read in (read_packet_block, read_compressed_block):
        buffer = Buffer()
        with contextlib.suppress(ProtocolError, UnknownTypeError):
            in_pieces(read(buffer), buffer, noise, [])


@pytest.mark.parametrize(
    "spec", ["JSON", "Dynamic", "AggregateFunction(sum, UInt8)", "Tuple()", "Array(JSON)", "", "1"]
)
def test_a_type_that_is_not_known_says_so(spec: str) -> None:
    with pytest.raises(UnknownTypeError):
        parse_type(spec)
