"""How many read a mail: exact for a few, estimated for many, never more people than can be told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.track import Track
from mailwake_enricher import readers
from tests.unit.enricher.values import BROWSER, NOW, hit, run, send

PHONE = "Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 Version/18.6 Safari/604.1"
GMAIL = "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"


def known_of(pairs: list[tuple[str, str]], recipients: int = 1) -> tuple[str, int]:
    known, people = "", 0
    for network, family in pairs:
        code = readers.code_of(network, family)
        if not readers.who_is(known, code):
            known, people = readers.meet(known, people, code, recipients, proxy=False)
    return known, people


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz")), max_size=40))
def test_few_readers_are_counted_exactly(pairs: list[tuple[str, str]]) -> None:
    known, people = known_of(pairs)
    assert readers.about(known) == len(set(pairs))
    networks, families = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    assert readers.least(known, people) <= min(len(networks), len(families))
    assert known == known_of([*pairs, *pairs])[0]
    assert {known[at : at + 4] for at in range(0, len(known), 5)} == {
        readers.code_of(*pair) for pair in pairs
    }


@pytest.mark.parametrize("count", [100, 1000, 20_000])
def test_many_are_estimated_whatever_their_order(count: int) -> None:
    estimates = []
    for seed in range(20):
        pairs = [(f"{seed}.{n}", f"family {n % 30}") for n in range(count)]
        known, _ = known_of(pairs)
        random.Random(seed).shuffle(pairs)
        again, _ = known_of(pairs)
        assert readers.about(again) == readers.about(known)
        estimates.append(readers.about(known) / count)
    assert 0.85 < sum(estimates) / len(estimates) < 1.15
    assert all(0.4 < estimate < 2 for estimate in estimates)


def test_a_second_network_and_program_is_likely_a_forward() -> None:
    track = Track()
    run(track, send(), hit(network="203.0.113.0/24", agent=BROWSER))
    (home,) = run(track, hit(at=NOW + 100_000, network="192.0.2.0/24", agent=BROWSER)).events
    (phone,) = run(track, hit(at=NOW + 200_000, network="192.0.2.0/24", agent=PHONE)).events
    assert not home.forward
    assert not phone.forward
    assert (track.readers_about, track.readers_least, track.forwards) == (3, 1, 0)
    other = {"network": "198.51.100.0/24", "agent": "Thunderbird/140"}
    (event,) = run(track, hit(at=NOW + 300_000, **other)).events
    assert (event.verdict, event.forward, event.first, event.recipient_id) == (
        *("human", True),
        *(False, None),
    )
    # So it stays, long after; the opens are the recipient's own.
    (again,) = run(track, hit(at=NOW + 10**9, **other)).events
    assert again.forward
    assert (track.opens, track.forwards, track.last_open_at) == (3, 2, NOW + 200_000)
    assert (track.readers_about, track.readers_least) == (4, 2)


def test_a_shared_body_has_as_many_readers_as_recipients_before_one_is_a_forward() -> None:
    track = Track()
    run(track, send(recipient_count=2, recipients=["aa" * 16, "bb" * 16]))
    readers_ = [
        ("203.0.113.0/24", BROWSER),
        ("192.0.2.0/24", PHONE),
        ("1.2.3.0/24", "Thunderbird/1"),
    ]
    told = []
    for at, (network, agent) in enumerate(readers_):
        told += run(
            track, hit(at=NOW + at * 200_000, recipient=0, network=network, agent=agent)
        ).events
    assert [event.forward for event in told] == [False, False, True]
    assert (track.opens, track.readers_least) == (2, 3)


def test_all_behind_a_proxy_are_one_reader_and_no_proof() -> None:
    track = Track()
    run(track, send(), hit(agent=GMAIL, network="66.102.1.0/24"))
    assert (track.readers_about, track.readers_least) == (1, 1)
    run(track, hit(agent=GMAIL, network="66.249.90.0/24", at=NOW + 100_000))
    (event,) = run(track, hit(at=NOW + 200_000)).events
    assert not event.forward
    assert (track.readers_about, track.readers_least, track.opens) == (2, 1, 3)


def test_in_mode_anonymous_there_is_one_reader_at_the_least() -> None:
    track = Track()
    run(track, send(mode="anonymous", recipients=[]), hit(), hit(at=NOW + 10**6, agent=PHONE))
    assert (track.opens, track.readers_about, track.readers_least) == (2, 1, 1)
