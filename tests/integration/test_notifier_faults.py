"""The notifier is killed again and again under load, and shared out anew: alerts equal the ledger.

Events come at a steady pace, revisions among them: what was a person's turns out a scanner's,
within its settle window and after it. What subscribers must have in the end is worked out on its
own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from mailwake import ids
from mailwake.contracts import ALERT, EVENT, Alert, Event
from mailwake.kafka import start_producer
from mailwake.settings import Settings
from tests.installation import own_topics
from tests.running import Service
from tests.topics import lag, read_all

PARTITIONS = 4
SETTLE_S = 1.0
RATE = 200
"""Mails a second."""


@pytest.fixture
async def settings(kafka: str) -> Settings:
    return await own_topics(
        kafka, partitions=PARTITIONS, settle_s=SETTLE_S, settle_doubtful_s=2 * SETTLE_S
    )


@dataclass
class Ledger:
    """What was told, and what must come of it.

    Attributes:
        events: in the order they are told, each after so many seconds.
        counts: alert_id -> how many opens, of the alerts that stand in the end.
    """

    events: list[tuple[float, Event]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def make_ledger(seconds: float, seed: int) -> Ledger:
    """Mails that are opened, some by scanners that show at once or late, some several times."""
    dice, stream, ledger = random.Random(seed), ids.HitStream(), Ledger()
    for number in range(int(seconds * RATE)):
        at = number / RATE
        first = _event(stream, at, dice)
        ledger.events.append((at, first))
        turns = dice.choice([None, None, 0.3, 3.0])
        opens = dice.choice([1, 1, 3])
        for further in range(1, opens):
            later = at + further * dice.choice([0.2, 1.5])
            again = _event(stream, later, dice)
            ledger.events.append((later, replace(again, message_id=first.message_id, first=False)))
        if turns is not None:
            revised = replace(first, revision=2, verdict="scanner", first=False)
            ledger.events.append((at + turns, revised))
        else:
            ledger.counts[ids.alert_id(first.event_id, "acme", first.user)] = opens
    ledger.events.sort(key=lambda each: each[0])
    return ledger


def _event(stream: ids.HitStream, at: float, dice: random.Random) -> Event:
    hit_id = stream.next()
    return Event(
        event_id=ids.event_id(hit_id, "open"),
        revision=1,
        hit_id=hit_id,
        kind="open",
        at=ids.now_ms() + round(at * 1000),
        tenant="acme",
        user=f"u-{dice.randrange(7)}",
        message_id=ids.new_message_id(),
        recipient=1,
        recipient_count=1,
        mode="identified",
        verdict="human",
        reasons=["no_machine_sign"],
        first=True,
        sent_at=ids.now_ms() - 60_000,
        score=dice.choice([100, 100, 80]),
        rules_version=1,
    )


async def tell(settings: Settings, ledger: Ledger) -> None:
    """Tells the events at their pace, those of a tick in a record of each partition."""
    partition_of = ids.partitioner(PARTITIONS)
    producer = await start_producer(settings, client_id="test", linger_ms=0)
    loop = asyncio.get_running_loop()
    began, at = loop.time(), 0
    try:
        while at < len(ledger.events):
            await asyncio.sleep(0.05)
            batches: dict[int, list[Event]] = {}
            while at < len(ledger.events) and ledger.events[at][0] <= loop.time() - began:
                event = ledger.events[at][1]
                batches.setdefault(partition_of(event.message_id.encode()), []).append(event)
                at += 1
            for partition, events in batches.items():
                value = EVENT.encode_many(events)
                await producer.send(settings.topic("events"), value, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def caught_up(settings: Settings) -> None:
    deadline = time.monotonic() + 120
    while await lag(settings, "notifier", "events"):
        assert time.monotonic() < deadline, "the notifier did not commit all events"


async def told(settings: Settings) -> list[Alert]:
    return [ALERT.decode(record.value or b"") for record in await read_all(settings, "alerts")]


def check(alerts: Sequence[Alert], ledger: Ledger) -> None:
    """A subscriber that takes the last revision of each alert has what the ledger says, and under
    one revision all that was told is the same, byte for byte."""
    kept: dict[str, Alert] = {}
    said: dict[tuple[str, int], bytes] = {}
    for alert in alerts:
        data = ALERT.encode(alert)
        assert said.setdefault((alert.alert_id, alert.revision), data) == data
        if alert.alert_id not in kept or alert.revision > kept[alert.alert_id].revision:
            kept[alert.alert_id] = alert
    standing = {name: alert.count for name, alert in kept.items() if not alert.withdrawn}
    assert standing == ledger.counts


async def test_killed_again_and_again_under_load(
    settings: Settings, tmp_path: Path, long: bool
) -> None:
    kills = 20 if long else 5
    dice = random.Random(7)
    ledger = make_ledger(3 * kills, seed=7)
    telling = asyncio.create_task(tell(settings, ledger))
    notifier = Service("notifier", settings, tmp_path / "log")
    try:
        for _ in range(kills):
            await asyncio.to_thread(notifier.start)
            await asyncio.sleep(dice.uniform(0, 2.5))
            notifier.kill()
        await asyncio.to_thread(notifier.start)
        await telling
        await caught_up(settings)
        assert notifier.stop() == 0
    finally:
        telling.cancel()
        notifier.kill()
    alerts = await told(settings)
    check(alerts, ledger)
    # What is told again after a kill is no more than what settle windows hold.
    copies = Counter((alert.alert_id, alert.revision) for alert in alerts)
    again = sum(count - 1 for count in copies.values())
    assert again <= kills * RATE * 3 * SETTLE_S


async def test_shared_out_anew_under_load(settings: Settings, tmp_path: Path) -> None:
    """Members come and go in order: what was open is handed over, and nothing is told twice but
    what was told and not yet committed, since an older window was open."""
    ledger = make_ledger(25, seed=8)
    telling = asyncio.create_task(tell(settings, ledger))
    members = [Service("notifier", settings, tmp_path / f"log-{number}") for number in range(3)]
    try:
        await asyncio.to_thread(members[0].start)
        await asyncio.to_thread(members[1].start)
        await asyncio.to_thread(members[2].start)
        assert await asyncio.to_thread(members[0].stop) == 0
        await asyncio.sleep(2)
        assert await asyncio.to_thread(members[1].stop) == 0
        await telling
        await caught_up(settings)
        assert members[2].stop() == 0
    finally:
        telling.cancel()
        for member in members:
            member.kill()
    check(await told(settings), ledger)


async def test_counts_go_on_where_another_left_them(settings: Settings, tmp_path: Path) -> None:
    """An alert that was told and committed long before is counted up, and withdrawn, by another
    process: it reads once more what that hangs on."""
    stream, dice = ids.HitStream(), random.Random(1)
    first = _event(stream, 0, dice)
    further = replace(_event(stream, 1, dice), message_id=first.message_id, user=first.user)
    further = replace(further, first=False)
    scanned = replace(first, revision=3, verdict="scanner", first=False)
    name = ids.alert_id(first.event_id, "acme", first.user)
    for events, stands in (
        ([first], (1, 1, False)),
        ([further], (2, 2, False)),
        ([scanned], (4, 1, True)),
    ):
        with Service("notifier", settings, tmp_path / "log") as notifier:
            await tell(settings, Ledger([(0.0, each) for each in events]))
            await caught_up(settings)
            assert notifier.stop() == 0
        alert = (await told(settings))[-1]
        assert alert.alert_id == name
        assert (alert.revision, alert.count, alert.withdrawn) == stands
    assert len(await told(settings)) == 3
