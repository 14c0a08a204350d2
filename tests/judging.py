"""Mails whose events and tracks ClickHouse must show as the rules make them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import PERSON, Event, Hit, Send
from mailwake.ids import HitStream, new_message_id, now_ms, partitioner
from mailwake.kafka import start_producer
from mailwake.keeping_up import KeepingUp
from mailwake.settings import Settings
from mailwake.track import Track
from mailwake_enricher.decide import Rules
from tests.unit.enricher.values import BROWSER, hit, run, send

PARTITIONS = 4
PARTITION_OF = partitioner(PARTITIONS)
AGENTS = (BROWSER, BROWSER, "Mozilla/5.0", "GoogleImageProxy", "curl/8.9", "Outlook-iOS/2.0")


class Mails:
    """What was sent and what came, and where it is put."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dice = random.Random(settings.topic_prefix)
        self.now = now_ms() - 10 * 86_400_000
        self.sends: dict[str, Send] = {}
        self.hits: list[Hit] = []
        self.stream = HitStream()

    def some_sends(self, count: int, retention_days: int = 180) -> list[Send]:
        made = [
            send(
                message_id=new_message_id(self.now + number),
                tenant=self.dice.choice(("acme", "beta")),
                user=self.dice.choice(("u1", "u2", "u3")),
                sent_at=self.now,
                retention_days=retention_days,
            )
            for number in range(count)
        ]
        self.sends |= {each.message_id: each for each in made}
        return made

    def some_hits(self, sends: Sequence[Send], count: int, days: float = 5) -> list[Hit]:
        """Opens and clicks in the order of time, some repeats and bursts among them."""
        dice, made = self.dice, []
        times = sorted(self.now + dice.randrange(int(days * 86_400_000)) for _ in range(count))
        for at in times:
            sent = dice.choice(sends)
            agent, network = dice.choice(AGENTS), f"203.0.{dice.randrange(4)}.0/24"
            for _ in range(dice.choice((1, 1, 2, 6))):
                at += dice.randrange(3000)
                made.append(
                    hit(
                        hit_id=self.stream.next(),
                        at=at,
                        tenant=sent.tenant,
                        message_id=sent.message_id,
                        agent=agent,
                        network=network,
                        **({"link": dice.randrange(3)} if dice.random() < 0.4 else {}),
                    )
                )
        self.hits += made
        return made

    async def put(self, topic: str, values: Sequence[Send | Hit]) -> None:
        producer = await start_producer(self.settings, client_id="test")
        try:
            by_partition: dict[int, list[Send | Hit]] = {}
            for value in values:
                partition = PARTITION_OF(value.message_id.encode())
                by_partition.setdefault(partition, []).append(value)
            for partition, mine in by_partition.items():
                for at in range(0, len(mine), 50):
                    await producer.send(
                        self.settings.topic(topic),
                        msgspec.json.encode(mine[at : at + 50]),
                        key=b"k",
                        partition=partition,
                    )
            await producer.flush()
        finally:
            await producer.stop()

    def expected(self, rules: Rules) -> tuple[dict[str, Event], dict[str, Track]]:
        """The events that count and the tracks that the rules make of all that came."""
        events: dict[str, Event] = {}
        tracks = {message_id: Track() for message_id in self.sends}
        for message_id, track in tracks.items():
            run(track, self.sends[message_id], rules=rules)
        for each in sorted(self.hits, key=lambda one: (one.at, one.hit_id)):
            for event in run(tracks[each.message_id], each, rules=rules).events:
                events[event.event_id] = event
        return {key: event for key, event in events.items() if not event.repeat}, tracks


async def filled(
    settings: Settings, sends: int, hits: int, retention_days: int = 180
) -> tuple[Mails, list[Send]]:
    """So many sends and hits, of which the services have taken everything."""
    mails = Mails(settings)
    made = mails.some_sends(sends, retention_days)
    await mails.put("sends", made)
    await mails.put("hits", mails.some_hits(made, hits))
    await loaded(settings)
    return mails, made


async def loaded(settings: Settings) -> None:
    """Waits until enricher and loader have taken everything."""
    async with KeepingUp(settings, print) as keeping_up:
        read = await keeping_up.ends("sends", "hits", "reclassified")
        await keeping_up.wait("enricher", read)
        made = await keeping_up.ends("sends", "hits", "events", "tracks")
        await keeping_up.wait("loader", made)


def ask(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    clickhouse = ClickHouse(settings.clickhouse_url)
    try:
        return clickhouse.query(sql)
    finally:
        clickhouse.close()


def verdicts(settings: Settings) -> dict[str, tuple[str, int]]:
    """event_id -> verdict and revision, of the events that count."""
    rows = ask(settings, "SELECT event_id, verdict, revision FROM events FINAL WHERE NOT repeat")
    return {identity: (verdict, revision) for identity, verdict, revision in rows}


def check(settings: Settings, mails: Mails, rules: Rules) -> None:
    """ClickHouse shows the events and counts that the rules make of all that came."""
    events, tracks = mails.expected(rules)
    rows = ask(
        settings,
        "SELECT event_id, verdict, first, implied, score FROM events FINAL WHERE NOT repeat",
    )
    assert {row[0]: tuple(row[1:]) for row in rows} == {
        key: (event.verdict, event.first, event.implied, event.score)
        for key, event in events.items()
    }
    counts = ask(
        settings,
        "SELECT message_id, opens, clicks, machine_opens, machine_clicks, repeats, forwards "
        "FROM tracks FINAL",
    )
    assert {row[0]: tuple(row[1:]) for row in counts} == {
        key: (
            *(track.opens, track.clicks, track.machine_opens, track.machine_clicks),
            *(track.repeats, track.forwards),
        )
        for key, track in tracks.items()
    }
    people = Counter(event.kind for event in events.values() if event.verdict in PERSON)
    ((opens, clicks),) = ask(
        settings, "SELECT sum(opens + forwards), sum(clicks) FROM tracks FINAL"
    )
    assert (opens, clicks) == (people["open"], people["click"])
