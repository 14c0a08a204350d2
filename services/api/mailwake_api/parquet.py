"""Tables for notebooks and warehouses: Apache Parquet, with typed columns.

pyarrow takes a second and 60 MB when it is first needed, so it is imported then, and all of it runs
beside the event loop.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, inspect

MEDIA = "application/vnd.apache.parquet"
"""As registered with IANA."""


def as_parquet(row: type[Struct], rows: Sequence[Sequence[Any]]) -> bytes:
    """The rows, whose cells stand in the order of the fields of `row`; the same rows give the same
    bytes.

    A field is a column: text, whole numbers of 64 bits, floating-point numbers, and where its name
    ends in `_at` times in milliseconds, UTC. Only what may be None may be null.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    described = inspect.type_info(row)
    assert isinstance(described, inspect.StructType)  # noqa: S101
    fields = []
    for field in described.fields:
        name, nullable = _plain(field.type)
        kind = pa.timestamp("ms", tz="UTC") if field.name.endswith("_at") else types[name]
        fields.append(pa.field(field.name, kind, nullable=nullable))
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(cells, field.type) for cells, field in zip(columns, fields, strict=True)]
    written = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), written)
    return written.getvalue()


def _plain(info: inspect.Type) -> tuple[str, bool]:
    """The name of a field's type, and whether it may be None."""
    if isinstance(info, inspect.UnionType):
        (present,) = (each for each in info.types if not isinstance(each, inspect.NoneType))
        return _plain(present)[0], True
    return type(info).__name__.removesuffix("Type").lower(), False
