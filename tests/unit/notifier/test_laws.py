"""The laws of alerts: what is told in the end is a function of the set of events, and a crash
changes nothing but that some of it is told twice.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from itertools import groupby

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mailwake.contracts import EVENT, PERSON, Alert, Event, Hit
from mailwake.ids import alert_id
from mailwake.track import Track
from mailwake_notifier.decide import Times
from mailwake_notifier.settling import Partition
from tests.unit.enricher.drawing import some_hits
from tests.unit.enricher.values import RULES, run, send
from tests.unit.notifier.values import EVER, NOW, TIMES, Told, Wish, event, last

SPAN = 900_000
"""Acts over a quarter of an hour: some are within the coalescing window, some are not."""


@st.composite
def histories(draw: st.DrawFn, most: int = 6, span: int = SPAN) -> list[list[Event]]:
    """Events of one mail, each in some revisions, whatever enrichers may say."""
    made = []
    for number in range(draw(st.integers(0, most))):
        at = NOW + draw(st.integers(0, span))
        link = draw(st.sampled_from([None, None, None, 0, 1]))
        made.append(
            [
                event(
                    number,
                    revision=revision,
                    at=at,
                    link=link,
                    verdict=draw(st.sampled_from(["human", "human", "proxy", "scanner"])),
                    score=draw(st.sampled_from([60, 92, 100])),
                    reasons=[draw(st.sampled_from(["no_machine_sign", "mail_program"]))],
                    first=draw(st.sampled_from([True, False])),
                    returned=draw(st.sampled_from([False, False, True])),
                    repeat=draw(st.sampled_from([False, False, False, True])),
                    forward=draw(st.sampled_from([False, False, False, True])),
                )
                for revision in sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=3)))
            ]
        )
    return made


def expected(events: Sequence[Event]) -> dict[str, tuple[int, int]]:
    """Alert id -> count and last time of what events come to; worked out on its own."""
    acts = [
        each
        for each in events
        if each.verdict in PERSON and not (each.repeat or each.implied or each.forward)
    ]
    acts.sort(key=lambda each: (each.link is None, each.link or 0, each.at, each.event_id))
    found: dict[str, tuple[int, int]] = {}
    for _, some in groupby(acts, key=lambda each: each.link):
        mine, until = [*some], 0
        for begins in mine:
            if (begins.first or begins.returned) and begins.at >= until:
                until = begins.at + TIMES.coalesce_ms
                at = [each.at for each in mine if begins.at <= each.at < until]
                name = alert_id(begins.event_id, begins.tenant, begins.user)
                found[name] = (len(at), max(at) if len(at) > 1 else 0)
    return found


def told_of(alerts: Sequence[Alert]) -> dict[str, tuple[int, int]]:
    return {name: (alert.count, alert.last_at) for name, alert in last(alerts).items()}


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    histories=histories(),
    order=st.randoms(use_true_random=False),
    gaps=st.lists(st.sampled_from([0, 1, 3000, 6000, 20_000]), min_size=40, max_size=40),
    again=st.integers(0, 6),
)
def test_the_alerts_are_what_the_set_of_events_says(
    histories: list[list[Event]], order: random.Random, gaps: list[int], again: int
) -> None:
    """In any order of events and revisions, with copies, at any pace."""
    said = [each for history in histories for each in history]
    said += order.choices(said, k=again) if said else []
    order.shuffle(said)
    told, at = Told(), 0
    for each, gap in zip(said, gaps, strict=False):
        told.take(at, each)
        at += gap
    told.settle()
    assert told_of(told.alerts) == expected([history[-1] for history in histories])
    begun = {each.event_id: each for history in histories for each in history[-1:]}
    for alert in last(told.alerts).values():
        final = begun[alert.event_id]
        assert (alert.at, alert.verdict, alert.returned) == (
            final.at,
            final.verdict,
            final.returned,
        )
    assert told.partition.committable == len(said)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    hits=some_hits(10, 500_000),
    order=st.randoms(use_true_random=False),
    pace=st.sampled_from([0, 2000, 7000]),
)
def test_from_hits_in_any_order_come_the_same_alerts(
    hits: list[Hit], order: random.Random, pace: int
) -> None:
    """The enricher's law and ours together: from the set of hits to the alerts."""
    straight = alerts_of(sorted(hits, key=lambda each: each.at), 0)
    mixed = [*hits, *hits[:3]]
    order.shuffle(mixed)
    crooked = alerts_of(mixed, pace)
    assert [*map(plain, straight)] == [*map(plain, crooked)]


def alerts_of(hits: Sequence[Hit], pace: int) -> list[Alert]:
    """What stands in the end of hits that the enricher gets in this order."""
    track, told = Track(), Told()
    run(track, send(), rules=RULES)
    for number, each in enumerate(hits):
        if events := run(track, each, rules=RULES).events:
            told.take(number * pace, *events)
    told.settle()
    return sorted(last(told.alerts).values(), key=lambda alert: alert.alert_id)


