"""How long a hit waits for its send, and how long a mail is tracked."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwake.ids import HitStream, message_id_of, message_time
from mailwake.track import TRACK, Track
from mailwake_enricher.decide import (
    WAITING_HITS,
    Rules,
    due_at,
    is_due,
    is_over,
)
from tests.unit.enricher import values
from tests.unit.enricher.values import (
    BROWSER,
    MESSAGE,
    NOW,
    RULES,
    copy,
    hit,
    run,
    send,
)


def test_hits_before_their_send_join_it_in_order() -> None:
    track = Track()
    early = [hit(at=NOW), hit(link=0, at=NOW + 5), hit(at=NOW + 10)]
    outcome = run(track, *early)
    assert (outcome.events, len(track.waiting)) == ([], 3)
    outcome = run(track, send())
    # As the revisions say, others came while they waited. The click would have implied an open,
    # had it come after its send and before the open, so that there is none is told as well.
    opened, clicked = early[0].hit_id, early[1].hit_id
    told = [(each.hit_id, each.kind, each.revision, each.repeat) for each in outcome.events]
    assert told == [
        (opened, "open", 3, False),
        (clicked, "click", 2, False),
        (clicked, "open", 2, True),
    ]
    crooked = run(Track(), *reversed(early), send())
    assert values.last(crooked.events) == values.last(outcome.events)
    assert (outcome.drops, track.waiting) == (["repeat"], [])
    assert run(track, *early).drops == ["duplicate"] * 3


def test_a_track_holds_so_many_waiting_hits_and_no_more() -> None:
    track = Track()
    hits = [hit(at=NOW + at) for at in range(WAITING_HITS + 2)]
    outcome = run(track, *hits)
    assert outcome.unmatched == [(each, "waiting_full") for each in hits[WAITING_HITS:]]
    assert run(track, hits[-1]).drops == ["duplicate"]


def test_waiting_hits_with_the_longest_targets_fit_into_a_record() -> None:
    track = Track()
    for _ in range(WAITING_HITS):
        run(track, hit(link=0, target="\x01" * 8192))
    assert len(TRACK.encode(track)) < 500_000


def test_waiting_hits_are_given_up_by_the_oldest() -> None:
    track = Track()
    assert due_at(track, RULES) == 0
    run(track, hit(at=NOW + 5), hit(at=NOW))
    assert due_at(track, RULES) == NOW + RULES.join_wait_ms
    assert not is_due(track, NOW + RULES.join_wait_ms - 1, RULES)
    assert is_due(track, NOW + RULES.join_wait_ms, RULES)
    run(track, send())
    assert not is_due(track, NOW + RULES.join_wait_ms, RULES)


def test_a_track_is_over_so_long_after_its_last_sign_of_life() -> None:
    track = Track()
    run(track, send(sent_at=NOW - 5000))
    assert not is_over(track, NOW - 5001 + RULES.keep_ms, RULES)
    assert is_over(track, NOW - 5000 + RULES.keep_ms, RULES)
    run(track, hit(at=NOW, agent="curl/8"))
    assert not is_over(track, NOW - 1 + RULES.keep_ms, RULES)
    assert is_over(track, NOW + RULES.keep_ms, RULES)
    waiting = Track()
    run(waiting, hit(at=NOW))
    assert not is_over(waiting, NOW + RULES.keep_ms, RULES)


def test_a_hit_of_another_tenant_is_refused_now_and_after_waiting() -> None:
    stranger = hit(tenant="other")
    outcome = run(Track(), send(), stranger)
    assert (outcome.mismatched, outcome.events) == ([stranger], [])
    outcome = run(Track(), stranger, send())
    assert (outcome.mismatched, outcome.events) == ([stranger], [])


def test_tracking_ends_after_so_long() -> None:
    track = Track()
    run(track, send(sent_at=NOW))
    assert len(run(track, hit(at=NOW + RULES.keep_ms)).events) == 1
    before = copy(track)
    assert run(track, hit(at=NOW + RULES.keep_ms + 1)).drops == ["too_late"]
    assert track == before
    # So too where the track is gone: the message's id tells its time.
    sent_at = message_time(MESSAGE)
    assert run(Track(), hit(at=sent_at + RULES.keep_ms)).drops == []
    assert run(Track(), hit(at=sent_at + RULES.keep_ms + 1)).drops == ["too_late"]
    without = hit(at=NOW + RULES.keep_ms, message_id=message_id_of("acme", "1"))
    assert run(Track(), without).drops == []


DAY = 86_400_000


@pytest.mark.parametrize(("days", "kept"), [(1, 1), (90, 90), (179, 179), (180, 180)])
def test_a_send_may_be_tracked_for_a_shorter_time(days: int, kept: int) -> None:
    track = Track()
    run(track, send(sent_at=NOW, retention_days=days))
    assert len(run(track, hit(at=NOW + kept * DAY)).events) == 1
    before = copy(track)
    assert run(track, hit(at=NOW + kept * DAY + 1)).drops == ["too_late"]
    assert track == before
    # It stays known, so that what comes later is known as too late.
    assert not is_over(track, NOW + kept * DAY + 1, RULES)


def test_the_usual_time_is_the_shortest_in_a_row() -> None:
    usual, shorter = Track(), Track()
    run(usual, send())
    run(shorter, send(retention_days=30))
    assert usual.send is not None
    assert shorter.send is not None
    assert (usual.send.retention_days, shorter.send.retention_days) == (0, 30)


def test_a_send_said_again_may_change_how_long() -> None:
    track = Track()
    run(track, send(sent_at=NOW), send(sent_at=NOW, retention_days=1))
    assert run(track, hit(at=NOW + DAY + 1)).drops == ["too_late"]


@settings(max_examples=200)
@given(
    ages=st.lists(st.integers(-DAY, 4 * DAY), max_size=8, unique=True),
    days=st.integers(1, 3),
    keep=st.integers(1, 4),
    place=st.integers(0, 8),
)
def test_the_shorter_of_both_times_decides_whenever_the_send_comes(
    ages: list[int], days: int, keep: int, place: int
) -> None:
    rules = Rules(repeat_window_ms=0, join_wait_ms=DAY, keep_ms=keep * DAY)
    sent = send(message_id=message_id_of("acme", "1"), sent_at=NOW, retention_days=days)
    hits = [hit(at=NOW + age, message_id=sent.message_id, agent=f"a{age}") for age in ages]
    outcome = run(Track(), *hits[:place], sent, *hits[place:], rules=rules)
    late = sum(age > min(days, keep) * DAY for age in ages)
    assert outcome.drops.count("too_late") == late
    told = {event.hit_id for event in outcome.events}
    assert told == {each.hit_id for each in hits if each.at - NOW <= min(days, keep) * DAY}


def test_a_track_of_an_earlier_release_goes_on() -> None:
    """It has no marks and no readers: all that it counts is settled."""
    track = Track()
    run(track, send(), hit(), hit(link=0), hit(at=NOW + 70_000, agent="curl/8"))
    row = msgspec.json.decode(TRACK.encode(track))
    del row[16:]
    row[2] = row[2][:9]
    row[14] = {"0123456789": NOW}
    old = TRACK.decode(msgspec.json.encode(row))
    assert (old.opens, old.clicks, old.machine_opens, old.marks) == (1, 1, 1, [])
    outcome = run(old, hit(at=NOW + 10**8), hit(at=NOW + 10**8 + 5, link=0, agent="B"))
    assert [event.first for event in outcome.events] == [False, False]
    assert (old.opens, old.clicks, old.machine_opens, old.clicked) == (2, 2, 1, [0])
    assert (old.first_open_at, old.first_click_at) == (NOW, NOW)
    assert old.last_open_at == NOW + 10**8


@pytest.mark.parametrize("hits", [10_000])
def test_the_row_of_the_hottest_mail_stays_small(hits: int) -> None:
    """Agents as long as they are, links as long as they are, from three edge processes."""
    track = Track()
    streams = [HitStream(NOW) for _ in range(3)]
    dice = random.Random(7)
    run(track, send(recipient_count=1000, recipients=["aa" * 16] * 1000))
    sizes = []
    for at in range(hits):
        stream = dice.choice(streams)
        for _ in range(dice.randrange(1000)):  # what other mails had in between
            stream._number += dice.randrange(1, 30)
        link = dice.randrange(8)
        made = hit(
            hit_id=stream.next(),
            at=NOW + at * 50,
            recipient=0,
            network=f"10.{dice.randrange(250)}.{dice.randrange(250)}.0/24",
            agent=BROWSER.replace("140", str(dice.randrange(40, 140))),
            **(
                {"link": link, "target": f"https://shop.example/offers/{link}?utm_source=spring"}
                if at % 5 == 0
                else {}
            ),
        )
        run(track, made)
        sizes.append(len(TRACK.encode(track)))
    assert max(sizes) < 2048
