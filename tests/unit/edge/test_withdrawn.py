"""Who has denied: against a plain model, with readers that several recipients share."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import Consent, ConsentState, Purpose, consent_key, new_consent
from mailwake.ids import reader_of
from mailwake.permission import PURPOSES, counts
from mailwake.settings import read_settings
from mailwake_edge.withdrawn import PATIENCE_S, Withdrawn

SETTINGS = read_settings({})
RECIPIENTS = [first * 10 + rest * 22 for first in "ab" for rest in "cde"]
"""Three recipients for each of two readers: what happens once in 10^12 pairs, here always."""


def said(recipient_id: str, purpose: Purpose, state: ConsentState, at: int) -> Consent:
    return new_consent("acme", recipient_id, purpose, state, at, "import")


def take(withdrawn: Withdrawn, consent: Consent) -> None:
    withdrawn.take(consent_key(consent), consent)


STATEMENTS = st.builds(
    said,
    st.sampled_from(RECIPIENTS),
    st.sampled_from(PURPOSES),
    st.sampled_from(["granted", "denied", "unknown"]),
    st.integers(0, 5) | st.just((1 << 42) - 1),
)


@given(st.lists(st.tuples(st.booleans(), STATEMENTS), max_size=30))
def test_who_has_denied_is_who_denied_last(records: list[tuple[bool, Consent]]) -> None:
    """Whatever order statements come in, a denial is never forgotten for an older grant."""
    withdrawn = Withdrawn(SETTINGS)
    denied: dict[bytes, Consent] = {}
    for erased, consent in records:
        key = consent_key(consent)
        if erased:
            withdrawn.take(key, None)
            denied.pop(key, None)
            continue
        take(withdrawn, consent)
        if consent.state == "denied":
            if counts(consent, denied.get(key)):
                denied[key] = consent
        elif key in denied and counts(consent, denied[key]):
            del denied[key]
    for kind, purpose in (("open", "opens"), ("click", "clicks")):
        readers = {
            reader_of(each.recipient_id) for each in denied.values() if each.purpose == purpose
        }
        assert set(withdrawn.of[kind]) == readers  # type: ignore[index]


@given(
    st.permutations([("denied", 3), ("granted", 2), ("granted", 1), ("denied", 2), ("unknown", 3)])
)
def test_a_denial_holds_in_whatever_order_it_comes(order: list[tuple[ConsentState, int]]) -> None:
    withdrawn = Withdrawn(SETTINGS)
    for state, at in order:
        take(withdrawn, said(RECIPIENTS[0], "opens", state, at))
    assert set(withdrawn.of["open"]) == {reader_of(RECIPIENTS[0])}


def test_one_recipients_grant_is_not_anothers() -> None:
    withdrawn = Withdrawn(SETTINGS)
    one, two, _ = RECIPIENTS[:3]
    take(withdrawn, said(one, "opens", "denied", 1))
    take(withdrawn, said(two, "opens", "granted", 9))
    withdrawn.take(b"acme/%b/opens" % two.encode(), None)
    assert list(withdrawn.of["open"]) == [reader_of(one)]
    take(withdrawn, said(two, "opens", "denied", 9))
    take(withdrawn, said(one, "opens", "granted", 2))
    assert list(withdrawn.of["open"]) == [reader_of(one)]
    take(withdrawn, said(two, "opens", "granted", 10))
    assert not withdrawn.of["open"]


@pytest.mark.parametrize("erased", PURPOSES)
def test_what_is_erased_is_forgotten_and_nothing_beside_it(erased: Purpose) -> None:
    withdrawn = Withdrawn(SETTINGS)
    for purpose in PURPOSES:
        take(withdrawn, said(RECIPIENTS[0], purpose, "denied", 1))
    withdrawn.take(f"acme/{RECIPIENTS[0]}/{erased}".encode(), None)
    assert [len(withdrawn.of[kind]) for kind in ("open", "click")] == (
        [0, 1] if erased == "opens" else [1, 0]
    )


def test_those_who_agreed_take_no_room() -> None:
    withdrawn = Withdrawn(SETTINGS)
    before = [sys.getsizeof(readers) for readers in withdrawn.of.values()]
    for number in range(1000):
        take(withdrawn, said(f"{random.getrandbits(128):032x}", "opens", "granted", number))
    assert [sys.getsizeof(readers) for readers in withdrawn.of.values()] == before


def test_a_denial_takes_seventeen_bytes() -> None:
    withdrawn = Withdrawn(SETTINGS)
    one, two, _ = RECIPIENTS[:3]
    take(withdrawn, said(one, "clicks", "denied", 1))
    take(withdrawn, said(two, "clicks", "denied", 1 << 40))
    assert withdrawn.of["click"] == {
        bytes.fromhex(one[:10]): bytes.fromhex(f"{one[10:]}{1:012x}{two[10:]}{1 << 40:012x}")
    }
    assert withdrawn.of["open"] == {}


def test_kafka_has_five_seconds_to_tell_the_consents(monkeypatch: pytest.MonkeyPatch) -> None:
    withdrawn = Withdrawn(SETTINGS)
    for waited, settled in ((0.0, False), (5.0, False), (5.1, True)):
        now = withdrawn.follower.moved_at + waited
        monkeypatch.setattr("mailwake_edge.withdrawn.time.monotonic", lambda now=now: now)
        assert withdrawn.settled == settled


def test_a_key_that_is_none_forgets_nobody() -> None:
    withdrawn = Withdrawn(SETTINGS)
    take(withdrawn, said(RECIPIENTS[0], "opens", "denied", 1))
    for key in (b"acme", b"acme/%b" % RECIPIENTS[0].encode(), b"a/b/opens", b"acme/x/neither"):
        withdrawn.take(key, None)
    assert list(withdrawn.of["open"]) == [reader_of(RECIPIENTS[0])]


def test_waiting_ends_when_all_is_known_or_nothing_comes() -> None:
    withdrawn = Withdrawn(SETTINGS)
    assert (withdrawn.known, withdrawn.settled) == (False, False)
    withdrawn.follower.moved_at -= PATIENCE_S + 1
    assert (withdrawn.known, withdrawn.settled) == (False, True)
    withdrawn = Withdrawn(SETTINGS)
    withdrawn.follower.caught_up.set()
    assert (withdrawn.known, withdrawn.settled) == (True, True)
