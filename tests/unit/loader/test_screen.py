"""The screen lets through exactly what the contract lets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.codec import Codec
from mailwake.contracts import EVENT, HIT, SEND, Event, Hit, Send
from mailwake_enricher.loader_screen import Screen
from tests.unit.loader.values import event, hit, send

SCREENS: dict[str, Screen[Any]] = {
    "send": Screen(Send, SEND),
    "hit": Screen(Hit, HIT),
    "event": Screen(Event, EVENT),
}
CODECS: dict[str, Codec[Any]] = {"send": SEND, "hit": HIT, "event": EVENT}
GOOD: dict[str, list[dict[str, Any]]] = {
    "send": [
        json.loads(SEND.encode(each))
        for each in (send(1), send(2, mode="anonymous", recipients=[], tag="spring"))
    ],
    "hit": [
        json.loads(HIT.encode(each))
        for each in (hit(1), hit(2, kind="click", link=0, target="https://x", network="::/48"))
    ],
    "event": [
        json.loads(EVENT.encode(each))
        for each in (event(1), event(2, kind="click", link=1, target="x", tag="t", agent="a"))
    ],
}

ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 1.0, 1.5, 2**16 - 1, 2**16, 2**31, 2**31 + 1, 2**42, 2**64),
    *(2**42 + 1, "", "a", "A", "acme\n", "a b", "a@b", "\u0085", "ä", "\ufeff", "x" * 64, "x" * 65),
    *("x" * 256, "x" * 257, "x" * 512, "x" * 513, "x" * 8192, "x" * 8193, "GET", "click"),
    *("0" * 31, "0" * 32, "0" * 33, "A" * 32, "0" * 31 + "\n", "0" * 31 + " ", "0" * 30 + "ä"),
    *("٣" * 32, [], [1], ["0" * 32], ["0" * 31], ["0" * 32, "0" * 31], ["", "x"], ["x" * 8193], {}),
]


def reads(screen: Screen[Any], data: bytes) -> bool:
    """Whether all of a record's values pass."""
    values, bad = screen.read(data)
    return not bad and screen.holds(values, {})


def check(contract: str, values: list[dict[str, Any]]) -> None:
    data = json.dumps(values).encode()
    expected = not CODECS[contract].read(data)[1]
    assert reads(SCREENS[contract], data) == expected


@pytest.mark.parametrize("contract", SCREENS)
def test_good_values_pass_and_are_the_same(contract: str) -> None:
    data = json.dumps(GOOD[contract]).encode()
    screen = SCREENS[contract]
    values, bad = screen.read(data)
    assert not bad
    assert screen.holds(values, {})
    for ours, theirs in zip(values, CODECS[contract].read(data)[0], strict=True):
        assert all(
            getattr(ours, field) == getattr(theirs, field) for field in theirs.__struct_fields__
        )
        assert screen.codec.encode(ours) == screen.codec.encode(theirs)


@pytest.mark.parametrize("contract", SCREENS)
def test_every_field_with_every_odd_value(contract: str) -> None:
    names = {name for value in GOOD[contract] for name in value} | {"v", "tag", "purpose", "method"}
    for name in names:
        for odd in ODD:
            check(contract, [GOOD[contract][0], GOOD[contract][1] | {name: odd}])
        check(contract, [{k: v for k, v in GOOD[contract][1].items() if k != name}])


@given(
    contract=st.sampled_from(sorted(SCREENS)),
    changes=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 30),
            st.sampled_from(ODD) | st.text(max_size=40) | st.integers(-(2**60), 2**60),
        ),
        max_size=3,
    ),
)
def test_any_values(contract: str, changes: list[tuple[int, int, Any]]) -> None:
    values = [dict(value) for value in GOOD[contract]]
    for which, field, odd in changes:
        names = sorted(values[which])
        values[which][names[field % len(names)]] = odd
    check(contract, values)


def test_what_is_bad_is_found_in_given_columns_too() -> None:
    screen = SCREENS["event"]
    values, _ = screen.read(json.dumps(GOOD["event"]).encode())
    assert screen.holds(values, {"tenant": ["acme", "acme"]})
    assert not screen.holds(values, {"tenant": ["acme", "ACME"]})
