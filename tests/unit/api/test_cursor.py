"""Cursors: what was written is read again, by the same query alone."""

from __future__ import annotations

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailwake_api.cursor import Place, read, write
from mailwake_api.problems import Problem

places = st.builds(Place, st.integers(0, 1 << 42), st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
queries = st.tuples(st.text(max_size=5), st.text(max_size=5), st.booleans() | st.none())


@given(places, queries)
def test_what_was_written_is_read(place: Place, query: object) -> None:
    cursor = write(place, query)
    assert read(cursor, query) == place
    assert len(cursor) <= 64
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?#")


@given(places, queries, queries)
def test_another_query_does_not_take_it(place: Place, query: object, other: object) -> None:
    assume(query != other)
    with pytest.raises(Problem) as told:
        read(write(place, query), other)
    assert (told.value.status, told.value.code) == (422, "cursor")


@given(st.text(max_size=64))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        read(text, ("acme", "ben"))


@given(places, st.integers(0, 43), st.characters(codec="ascii"))
def test_a_changed_one_names_no_other_query(place: Place, at: int, character: str) -> None:
    """It may name another place, which is harmless, but in no second spelling."""
    cursor = write(place, "query")
    changed = cursor[:at] + character + cursor[at + 1 :]
    try:
        found = read(changed, "query")
    except Problem:
        return
    assert write(found, "query") == changed


def test_a_time_beyond_all_times_is_refused() -> None:
    data = bytearray(base64.urlsafe_b64decode(write(Place(0, "0" * 32), "q") + "=="))
    data[9:17] = b"\xff" * 8
    with pytest.raises(Problem):
        read(base64.urlsafe_b64encode(bytes(data)).rstrip(b"=").decode(), "q")
