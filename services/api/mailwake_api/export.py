"""Tables for spreadsheets: CSV (RFC 4180), with formulas made neutral."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.requests import Request

from mailwake_api.parquet import MEDIA

Format = Literal["json", "csv", "parquet"]

_TABLES: dict[str, Format] = {"text/csv": "csv", MEDIA: "parquet"}

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet take a cell for a formula, or split it (OWASP, CSV Injection)."""


def wanted(request: Request, named: Format | None) -> Format:
    """The format of an answer: the one named, or that of a table where Accept asks for it before
    JSON."""
    if named is not None:
        return named
    for value in request.headers.getlist("accept"):
        for each in value.split(","):
            media = each.partition(";")[0].strip().lower()
            if media in _TABLES:
                return _TABLES[media]
            if media in ("application/json", "application/*", "*/*"):
                return "json"
    return "json"


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows as CSV in UTF-8, with a line of names. Columns that end in `_at` hold milliseconds,
    and are written as times (ISO 8601, UTC)."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    times = [name.endswith("_at") for name in columns]
    for row in rows:
        writer.writerow(
            _time(cell) if is_time and cell is not None else neutral(cell)
            for cell, is_time in zip(row, times, strict=True)
        )
    return written.getvalue().encode()


def neutral(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a text that looks like one gets a quote
    before it."""
    if isinstance(cell, str) and cell.startswith(FORMULA):
        return "'" + cell
    return "" if cell is None else cell


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
