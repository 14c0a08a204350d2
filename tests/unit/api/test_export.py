"""CSV: no cell is a formula, nothing is lost; and which format an answer has."""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from mailwake_api.export import FORMULA, as_csv, wanted

cells = st.text() | st.sampled_from(
    ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "=cmd|' /C calc'!A0", '"=1"', "'=1", ""]
)


@pytest.mark.fault(30)
@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_no_cell_is_a_formula_and_nothing_is_lost(rows: list[tuple[str, str]]) -> None:
    written = as_csv(["a", "b"], rows).decode()
    header, *read = csv.reader(io.StringIO(written, newline=""))
    assert header == ["a", "b"]
    for cell, given_ in zip(chain(*read), chain(*rows), strict=True):
        assert not cell.startswith(FORMULA)
        assert cell == given_ or cell == "'" + given_


def test_times_numbers_and_what_is_not_there() -> None:
    columns = ["target", "first_at", "share", "last_at"]
    written = as_csv(columns, [["x", 1_767_225_600_123, 0.5, None], ["=", 0, -1, 0]])
    assert written.decode().split("\r\n") == [
        "target,first_at,share,last_at",
        "x,2026-01-01T00:00:00.123+00:00,0.5,",
        "'=,1970-01-01T00:00:00.000+00:00,-1,1970-01-01T00:00:00.000+00:00",
        "",
    ]


@pytest.mark.parametrize(
    ("accept", "named", "expected"),
    [
        (None, None, "json"),
        ("*/*", None, "json"),
        ("text/csv", None, "csv"),
        ("Text/CSV; q=0.9, application/json;q=0.1", None, "csv"),
        ("application/json, text/csv", None, "json"),
        ("text/html, text/csv", None, "csv"),
        ("text/html", None, "json"),
        ("application/vnd.apache.parquet, text/csv;q=0.5", None, "parquet"),
        ("text/csv, application/vnd.apache.parquet", None, "csv"),
        ("text/csv", "json", "json"),
        ("application/json", "csv", "csv"),
    ],
)
def test_the_format(accept: str | None, named: Any, expected: str) -> None:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    assert wanted(Request({"type": "http", "headers": headers}), named) == expected
