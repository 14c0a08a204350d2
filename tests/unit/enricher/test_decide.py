from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import EVENT, TRACK, Event, Hit, Send, Track
from mailwake.ids import HitStream, event_id
from mailwake_enricher.decide import (
    READERS,
    WAITING_HITS,
    Outcome,
    Rules,
    due_at,
    is_due,
    is_over,
    take_hit,
    take_send,
)
from tests.unit.enricher.values import BROWSER, NOW, RECIPIENT, RULES, copy, hit, run, send


def test_an_open_gives_an_event() -> None:
    track = Track()
    opened = hit()
    (event,) = run(track, send(), opened).events
    assert event == Event(
        event_id=event_id(opened.hit_id, "open"),
        revision=1,
        hit_id=opened.hit_id,
        kind="open",
        at=NOW,
        tenant="acme",
        user="u1",
        message_id=opened.message_id,
        recipient=1,
        recipient_count=1,
        mode="identified",
        verdict="human",
        reasons=["no_machine_sign"],
        first=True,
        sent_at=NOW - 60_000,
        recipient_id=RECIPIENT,
        network="203.0.113.0/24",
        agent=BROWSER,
        tag="spring",
    )
    assert (track.opens, track.first_open_at, track.last_open_at) == (1, NOW, NOW)


def test_a_click_is_first_once_a_link() -> None:
    track = Track()
    clicks = [hit(link=link, at=NOW + at) for at, link in ((0, 0), (100_000, 0), (200_000, 1))]
    events = run(track, send(), *clicks).events
    assert [(event.link, event.first) for event in events] == [(0, True), (0, False), (1, True)]
    assert events[0].target == "https://example.org/0"
    assert (track.clicks, track.clicked) == (3, [0, 1])
    assert (track.first_click_at, track.last_click_at) == (NOW, NOW + 200_000)


def test_a_machine_takes_nobodys_first() -> None:
    track = Track()
    events = run(track, send(), hit(agent="curl/8"), hit(agent="curl/8", link=0), hit()).events
    assert [(event.verdict, event.first) for event in events] == [
        ("scanner", False),
        ("scanner", False),
        ("human", True),
    ]
    assert (track.machine_opens, track.machine_clicks, track.opens, track.clicks) == (1, 1, 1, 0)


def test_first_is_the_earliest_and_last_the_latest_whatever_the_order() -> None:
    track = Track()
    run(track, send(), hit(at=NOW), hit(at=NOW - 100_000), hit(at=NOW - 200_000, link=0))
    run(track, hit(at=NOW - 300_000, link=1))
    assert (track.first_open_at, track.last_open_at) == (NOW - 100_000, NOW)
    assert (track.first_click_at, track.last_click_at) == (NOW - 300_000, NOW - 200_000)


def test_a_copy_changes_nothing() -> None:
    track = Track()
    opened = hit()
    run(track, send(), opened)
    before = copy(track)
    outcome = Outcome()
    assert not take_hit(track, opened, RULES, outcome)
    assert (outcome.drops, outcome.events, track) == (["duplicate"], [], before)


def test_an_equal_send_changes_nothing_and_a_differing_one_replaces() -> None:
    track = Track()
    assert take_send(track, send(), RULES, Outcome())
    assert not take_send(track, send(), RULES, Outcome())
    assert take_send(track, send(tag="autumn"), RULES, Outcome())
    (event,) = run(track, hit()).events
    assert event.tag == "autumn"


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        (send(opens=False), hit()),
        (send(clicks=False), hit(link=0)),
    ],
)
def test_what_is_not_tracked_gives_no_event(sent: Send, made: Hit) -> None:
    outcome = run(Track(), sent, made)
    assert (outcome.events, outcome.drops) == ([], ["not_tracked"])


@pytest.mark.parametrize(
    ("later", "repeats"),
    [
        ({"at": NOW + 59_999}, True),
        ({"at": NOW - 59_999}, True),
        ({"at": NOW + 60_000}, False),
        ({"recipient": 2}, False),
        ({"network": "198.51.100.0/24"}, False),
        ({"agent": "Thunderbird"}, False),
        ({"link": 0}, False),
    ],
)
def test_a_repeat_is_the_same_reader_within_the_window(
    later: dict[str, int], repeats: bool
) -> None:
    track = Track()
    outcome = run(track, send(), hit(), hit(**later))
    assert outcome.drops == (["repeat"] if repeats else [])
    assert len(outcome.events) == (1 if repeats else 2)
    assert track.repeats == int(repeats)


def test_a_repeat_does_not_lengthen_the_window() -> None:
    outcome = run(Track(), send(), *(hit(at=NOW + at) for at in (0, 40_000, 80_000)))
    assert [event.at for event in outcome.events] == [NOW, NOW + 80_000]


def test_no_window_no_repeats() -> None:
    rules = Rules(repeat_window_ms=0, join_wait_ms=1000, keep_ms=RULES.keep_ms)
    assert len(run(Track(), send(), hit(), hit(), rules=rules).events) == 2