def plain(alert: Alert) -> Alert:
    """Without the revision, which says how often hits came."""
    return replace(alert, revision=1)


Record = tuple[int, bytes]
"""When it was told, and the events."""


class Life:
    """One notifier's time with a partition: what it told, and what it committed."""

    def __init__(self, records: Sequence[Record], committed: int, present: int) -> None:
        self._records = records
        self._partition = Partition(Wish(), TIMES, committed, present)
        self._next = 0
        self.alerts: list[Alert] = []

    def read(self, until: int, now: int) -> None:
        """Takes the records up to an offset, and then what is due by its clock."""
        for offset in range(self._next, until):
            told_at, value = self._records[offset]
            self.alerts += self._partition.take(offset, told_at, value, now).alerts
        self._next = until
        self.alerts += self._partition.settle(now)

    @property
    def committable(self) -> int | None:
        return self._partition.committable


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    histories=histories(span=TIMES.coalesce_ms - 1),
    seed=st.integers(0, 1 << 32),
    skew=st.integers(-900, 900),
    in_record=st.integers(1, 3),
)
def test_after_crashes_the_same_is_told_under_the_same_revisions(
    histories: list[list[Event]], seed: int, skew: int, in_record: int
) -> None:
    """Notifiers come and go, each with a clock that is wrong by up to a second, and end between
    telling and committing; revisions come in order, as one enricher tells them."""
    dice = random.Random(seed)
    said = [each for history in histories for each in history]
    dice.shuffle(said)
    said.sort(key=lambda each: each.revision)
    records: list[Record] = []
    at = NOW
    for start in range(0, len(said), in_record):
        records.append((at, EVENT.encode_many(said[start : start + in_record])))
        at += dice.choice([1, 900, 3000, 4500, 14_000, 30_000])
    check_crashes(records, dice, skew)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(hits=some_hits(12, 2_000_000), seed=st.integers(0, 1 << 32), skew=st.integers(-900, 900))
def test_after_crashes_the_same_is_told_of_what_enrichers_say(
    hits: list[Hit], seed: int, skew: int
) -> None:
    """With returns, told some seconds after the hits or minutes late."""
    dice = random.Random(seed)
    rules, track = dataclasses.replace(RULES, return_ms=700_000), Track()
    run(track, send(), rules=rules)
    records: list[Record] = []
    at = NOW
    for each in sorted(hits, key=lambda one: one.at + dice.choice([0, 0, 300_000])):
        at = max(at + 1, each.at)
        if events := run(track, each, rules=rules).events:
            records.append((at, EVENT.encode_many(events)))
    check_crashes(records, dice, skew)


def check_crashes(records: Sequence[Record], dice: random.Random, skew: int) -> None:
    """However often notifiers end, subscribers have in the end what an undisturbed one tells."""
    end = records[-1][0] if records else NOW
    undisturbed = Life(records, 0, 0)
    for offset, (told_at, _) in enumerate(records):
        undisturbed.read(offset + 1, told_at)
    undisturbed.read(len(records), EVER)

    now, committed, alerts = NOW, 0, []
    life = Life(records, 0, 0)
    while now < end + 20_000:
        now += dice.choice([20, 500, 2500, 5000])
        present = sum(told_at + 50 <= now for told_at, _ in records)
        if present < len(records) and now < records[present][0] - 60_000:
            now = records[present][0] - 60_000  # nothing happens for long
        life.read(present, now + skew)
        if dice.random() < 0.5 and life.committable is not None:
            committed = life.committable
        if dice.random() < 0.3:
            alerts += life.alerts
            skew = -skew
            life = Life(records, committed, present)
    life.read(len(records), EVER)
    alerts += life.alerts
    assert last(alerts) == last(undisturbed.alerts)
    # Whatever revision any of them told, it is the same in all.
    last([*alerts, *undisturbed.alerts])


def test_a_partition_that_was_left_tells_again_no_more_than_what_was_open() -> None:
    """What is told again after a crash is of the settle windows that were open, or closed since the
    last commit."""
    records = [
        (NOW + n * 1000, EVENT.encode(event(n, message_id=f"{n:032x}", at=NOW + n * 1000)))
        for n in range(100)
    ]
    life = Life(records, 0, 0)
    for offset, (told_at, _) in enumerate(records):
        life.read(offset + 1, told_at)
    committed = life.committable or 0
    assert committed == 100 - TIMES.settle_ms // 1000
    after = Life(records, committed, 100)
    after.read(100, NOW + 99_000)
    assert after.alerts == []
    after.read(100, EVER)
    again = {alert.alert_id for alert in after.alerts} & {each.alert_id for each in life.alerts}
    assert not again
    assert len(after.alerts) + len(life.alerts) == 100


def test_without_windows_everything_is_committed_at_once() -> None:
    told = Told(times=Times(settle_ms=0, doubtful_ms=0))
    for number in range(10):
        told.take(number, event(number, message_id=f"{number:032x}"))
        assert told.partition.committable == number + 1
