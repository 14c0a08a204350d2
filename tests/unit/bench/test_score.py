"""The measures, on mails made by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.quality.enriched import Enriched
from bench.quality.mail import Fetch, Mail
from bench.quality.parameters import Burst, Who
from bench.quality.report import measures, percent, report, table
from bench.quality.score import (
    ALERTS,
    ALERTS_AT_ONCE,
    AS_MACHINE,
    BURSTS,
    CLICKS,
    NO_EVENT,
    NOT_FIRST,
    OPENS,
    SMALL_VISITS,
    Score,
    Share,
    score,
)
from mailwake.contracts import EVENT, Event, Send, Verdict
from mailwake.ids import event_id
from mailwake_enricher.process import Output, Result

NOW = 1_790_000_000_000
MESSAGE = "0190f1a2b3c47d8e9f00112233445566"
BURST = Burst(links=3, links_s=10, hits=5, hits_s=60, networks=3, networks_s=120)


def fetch(at: float, link: int | None, who: Who = "person", actor: int = 1, **more: Any) -> Fetch:
    values: dict[str, Any] = {
        "at": NOW + round(at * 1000),
        "link": link,
        "who": who,
        "source": more.pop("source", who),
        "actor": actor,
        "recipient": 1,
        "network": (f"10.0.{actor}.0/24", 64496),
        "agent": "",
    }
    return Fetch(**(values | more))


def mail(*fetches: Fetch, readings: tuple[int, ...] = ()) -> Mail:
    send = Send(
        message_id=MESSAGE,
        tenant="acme",
        user="u1",
        sent_at=NOW,
        recipient_count=1,
        mode="identified",
        opens=True,
        clicks=True,
        recipients=["a" * 32],
        links=[f"https://example.org/{link}" for link in range(8)],
    )
    return Mail(send, NOW, NOW, ("10.9.9.0/24", 64497), "", readings, fetches)


def hit_id(number: int) -> str:
    return f"{number + 1:032x}"


def event(number: int, of: Fetch, verdict: Verdict, *, first: bool, revision: int = 1) -> Event:
    kind = "open" if of.link is None else "click"
    return Event(
        event_id=event_id(hit_id(number), kind),
        revision=revision,
        hit_id=hit_id(number),
        kind="open" if of.link is None else "click",
        at=of.at,
        tenant="acme",
        user="u1",
        message_id=MESSAGE,
        recipient=1,
        recipient_count=1,
        mode="identified",
        verdict=verdict,
        reasons=["made"],
        first=first,
        sent_at=NOW,
        link=of.link,
        target=None if of.link is None else f"https://example.org/{of.link}",
    )


def scored(of: Mail, *events: Event) -> Score:
    """The score of a mail whose events came one after the other."""
    enriched = Enriched()
    for each in events:
        outputs = [Output("events", MESSAGE.encode(), EVENT.encode_many([each]))]
        enriched.take(Result(outputs=outputs))
    labels = {hit_id(number): each for number, each in enumerate(of.fetches)}
    return score([of], labels, enriched, BURST)


def test_a_person_who_opens_and_clicks() -> None:
    opened, clicked = fetch(100, None), fetch(130, 2)
    found = scored(
        mail(opened, clicked),
        event(0, opened, "human", first=True),
        event(1, clicked, "human", first=True),
    )
    assert found.shares[ALERTS] == Share(2, 2)
    assert found.shares[CLICKS] == Share(1, 1)
    assert found.shares[OPENS] == Share(1, 1)
    assert found.shares[BURSTS] == found.shares[SMALL_VISITS] == Share(0, 0)
    assert found.confusion == {("person", "human"): 2}
    assert not found.missed


def test_a_proxy_is_a_person_and_a_sender_is_none() -> None:
    proxied, own = fetch(100, None, "proxy", 1), fetch(30, None, "self", 2)
    found = scored(
        mail(own, proxied),
        event(0, own, "human", first=True),
        event(1, proxied, "proxy", first=False),
    )
    assert found.shares[ALERTS] == Share(0, 1)
    assert found.shares[OPENS] == Share(0, 1)
    assert found.confusion == {("self", "human"): 1, ("proxy", "proxy"): 1}


def test_a_scanner_that_comes_first_takes_the_persons_alert() -> None:
    scanned, clicked = fetch(30, 0, "scanner", 1), fetch(500, 0, "person", 2)
    found = scored(
        mail(scanned, clicked),
        event(0, scanned, "human", first=True),
        event(1, clicked, "human", first=False),
    )
    assert found.shares[ALERTS] == Share(0, 1)
    assert found.shares[CLICKS] == Share(0, 1)
    assert found.missed == {NOT_FIRST: 1}
    assert found.shares[SMALL_VISITS] == Share(1, 1)


def test_a_revision_makes_it_good() -> None:
    scanned, clicked = fetch(30, 0, "scanner", 1), fetch(500, 0, "person", 2)
    found = scored(
        mail(scanned, clicked),
        event(0, scanned, "human", first=True),
        event(1, clicked, "human", first=False),
        event(0, scanned, "scanner", first=False, revision=2),
        event(1, clicked, "human", first=True, revision=2),
    )
    assert found.shares[ALERTS] == Share(1, 1)
    assert found.shares[ALERTS_AT_ONCE] == Share(0, 1)
    assert found.shares[CLICKS] == Share(1, 1)
    assert found.shares[SMALL_VISITS] == Share(0, 1)
    assert (found.events, found.revised) == (2, 2)


def test_an_older_revision_that_comes_late_changes_nothing() -> None:
    scanned = fetch(30, 0, "scanner")
    found = scored(
        mail(scanned),
        event(0, scanned, "scanner", first=False, revision=2),
        event(0, scanned, "human", first=True, revision=1),
    )
    assert found.confusion == {("scanner", "scanner"): 1}


def test_a_person_taken_for_a_machine() -> None:
    clicked = fetch(500, 0)
    found = scored(mail(clicked), event(0, clicked, "scanner", first=False))
    assert found.shares[CLICKS] == Share(0, 1)
    assert found.missed == {AS_MACHINE: 1}


def test_a_click_that_gave_no_event() -> None:
    found = scored(mail(fetch(500, 0)))
    assert found.missed == {NO_EVENT: 1}
    assert found.confusion == {("person", None): 1}


def test_a_doubled_click_speaks_for_the_first() -> None:
    first, again = fetch(500, 0), fetch(500.2, 0)
    found = scored(mail(first, again), event(1, again, "human", first=True))
    assert found.shares[CLICKS] == Share(1, 1)


def test_another_persons_alert_does_not_speak_for_the_first() -> None:
    first, other = fetch(500, 0, actor=1), fetch(900, 0, actor=2)
    found = scored(
        mail(first, other),
        event(0, first, "scanner", first=False),
        event(1, other, "human", first=True),
    )
    assert found.shares[CLICKS] == Share(0, 1)
    assert found.shares[ALERTS] == Share(1, 1)


def test_an_open_that_a_click_implies() -> None:
    clicked = fetch(500, 0)
    click = event(0, clicked, "human", first=True)
    implied = msgspec.structs.replace(
        click, event_id=event_id(hit_id(0), "open"), kind="open", link=None, target=None
    )
    found = scored(mail(clicked), click, implied)
    assert found.shares[ALERTS] == Share(2, 2)
    assert found.shares[CLICKS] == Share(1, 1)
    assert found.shares[OPENS] == Share(0, 0)


@pytest.mark.parametrize(
    ("verdicts", "as_person"),
    [
        (("scanner", "human", "human"), 0),
        (("human", "scanner", "scanner"), 1),
        (("scanner", "scanner", "scanner"), 0),
    ],
)
def test_the_first_hit_of_a_burst(verdicts: tuple[Verdict, ...], as_person: int) -> None:
    run = [fetch(40 + link, link, "scanner") for link in range(3)]
    events = [
        event(number, each, verdict, first=True)
        for number, (each, verdict) in enumerate(zip(run, verdicts, strict=True))
    ]
    found = scored(mail(*run), *events)
    assert found.shares[BURSTS] == Share(as_person, 1)
    assert found.shares[SMALL_VISITS] == Share(0, 0)


def test_a_first_hit_that_was_dropped_lets_the_next_one_speak() -> None:
    run = [fetch(40 + link, link, "scanner") for link in range(3)]
    found = scored(mail(*run), event(1, run[1], "human", first=True))
    assert found.shares[BURSTS] == Share(1, 1)


def test_precision_and_recall() -> None:
    found = Score()
    found.confusion.update(
        {
            ("person", "human"): 6,
            ("person", "scanner"): 2,
            ("person", None): 5,
            ("scanner", "human"): 3,
            ("scanner", "scanner"): 1,
        }
    )
    assert found.precision("human") == Share(6, 9)
    assert found.recall("human") == Share(6, 8)
    assert found.precision("scanner") == Share(1, 3)
    assert found.recall("scanner") == Share(1, 4)
    assert found.precision("self") == found.recall("self") == Share(0, 0)


def test_who_believes_every_hit() -> None:
    scanned = [fetch(40 + link, link, "scanner", 1) for link in range(3)]
    opened, clicked, other = (
        fetch(99, None, actor=2),
        fetch(110, 1, actor=2),
        fetch(120, 5, "person", 2),
    )
    found = scored(mail(*scanned, opened, clicked, other))
    assert found.naive[ALERTS] == Share(2, 5)
    assert found.naive[CLICKS] == Share(1, 2)
    assert found.naive[OPENS] == Share(1, 1)
    assert found.naive[BURSTS] == Share(1, 1)


def test_sources_are_counted() -> None:
    scanned = fetch(30, 0, "scanner", source="gateway")
    again = fetch(31, 0, "scanner", source="gateway")
    found = scored(mail(scanned, again), event(0, scanned, "human", first=True))
    assert found.sources["scanner", "gateway"] == {
        "hits": 2,
        "events": 1,
        "persons": 1,
        "alerts": 1,
    }


def test_what_is_no_event_is_lost() -> None:
    enriched = Enriched()
    enriched.take(Result(outputs=[Output("hits.unmatched", None, b"{}")]))
    assert enriched.lost == 1


def person(*, alerted: bool) -> Score:
    clicked = fetch(500, 0)
    return scored(
        mail(clicked), event(0, clicked, "human" if alerted else "scanner", first=alerted)
    )


def test_scores_add_up() -> None:
    total = person(alerted=True) + person(alerted=False)
    assert (total.mails, total.hits, total.events) == (2, 2, 2)
    assert total.shares[CLICKS] == Share(1, 2)
    assert total.missed == {AS_MACHINE: 1}
    assert total.confusion == {("person", "human"): 1, ("person", "scanner"): 1}
    assert total.sources["person", "person"]["hits"] == 2


def test_an_aim_is_met_by_all_seeds_together_and_by_each() -> None:
    good, bad = person(alerted=True), person(alerted=False)
    seeds = {"all": [good, good], "one": [good, good, bad], "few": [*[good] * 99, bad]}
    clicks = {
        name: next(each for each in measures(scores) if each.stage == CLICKS)
        for name, scores in seeds.items()
    }
    met = {name: (each.met, each.met_by_each) for name, each in clicks.items()}
    assert met == {"all": (True, True), "one": (False, False), "few": (True, False)}
    assert clicks["all"].spread == 0
    assert clicks["one"].spread == pytest.approx(2**0.5 / 3)
    assert (clicks["one"].low, clicks["one"].high, clicks["one"].of) == (0, 1, 3)
    assert clicks["one"].figure == pytest.approx(2 / 3)


def test_no_burst_is_to_count_as_a_person() -> None:
    run = [fetch(40 + link, link, "scanner") for link in range(3)]
    for verdict, met in (("scanner", True), ("human", False)):
        events = [
            event(n, each, "scanner" if verdict == "scanner" else "human", first=True)
            for n, each in enumerate(run)
        ]
        found = measures([scored(mail(*run), *events)])
        assert next(each for each in found if each.stage == BURSTS).met is met


def test_the_report_says_what_was_met() -> None:
    text = report([person(alerted=True), person(alerted=True)], [1, 2])
    line = next(line for line in text.splitlines() if line.startswith(CLICKS))
    told = ["100.0%", "100.0%", "100.0%", "0.0%", "≥", "97%", "yes", "yes", "2", "100.0%"]
    assert line.split()[-10:] == told


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0%"), (1, "100.0%"), (0.99996, "> 99.9%"), (0.0001, "< 0.1%"), (0.365, "36.5%")],
)
def test_nearly_all_is_not_told_as_all(value: float, text: str) -> None:
    assert percent(value) == text


def test_a_table_is_fitted() -> None:
    assert table(["a", "of"], [["first", "1"], ["x", "1,000"]]).splitlines() == [
        "a         of",
        "────────────",
        "first      1",
        "x      1,000",
    ]
