"""The laws of the core: what comes of a mail's hits is a function of the set of them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mailwake.contracts import EVENT, PERSON, Event, Hit, Send
from mailwake.ids import HitStream
from mailwake.track import TRACK, Track
from mailwake_enricher.decide import Rules
from mailwake_enricher.meaning import LATE_MS, MARKS
from mailwake_enricher.telling import Outcome
from tests.unit.enricher.drawing import AGENTS, NETWORKS, SENDS, STREAMS, some_hits
from tests.unit.enricher.values import NOW, RULES, hit, last, plain, run, send

RETURNING = st.sampled_from([1000, 20_000, 100_000]).map(
    lambda quiet_ms: dataclasses.replace(RULES, return_ms=quiet_ms)
)
"""Rules by which some act is a return even within the time that hits are drawn from."""


@settings(max_examples=400)
@given(
    hits=some_hits(),
    sent=st.sampled_from(SENDS),
    order=st.randoms(use_true_random=False),
    place=st.integers(0, MARKS),
    again=st.lists(st.integers(0, MARKS - 1), max_size=6),
    rules=RETURNING,
)
def test_order_and_copies_change_neither_events_nor_track(
    hits: list[Hit],
    sent: dict[str, Any],
    order: random.Random,
    place: int,
    again: list[int],
    rules: Rules,
) -> None:
    """The law of permutation and of replay, for as many hits as a track remembers."""
    straight, crooked = Track(), Track()
    in_order = sorted(hits, key=lambda each: each.at)
    events = run(straight, send(**sent), *in_order, rules=rules).events
    mixed: list[Send | Hit] = [*hits, *(hits[at] for at in again if at < len(hits))]
    order.shuffle(mixed)
    mixed.insert(min(place, len(mixed)), send(**sent))
    others = run(crooked, *mixed, rules=rules).events
    assert last(others) == last(events)
    assert plain(crooked) == plain(straight)
    # And once more, all of it: nothing comes of it.
    outcome = run(crooked, *mixed, rules=rules)
    assert outcome.events == []
    assert plain(crooked) == plain(straight)


@settings(max_examples=150)
@given(
    gaps=st.lists(st.sampled_from([500, 4000, 50_000, 130_000, 700_000]), min_size=10, max_size=60),
    chance=st.randoms(use_true_random=False),
)
def test_hits_over_a_long_time_may_be_as_late_as_is_promised(
    gaps: list[int], chance: random.Random
) -> None:
    """Hits settle meanwhile; no hit comes later than `LATE_MS` after a newer one."""
    at, hits = NOW, []
    for number, gap in enumerate(gaps):
        at += gap
        link = chance.choice([None, 0, 1, 2])
        made = hit(
            hit_id=f"{chance.choice(STREAMS)}{number + 1:016x}",
            at=at,
            agent=chance.choice(AGENTS),
            network=chance.choice(NETWORKS),
            **({} if link is None else {"link": link}),
        )
        hits.append(made)
    assume(all(crowded(hits, each.at) <= MARKS for each in hits))  # what a track remembers
    delayed = sorted(hits, key=lambda each: each.at + chance.randrange(LATE_MS))
    rules = dataclasses.replace(RULES, return_ms=600_000)
    straight, crooked = Track(), Track()
    events = run(straight, send(), *hits, rules=rules).events
    others = run(crooked, send(), *delayed, rules=rules).events
    assert last(others) == last(events)
    counts = plain(straight), plain(crooked)
    for said in counts:
        del said["seen"]  # of two streams, numbers are folded in the order they come
    assert counts[0] == counts[1]


def crowded(hits: Sequence[Hit], at: int) -> int:
    """How many hits a track may have to remember when it takes one of that time."""
    return sum(at - 2 * LATE_MS - 240_000 <= each.at <= at for each in hits)


@given(hits=some_hits(40, 100_000), sent=st.sampled_from(SENDS))
def test_counts_are_what_was_told(hits: list[Hit], sent: dict[str, Any]) -> None:
    """However many hits: no count is below zero, and all are what the last revisions say."""
    track, told = Track(), Outcome()
    run(track, send(**sent))
    for each in hits:
        outcome = run(track, each)
        told.events += outcome.events
        told.drops += outcome.drops
        counts = (track.opens, track.clicks, track.machine_opens, track.machine_clicks)
        assert min(*counts, track.repeats, track.forwards) >= 0
        assert len(track.marks) <= MARKS
        assert 0 <= track.readers_least <= max(1, track.readers_about)
    final = last(told.events).values()
    persons = [event for event in final if event.verdict in PERSON]
    machines = [event for event in final if event.verdict not in PERSON]
    opens = [event for event in persons if event.kind == "open" and not event.forward]
    clicks = [event for event in persons if event.kind == "click"]
    assert track.opens == len(opens)
    assert track.clicks == len(clicks)
    assert track.forwards == sum(event.forward for event in persons)
    assert track.machine_opens == sum(event.kind == "open" for event in machines)
    assert track.machine_clicks == sum(event.kind == "click" for event in machines)
    assert track.repeats == len(hits) - sum(not event.implied for event in final)
    assert sum(event.first for event in opens) == min(1, track.opens)
    assert sorted(event.link or 0 for event in clicks if event.first) == sorted(track.clicked)
    assert track.first_open_at == min((event.at for event in opens), default=0)
    assert track.last_open_at == max((event.at for event in opens), default=0)
    assert track.first_click_at == min((event.at for event in clicks), default=0)
    assert track.last_click_at == max((event.at for event in clicks), default=0)
    assert track.open_score == max((event.score for event in opens), default=0)
    assert track.click_score == max((event.score for event in clicks), default=0)
    assert not (clicks and not opens)
    assert TRACK.decode(TRACK.encode(track)) == track


@given(hits=some_hits(12), starts=st.lists(st.integers(0, 12), max_size=3), rules=RETURNING)
def test_what_is_redelivered_after_a_crash_gives_the_same_bytes(
    hits: list[Hit], starts: list[int], rules: Rules
) -> None:
    """A track from before comes back, and the hits since: the same events, revision for
    revision."""
    track = Track()
    run(track, send())
    rows, told = [TRACK.encode(track)], []
    for each in hits:
        told.append([EVENT.encode(event) for event in run(track, each, rules=rules).events])
        rows.append(TRACK.encode(track))
    for start in starts:
        at = min(start, len(hits))
        back = TRACK.decode(rows[at])
        again = [
            [EVENT.encode(event) for event in run(back, each, rules=rules).events]
            for each in hits[at:]
        ]
        assert again == told[at:]
        assert TRACK.encode(back) == rows[-1]


@settings(max_examples=400)
@given(
    hits=some_hits(12),
    sent=st.sampled_from([*SENDS, {"opens": False}]),
    places=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    crash=st.integers(0, 12),
    rules=RETURNING,
)
@example(  # an implied open, taken back while hits join, once kept a verdict from in between
    hits=[
        hit(at=NOW + 5000, network=NETWORKS[1]),
        hit(),
        hit(at=NOW + 1000, network=NETWORKS[1], link=0),
        *(hit(method=method) for method in ("GET", "GET", "HEAD")),
        hit(network=NETWORKS[1]),
    ],
    sent={},
    places=(0, 7),
    crash=8,
    rules=RULES,
)
def test_what_was_told_before_a_crash_is_overruled_by_what_is_right(
    hits: list[Hit], sent: dict[str, Any], places: tuple[int, int], crash: int, rules: Rules
) -> None:
    """Two topics are read in no order, so after a crash the send may come sooner or later among the
    hits than before it. Whoever keeps the last revision of each event has what an undisturbed run
    tells; and what is told under one revision is the same in every run."""
    runs: list[list[Send | Hit]] = [
        [*hits[:place], send(**sent), *hits[place:]] for place in places
    ]
    before, after = (run(Track(), *each, rules=rules) for each in (runs[0][:crash], runs[1]))
    told = [*before.events, *after.events]
    assert last(told) == last(run(Track(), send(**sent), *hits, rules=rules).events)
    said: dict[tuple[str, int], Event] = {}
    for event in told:
        assert said.setdefault((event.event_id, event.revision), event) == event


@pytest.mark.parametrize("hits", [20, 60, 300])
def test_no_hit_of_a_burst_stays_a_person(hits: int) -> None:
    """However long the burst: the first hits are corrected before they are settled."""
    track, told, dice = Track(), [], random.Random(5)
    run(track, send())
    stream = HitStream(NOW)
    for number in range(hits):
        made = hit(
            hit_id=stream.next(),
            at=NOW + number * 400,
            link=number % 10,
            network=dice.choice(NETWORKS),
        )
        told += run(track, made).events
    final = last(told).values()
    assert {event.verdict for event in final} == {"scanner"}
    assert not any(event.first for event in final)
    assert (track.clicks, track.opens, track.clicked) == (0, 0, [])


@settings(max_examples=300)
@given(hits=some_hits(), rules=RETURNING)
def test_a_return_is_what_no_act_of_a_person_comes_before_for_long(
    hits: list[Hit], rules: Rules
) -> None:
    """Worked out on its own from what was told in the end."""
    final = last(run(Track(), send(), *hits, rules=rules).events).values()
    acts = [event for event in final if event.verdict in PERSON and not event.forward]
    for event in final:
        before = [act.at for act in acts if _place(act) < _place(event)]
        quiet = bool(before) and event.at - max(before) >= rules.return_ms
        assert event.returned == (event in acts and not event.implied and quiet)


def _place(event: Event) -> tuple[int, str]:
    """Where its hit stands among the others; the open that a click implies stands with it."""
    return event.at, event.hit_id