@pytest.mark.parametrize("who", ["send", "hit"])
def test_anonymous_keeps_nothing_of_the_reader(who: str) -> None:
    if who == "send":
        sent, made = send(mode="anonymous", recipients=[]), hit()
    else:
        sent, made = send(), hit(mode="anonymous")
    track = Track()
    (event,) = run(track, sent, made).events
    assert event.mode == "anonymous"
    assert (event.network, event.agent, event.recipient, event.recipient_id) == ("", "", 0, None)
    # Nor does the memory of repeats tell two readers apart.
    assert run(track, hit(mode=made.mode, network="198.51.100.0/24")).drops == ["repeat"]


def test_a_shared_body_names_no_recipient() -> None:
    (event,) = run(
        Track(), send(recipient_count=2, recipients=["aa" * 16, "bb" * 16]), hit()
    ).events
    assert (event.recipient_id, event.recipient_count) == (None, 2)


def test_hits_before_their_send_join_it_in_order() -> None:
    track = Track()
    early = [hit(at=NOW), hit(link=0, at=NOW + 5), hit(at=NOW + 10)]
    outcome = run(track, *early)
    assert (outcome.events, len(track.waiting)) == ([], 3)
    outcome = run(track, send())
    assert [event.hit_id for event in outcome.events] == [early[0].hit_id, early[1].hit_id]
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


def test_the_memory_of_readers_is_bounded_and_keeps_the_newest() -> None:
    track = Track()
    run(track, send())
    for at in range(500):
        run(track, hit(network=f"10.0.{at % 250}.0/24", agent=str(at), at=NOW + at))
    assert len(track.readers) <= READERS
    assert run(track, hit(network="10.0.249.0/24", agent="499", at=NOW + 500)).drops == ["repeat"]


def test_readers_of_long_ago_are_forgotten() -> None:
    track = Track()
    run(track, send())
    for at in range(30):
        run(track, hit(agent=str(at), at=NOW))
    run(track, hit(agent="late", at=NOW + 7_200_000))
    assert len(track.readers) == 1


def test_the_row_of_the_hottest_mail_stays_below_two_kilobytes() -> None:
    track = Track()
    streams = [HitStream(NOW) for _ in range(3)]
    randomness = random.Random(7)
    rules = Rules(repeat_window_ms=60_000, join_wait_ms=1000, keep_ms=RULES.keep_ms)
    run(track, send())
    largest = 0
    for at in range(10_000):
        stream = randomness.choice(streams)
        for _ in range(randomness.randrange(1000)):  # what other mails had in between
            stream._number += randomness.randrange(1, 30)
        made = hit(
            hit_id=stream.next(),
            at=NOW + at * 50,
            agent=f"agent {randomness.randrange(2000)}",
            **({"link": randomness.randrange(2)} if at % 5 == 0 else {}),
        )
        run(track, made, rules=rules)
        largest = max(largest, len(TRACK.encode(track)))
    assert largest < 2048


HITS = st.lists(
    st.builds(
        lambda link, at, agent, network: hit(
            at=NOW + at,
            agent=agent,
            network=network,
            **({} if link is None else {"link": link}),
        ),
        st.sampled_from([None, 0, 1]),
        st.integers(-200_000, 200_000),
        st.sampled_from([BROWSER, "curl/8", "GoogleImageProxy", "Mozilla/5.0"]),
        st.sampled_from(["203.0.113.0/24", "198.51.100.0/24"]),
    ),
    max_size=25,
)


@given(hits=HITS, place=st.integers(0, 25), again=st.lists(st.integers(0, 25), max_size=3))
def test_copies_and_redeliveries_change_neither_events_nor_track(
    hits: list[Hit], place: int, again: list[int]
) -> None:
    values: list[Send | Hit] = [*hits]
    values.insert(min(place, len(hits)), send())
    once = Track()
    events = run(once, *values).events
    often = Track()
    repeated: list[Event] = []
    for value in values:
        repeated += run(often, value, value).events
    for start in again:
        repeated += run(often, *values[start:]).events
    assert [EVENT.encode(event) for event in repeated] == [EVENT.encode(event) for event in events]
    assert often == once


@given(hits=HITS, place=st.integers(0, 25))
def test_when_the_send_comes_changes_nothing(hits: list[Hit], place: int) -> None:
    first, late = Track(), Track()
    events = run(first, send(), *hits).events
    assert run(late, *hits[:place], send(), *hits[place:]).events == events
    assert late == first


@given(hits=HITS)
def test_every_hit_is_accounted_for(hits: list[Hit]) -> None:
    track = Track()
    outcome = run(track, send(), *hits)
    assert len(outcome.events) + len(outcome.drops) == len(hits)
    counted = track.opens + track.clicks + track.machine_opens + track.machine_clicks
    assert counted == len(outcome.events)
    assert track.repeats == len(outcome.drops)
    assert sum(event.first for event in outcome.events) == (track.opens > 0) + len(track.clicked)
    assert min(track.opens, track.clicks, track.machine_opens, track.machine_clicks) >= 0
    assert TRACK.decode(TRACK.encode(track)) == track
