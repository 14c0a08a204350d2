"""Judging anew: what changes is what the rules say, once, and the enricher goes on from there."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwake.contracts import PERSON, Event, Hit
from mailwake.track import RECLASSIFIED, Reclassified, Track
from mailwake_enricher.meaning import MARKS
from mailwake_enricher.reclassify import parts
from mailwake_enricher.rejudge import Judged, Mail, rejudge
from mailwake_enricher.taken_over import take_over
from mailwake_enricher.telling import Outcome
from tests.unit.enricher.drawing import SENDS, some_hits
from tests.unit.enricher.values import (
    BROWSER,
    MESSAGE,
    NOW,
    RULES,
    copy,
    hit,
    last,
    plain,
    run,
    send,
)
from tests.unit.reclassify.values import STRONGER, VERSION, live, mail

THUNDERBIRD = "Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/140.0"


def apply(track: Track, events: dict[str, Event], judged: Judged) -> None:
    """Has the enricher take over what was judged, by way of the topic."""
    sent = Reclassified(MESSAGE, "acme", track.revision, VERSION, judged.changed, judged.track)
    for part in parts(sent, 2000):
        outcome = Outcome()
        assert take_over(track, RECLASSIFIED.decode(part), outcome) == "applied"
        for event in outcome.events:
            before = events.get(event.event_id)
            assert event.revision == (before.revision + 1 if before else 1)
            events[event.event_id] = event
    track.revision += 1


def counting(events: dict[str, Event]) -> dict[str, Event]:
    """The events that count, as they are told to people; not by what rules a thing was judged that
    did not change."""
    return {
        identity: msgspec.structs.replace(event, rules_version=0)
        for identity, event in last(events.values()).items()
    }


def check_counts(track: Track, events: dict[str, Event]) -> None:
    """The counts of a track are those of its events."""
    counted = [event for event in events.values() if not event.repeat]
    people = [event for event in counted if event.verdict in PERSON]
    opens = [event for event in people if event.kind == "open" and not event.forward]
    clicks = [event for event in people if event.kind == "click"]
    assert track.opens == len(opens)
    assert track.clicks == len(clicks)
    assert track.forwards == sum(event.forward for event in people)
    assert track.machine_opens + track.machine_clicks == len(counted) - len(people)
    assert track.first_open_at == min((event.at for event in opens), default=0)
    assert track.last_click_at == max((event.at for event in clicks), default=0)
    assert track.open_score == max((event.score for event in opens), default=0)
    assert track.click_score == max((event.score for event in clicks), default=0)
    assert len(track.clicked) == len({*track.clicked})
    assert {*track.clicked} == {event.link for event in clicks}


@settings(max_examples=300, deadline=None)
@given(hits=some_hits(), sent=st.sampled_from(SENDS), order=st.randoms(use_true_random=False))
def test_the_rules_in_force_change_nothing(
    hits: list[Hit], sent: dict[str, Any], order: random.Random
) -> None:
    order.shuffle(hits)
    track, events = live(send(**sent), hits)
    judged = rejudge(mail(send(**sent), hits, track, events), RULES)
    assert judged.changed == []
    assert not judged.differs
    assert judged.strangers == judged.gone == 0
    assert judged.track is not None
    mine, theirs = plain(judged.track), plain(track)
    del mine["seen"], theirs["seen"]
    assert mine == theirs


@settings(max_examples=300, deadline=None)
@given(
    hits=some_hits(),
    more=some_hits(4),
    sent=st.sampled_from(SENDS),
    order=st.randoms(use_true_random=False),
)
def test_what_is_taken_over_is_what_the_new_rules_would_have_made(
    hits: list[Hit], more: list[Hit], sent: dict[str, Any], order: random.Random
) -> None:
    order.shuffle(hits)
    track, events = live(send(**sent), hits)
    seen = copy(track).seen
    apply(track, events, rejudge(mail(send(**sent), hits, track, events), STRONGER))
    fresh = Track()
    told = run(fresh, send(**sent), *hits, rules=STRONGER).events
    assert counting(events) == counting({event.event_id: event for event in told})
    check_counts(track, events)
    assert track.seen == seen
    # A second run finds nothing to do.
    again = rejudge(mail(send(**sent), hits, track, events), STRONGER)
    assert (again.changed, again.differs) == ([], False)
    # And what comes after, by the rules that are in force then, goes on above what was published.
    later = [msgspec.structs.replace(each, hit_id="3" + each.hit_id[1:]) for each in more]
    for event in run(track, *later, rules=STRONGER).events:
        before = events.get(event.event_id)
        assert before is None or event.revision > before.revision
        events[event.event_id] = event
    if len(hits) + len(later) <= MARKS:
        told += run(fresh, *later, rules=STRONGER).events
        assert counting(events) == counting({event.event_id: event for event in told})
    check_counts(track, events)


def test_a_first_that_was_a_scanner_gives_place_to_the_next() -> None:
    hits = [hit(agent=THUNDERBIRD), hit(at=NOW + 3_600_000, agent=BROWSER)]
    track, events = live(send(), hits)
    judged = rejudge(mail(send(), hits, track, events), STRONGER)
    told = {new.hit_id: (new.verdict, new.first, new.revision) for _, new in judged.pairs}
    assert told == {hits[0].hit_id: ("scanner", False, 2), hits[1].hit_id: ("human", True, 2)}
    assert {event.rules_version for event in judged.changed} == {VERSION}


def test_an_open_that_is_implied_no_more_is_told_as_a_repeat_and_one_that_is_now_as_new() -> None:
    click = hit(at=NOW + 3_600_000, link=0)
    gone = [hit(link=0, agent=THUNDERBIRD)]
    come = [hit(agent=THUNDERBIRD), click]
    for hits, counts in ((gone, 0), (come, 1)):
        track, events = live(send(), hits)
        apply(track, events, rejudge(mail(send(), hits, track, events), STRONGER))
        (implied,) = [event for event in events.values() if event.implied]
        assert implied.repeat == (not counts)
        assert implied.reasons[0] == "implied_by_click"
        assert (track.opens, track.clicks) == (counts, counts)


def test_a_mail_whose_hits_are_gone_is_left() -> None:
    hits = [hit(agent=THUNDERBIRD), hit(at=NOW + 3_600_000)]
    track, events = live(send(), hits)
    judged = rejudge(mail(send(), hits[1:], track, events), STRONGER)
    assert (judged.left, judged.gone) == ("no_hits", 1)
    assert (judged.changed, judged.differs, judged.track) == ([], False, None)


def test_hits_that_were_never_joined_are_passed_over() -> None:
    joined = [hit(agent=THUNDERBIRD), hit(at=NOW + 3_600_000)]
    first = hit(at=NOW - 10_000)
    strangers = [first, hit(at=NOW - 9_000), hit(at=NOW + 7_200_000, link=0)]
    track, events = live(send(), joined)
    judged = rejudge(mail(send(), joined + strangers, track, events), STRONGER)
    alone = rejudge(mail(send(), joined, track, events), STRONGER)
    assert judged.strangers == 3
    assert judged.changed == alone.changed
    assert judged.track == alone.track


def test_what_never_becomes_clear_is_left() -> None:
    strangers = [hit(at=NOW + number * 5_000) for number in range(20)]
    track, events = live(send(), [])
    judged = rejudge(Mail(send(), 7, mail(send(), [], track, events).counts, strangers, []), RULES)
    assert judged.left == "unsettled"
    assert not judged.differs


@pytest.mark.parametrize("revision", [6, 8])
def test_the_enricher_passes_over_what_was_judged_of_another_track(revision: int) -> None:
    track, events = live(send(), [hit(agent=THUNDERBIRD)])
    judged = rejudge(mail(send(), [hit()], track, {}), STRONGER)
    before, outcome = copy(track), Outcome()
    sent = Reclassified(MESSAGE, "acme", revision, VERSION, list(events.values()), judged.track)
    assert take_over(track, sent, outcome) == "outdated"
    assert outcome.events == []
    assert track == before
    assert take_over(Track(revision=7), sent, outcome) == "outdated"


def test_a_mail_with_very_many_changes_comes_in_parts_and_the_last_has_the_track() -> None:
    hits = [hit(at=NOW + 3_600_000 * number, agent=THUNDERBIRD) for number in range(50)]
    track, events = live(send(), hits)
    judged = rejudge(mail(send(), hits, track, events), STRONGER)
    sent = Reclassified(MESSAGE, "acme", 7, VERSION, judged.changed, judged.track)
    made = [RECLASSIFIED.decode(part) for part in parts(sent, 5000)]
    assert all(len(part) <= 5000 for part in parts(sent, 5000))
    assert [each for part in made for each in part.events] == judged.changed
    assert [part.track is not None for part in made] == [False] * (len(made) - 1) + [True]
    assert len(list(parts(sent))) == 1
