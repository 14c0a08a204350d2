"""What becomes of a hit of a mail that is known: its event, and what it says of others."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mailwake.contracts import Event, Hit, Send
from mailwake.ids import event_id
from mailwake.track import Track
from mailwake_enricher.decide import (
    Rules,
    take_hit,
    take_send,
)
from mailwake_enricher.meaning import READERS_KEPT
from mailwake_enricher.telling import Outcome
from tests.unit.enricher.values import BROWSER, NOW, RECIPIENT, RULES, copy, hit, run, send


def last(events: Iterable[Event]) -> list[Event]:
    """The last revision of each event."""
    return list({event.event_id: event for event in events}.values())


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
        score=100,
        rules_version=1,
    )
    assert (track.opens, track.first_open_at, track.last_open_at) == (1, NOW, NOW)


def test_a_click_is_first_once_a_link() -> None:
    track = Track()
    clicks = [hit(link=link, at=NOW + at) for at, link in ((0, 0), (100_000, 0), (200_000, 1))]
    events = [e for e in run(track, send(), *clicks).events if not e.implied]
    assert [(event.link, event.first) for event in events] == [(0, True), (0, False), (1, True)]
    assert events[0].target == "https://example.org/0"
    assert (track.clicks, track.clicked) == (3, [0, 1])
    assert (track.first_click_at, track.last_click_at) == (NOW, NOW + 200_000)


def test_a_machine_takes_nobodys_first() -> None:
    track = Track()
    machine = {"agent": "curl/8", "network": "192.0.2.0/24"}
    events = run(track, send(), hit(**machine), hit(**machine, link=0), hit()).events
    assert [(event.verdict, event.first) for event in events] == [
        ("scanner", False),
        ("scanner", False),
        ("human", True),
    ]
    assert (track.machine_opens, track.machine_clicks, track.opens, track.clicks) == (1, 1, 1, 0)


def test_the_open_after_a_prefetch_is_the_first() -> None:
    track = Track()
    ahead, opened = hit(agent="Mozilla/5.0"), hit(at=NOW + 3_600_000)
    events = run(track, send(), ahead, opened).events
    assert [(event.verdict, event.first) for event in events] == [
        ("prefetch", False),
        ("human", True),
    ]
    assert (track.opens, track.first_open_at) == (1, NOW + 3_600_000)


def test_first_is_the_earliest_and_last_the_latest_whatever_the_order() -> None:
    track = Track()
    run(track, send(), hit(at=NOW), hit(at=NOW - 100_000), hit(at=NOW - 200_000, link=0))
    run(track, hit(at=NOW - 300_000, link=1))
    # The first click implies an open.
    assert (track.first_open_at, track.last_open_at) == (NOW - 300_000, NOW)
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
    assert track.repeats == int(repeats)
    assert sum(not event.repeat for event in last(outcome.events)) == (1 if repeats else 2)


def test_a_hit_that_turns_out_a_repeat_is_told_again() -> None:
    track = Track()
    later, earlier = hit(), hit(at=NOW - 10_000)
    run(track, send(), later)
    events = run(track, earlier).events
    told = [(event.hit_id, event.revision, event.first, event.repeat) for event in events]
    assert sorted(told) == [
        (later.hit_id, 2, False, True),
        (earlier.hit_id, 1, True, False),
    ]
    assert (track.opens, track.repeats, track.first_open_at) == (1, 1, NOW - 10_000)


def test_a_repeat_does_not_lengthen_the_window() -> None:
    outcome = run(Track(), send(), *(hit(at=NOW + at) for at in (0, 40_000, 80_000)))
    assert [event.at for event in outcome.events] == [NOW, NOW + 80_000]


def test_no_window_no_repeats() -> None:
    rules = Rules(repeat_window_ms=0, join_wait_ms=1000, keep_ms=RULES.keep_ms)
    assert len(run(Track(), send(), hit(), hit(), rules=rules).events) == 2


def test_a_click_implies_an_open_where_none_was_seen() -> None:
    track = Track()
    clicked = hit(link=1, network="192.0.2.0/24", agent=BROWSER)
    click, implied = run(track, send(), clicked).events
    assert (implied.kind, implied.implied, implied.first) == ("open", True, True)
    assert (implied.event_id, implied.hit_id) == (event_id(clicked.hit_id, "open"), clicked.hit_id)
    assert (implied.link, implied.target, implied.at) == (None, None, NOW)
    assert implied.reasons == ["implied_by_click", "no_machine_sign"]
    assert not click.implied
    assert (track.opens, track.clicks, track.first_open_at) == (1, 1, NOW)
    # Another click implies nothing more, and an open after it is none but a further one.
    (second,) = run(track, hit(link=2, at=NOW + 5000)).events
    (opened,) = run(track, hit(at=NOW + 9000)).events
    assert (second.kind, opened.first, track.opens) == ("click", False, 2)


def test_an_open_that_was_seen_before_the_click_takes_the_place_of_the_implied() -> None:
    track = Track()
    run(track, send(), hit(link=1))
    seen, implied = sorted(run(track, hit(at=NOW - 5000)).events, key=lambda event: event.implied)
    assert (seen.first, seen.implied, seen.revision) == (True, False, 1)
    assert (implied.repeat, implied.first, implied.revision) == (True, False, 2)
    assert (track.opens, track.first_open_at, track.last_open_at) == (1, NOW - 5000, NOW - 5000)


def test_what_a_machine_clicked_implies_nothing() -> None:
    track = Track()
    (event,) = run(track, send(), hit(link=1, agent="curl/8")).events
    assert (event.kind, track.opens, track.machine_clicks) == ("click", 0, 1)


def test_where_opens_are_not_tracked_a_click_implies_none() -> None:
    track = Track()
    events = run(track, hit(link=0), hit(link=0, at=NOW + 90_000), send(opens=False)).events
    assert [event.kind for event in events] == ["click", "click"]
    assert (track.opens, track.clicks, track.first_open_at) == (0, 2, 0)


def test_an_implied_open_goes_with_its_click() -> None:
    track = Track()
    run(track, send(), hit(link=0), hit(link=1, at=NOW + 1000))
    events = run(track, hit(link=2, at=NOW + 2000)).events
    assert {(event.kind, event.verdict) for event in events} == {
        ("click", "scanner"),
        ("open", "scanner"),
    }
    (implied,) = [event for event in events if event.implied]
    # Two hits have come since the click that implied it.
    assert (implied.revision, implied.repeat, implied.first) == (3, True, False)
    assert (track.opens, track.clicks, track.machine_clicks) == (0, 0, 3)


def test_a_repeat_stays_one_when_what_it_repeats_is_long_forgotten() -> None:
    track = Track()
    run(track, send(), hit(at=NOW, agent="A"))
    others = [hit(at=NOW + 10 * n, agent=f"B {n}", link=n % 2) for n in range(1, 21)]
    run(track, *others)
    assert run(track, hit(at=NOW + 1000, agent="A")).drops == ["repeat"]
    more = [hit(at=NOW + 2000 + n, agent=f"C {n}", link=n % 2) for n in range(12)]
    assert len(track.readers) <= READERS_KEPT
    for each in more:
        told = run(track, each).events
        assert not any(event.agent == "A" for event in told)
    assert track.repeats == 1


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
