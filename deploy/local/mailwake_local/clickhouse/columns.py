"""How long a column is in ClickHouse's Native format, type by type.

The format says neither the length of a block nor that of a column, so whoever wants to know where
a block ends has to understand its types. Values are never decoded here, only stepped over.

Source: ClickHouse's documentation, "Native" format and "Data types / binary encoding", and the
bytes of the engine itself, which tests/integration/test_local_clickhouse.py compares with this.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .framing import Buffer, ProtocolError, Steps


class UnknownTypeError(Exception):
    """A column type whose length in the Native format is not known here (such as JSON)."""


@dataclass(frozen=True)
class ColumnType:
    """A column's type, parsed far enough to step over its values.

    Attributes:
        data: steps over the values of so many rows.
        prefix: steps over what stands once before all values, of nested types in their order.
    """

    data: Callable[[Buffer, int], Steps[None]]
    prefix: Callable[[Buffer], Steps[None]]


_FIXED = {
    **dict.fromkeys(("UInt8", "Int8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("UInt16", "Int16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(
        ("UInt32", "Int32", "Float32", "Date32", "DateTime", "Decimal32", "IPv4", "Time"), 4
    ),
    **dict.fromkeys(
        ("UInt64", "Int64", "Float64", "DateTime64", "Decimal64", "Time64", "Interval"), 8
    ),
    **dict.fromkeys(("UInt128", "Int128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("UInt256", "Int256", "Decimal256"), 32),
}
_ALIASES = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
_SPEC = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.|``)*`|[A-Za-z_][\w.]*)\s+(?=[A-Z])")
_PIECE = re.compile(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|[(),]|[^'`(),]+", re.DOTALL)


def parse_type(spec: str) -> ColumnType:
    """Parse a type as ClickHouse writes it, such as ``Array(LowCardinality(String))``.

    Raises:
        UnknownTypeError: this type cannot be stepped over.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UnknownTypeError(spec)
    name, inside = match[1], match[2]
    if name in _ALIASES:
        return parse_type(_ALIASES[name])
    if name.startswith("Interval"):
        name = "Interval"
    if name in _FIXED:
        return _fixed(_FIXED[name])
    if name == "String":
        return ColumnType(Buffer.skip_strings, _no_prefix)
    arguments = _split(inside) if inside else []
    if name == "FixedString" and len(arguments) == 1:
        return _fixed(int(arguments[0]))
    if name == "Decimal" and arguments:
        return _fixed(next(size for digits, size in _DECIMALS if int(arguments[0]) <= digits))
    if name == "SimpleAggregateFunction" and len(arguments) == 2:
        return parse_type(arguments[1])
    parts = [parse_type(_NAMED.sub("", argument, count=1)) for argument in arguments]
    if name == "Tuple" and parts:
        return _tuple(parts)
    if name == "Nested" and parts:
        return _array(_tuple(parts))
    if name == "Map" and len(parts) == 2:
        return _array(_tuple(parts))
    if name == "Array" and len(parts) == 1:
        return _array(parts[0])
    if name == "Nullable" and len(parts) == 1:
        return _nullable(parts[0])
    if name == "LowCardinality" and len(parts) == 1:
        # The dictionary holds NULL as its first entry instead of a map of NULLs.
        nullable = re.fullmatch(r"Nullable\((.*)\)", arguments[0], re.DOTALL)
        return _low_cardinality(parse_type(nullable[1]) if nullable else parts[0])
    raise UnknownTypeError(spec)


_DECIMALS = ((9, 4), (18, 8), (38, 16), (76, 32))


def _split(inside: str) -> list[str]:
    """Split a type's arguments at its outermost commas; quotes and brackets hold together."""
    parts, depth, current = [], 0, ""
    for piece in _PIECE.findall(inside):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and not depth:
            parts.append(current.strip())
            current = ""
        else:
            current += piece
    return [*parts, current.strip()]


def _no_prefix(buffer: Buffer) -> Steps[None]:
    return
    yield


def _fixed(size: int) -> ColumnType:
    return ColumnType(lambda buffer, rows: buffer.skip(rows * size), _no_prefix)


def _tuple(parts: list[ColumnType]) -> ColumnType:
    def data(buffer: Buffer, rows: int) -> Steps[None]:
        for part in parts:
            yield from part.data(buffer, rows)

    def prefix(buffer: Buffer) -> Steps[None]:
        for part in parts:
            yield from part.prefix(buffer)

    return ColumnType(data, prefix)


def _array(item: ColumnType) -> ColumnType:
    def data(buffer: Buffer, rows: int) -> Steps[None]:
        if rows:
            # Each row has the offset at which it ends; the last one is the number of items.
            yield from buffer.skip((rows - 1) * 8)
            yield from item.data(buffer, (yield from buffer.uint(8)))

    return ColumnType(data, item.prefix)


def _nullable(item: ColumnType) -> ColumnType:
    def data(buffer: Buffer, rows: int) -> Steps[None]:
        yield from buffer.skip(rows)
        yield from item.data(buffer, rows)

    return ColumnType(data, item.prefix)


def _low_cardinality(item: ColumnType) -> ColumnType:
    def data(buffer: Buffer, rows: int) -> Steps[None]:
        if not rows:
            return
        flags = yield from buffer.uint(8)
        width = flags & 0xFF
        if width > 3 or flags & 0x100 or not flags & 0x200:
            raise ProtocolError("a LowCardinality column refers to a dictionary of another block")
        yield from item.data(buffer, (yield from buffer.uint(8)))
        indexes = yield from buffer.uint(8)
        if indexes != rows:
            raise ProtocolError(f"a LowCardinality column has {indexes} values for {rows} rows")
        yield from buffer.skip(rows << width)

    def prefix(buffer: Buffer) -> Steps[None]:
        yield from buffer.skip(8)
        yield from item.prefix(buffer)

    return ColumnType(data, prefix)
