"""What is sent to an enricher, what must come of it, and what did, in Kafka and in its state.

What must come out is worked out by the pure steps alone (`tests/unit/enricher` holds those to
account), message by message, without Kafka, store or order between messages.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import rocksdict
from aiokafka import AIOKafkaProducer

from mailwake import ids
from mailwake.contracts import EVENT, Event, Hit, Send
from mailwake.settings import Settings
from mailwake.track import TRACK, Track
from mailwake_enricher.meaning import LATE_MS
from tests.topics import lag, read_all
from tests.unit.enricher.values import BROWSER, hit, last, plain, run, send

PARTITIONS = 4
PARTITION_OF = ids.partitioner(PARTITIONS)
AGENTS = (BROWSER, "Mozilla/5.0", "GoogleImageProxy", "curl/8.9", "Outlook-iOS/2.0")
MOST = 12
"""Most hits of a mail in some minutes; its track remembers more."""

OFFSET_KEY = b"__faust\0offset__"


class Ledger:
    """What was sent, in order, and what must come of it."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer
        self._dice = random.Random(settings.topic_prefix)
        self._stream = ids.HitStream()
        self.now = ids.now_ms()
        self.sends: dict[str, Send] = {}
        self.hits: list[Hit] = []

    def mails(self, count: int) -> list[str]:
        messages = [ids.new_message_id() for _ in range(count)]
        self.sends |= {message: send(message_id=message) for message in messages}
        return messages

    def some_hits(self, messages: Sequence[str], count: int) -> list[Hit]:
        """Opens and clicks of persons and machines, a third of them repeats.

        They lie within some minutes, and are no more of a mail than its track remembers, so that
        what comes of them does not hang on their order. Each call's are a day after the last's.
        """
        dice = self._dice
        made = [
            hit(
                hit_id=self._stream.next(),
                at=self.now + dice.randrange(LATE_MS),
                message_id=message,
                agent=dice.choice(AGENTS),
                **({"link": dice.randrange(3)} if dice.random() < 0.3 else {}),
            )
            for message in dice.sample([*messages] * MOST, count)
        ]
        self.now += 86_400_000
        self.hits += made
        return made

    def bursts(self, messages: Sequence[str]) -> list[Hit]:
        """Of each message a scanner's burst of a dozen hits, and a person who opens the mail first
        or after it; the hits of all of them by time, as an edge would see them."""
        dice, made = self._dice, []
        for message in messages:
            start = self.now + dice.randrange(60_000)
            person = start + dice.choice((-300_000, 300_000))
            made.append(self._hit(message, person, agent=AGENTS[-1], network="192.0.2.0/24"))
            made += [
                self._hit(
                    message,
                    start + number * 700,
                    network=f"198.51.{number % 3}.0/24",
                    **({} if number == 3 else {"link": number % 5}),
                )
                for number in range(MOST)
            ]
        made.sort(key=lambda each: each.at)
        self.hits += made
        return made

    def _hit(self, message: str, at: int, **given: Any) -> Hit:
        return hit(hit_id=self._stream.next(), at=at, message_id=message, **given)

    async def put(self, topic: str, values: Sequence[Send | Hit], *, in_record: int = 40) -> None:
        """Sends values in records of up to so many of a partition, in their order."""
        by_partition: dict[int, list[Send | Hit]] = {}
        for value in values:
            partition = PARTITION_OF(value.message_id.encode())
            by_partition.setdefault(partition, []).append(value)
        for partition, mine in by_partition.items():
            for at in range(0, len(mine), in_record):
                value_bytes = msgspec.json.encode(mine[at : at + in_record])
                await self.put_raw(topic, value_bytes, partition, mine[at].message_id)

    async def put_raw(
        self, topic: str, value: bytes | None, partition: int, key: str = "k"
    ) -> None:
        name = self._settings.topic(topic)
        await self._producer.send(name, value, key=key.encode(), partition=partition)

    async def flush(self) -> None:
        await self._producer.flush()

    def expected(self) -> tuple[dict[str, Event], dict[str, Track]]:
        """The last revisions of the events by their ids, and the tracks by message."""
        events: list[Event] = []
        tracks = {message: Track() for message in self.sends}
        for message, track in tracks.items():
            run(track, self.sends[message])
        for each in self.hits:
            events += run(tracks[each.message_id], each).events
        return last(events), tracks


async def done(settings: Settings, seconds: float = 60) -> None:
    """Waits until the workers have committed all sends and hits."""
    deadline = time.monotonic() + seconds
    while left := await lag(settings, "enricher", "sends", "hits"):
        assert time.monotonic() < deadline, f"{left} records left after {seconds:g} s"
        await asyncio.sleep(0.2)


async def emitted(settings: Settings) -> list[Event]:
    """Each event, revisions, copies and all; each stands in the partition of its message."""
    found: list[Event] = []
    for record in await read_all(settings, "events"):
        events, bad = EVENT.read(record.value)
        assert not bad
        assert record.key == events[0].message_id.encode()
        assert {PARTITION_OF(event.message_id.encode()) for event in events} == {record.partition}
        found += events
    return found


async def changelog(settings: Settings) -> dict[str, bytes]:
    """The rows of the table as its changelog has them; each in the partition of its message."""
    rows: dict[str, bytes] = {}
    for record in await read_all(settings, "tracks"):
        assert PARTITION_OF(record.key) == record.partition
        if record.value is None:
            rows.pop(record.key.decode(), None)
        else:
            rows[record.key.decode()] = record.value
    return rows


def stored(state: Path) -> tuple[dict[str, bytes], dict[int, int]]:
    """The rows of a stopped worker's table, and the changelog offset of each partition."""
    rows: dict[str, bytes] = {}
    offsets: dict[int, int] = {}
    for folder in sorted(state.glob("v1/tables/tracks-*.db")):
        table = rocksdict.Rdict(str(folder), options=rocksdict.Options(raw_mode=True))
        for key, value in table.items():
            if key == OFFSET_KEY:
                offsets[int(folder.stem.rpartition("-")[2])] = int(value)
            else:
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                rows[key.decode()] = value
        table.close()
    return rows, offsets


def same(row: bytes, track: Track) -> bool:
    """Whether a row is that track, however often it and its events were written."""
    return plain(TRACK.decode(row)) == plain(track)


async def check(settings: Settings, ledger: Ledger, *, copies: bool) -> None:
    """Events and tracks are exactly what they must be; `copies` of events may stand there."""
    events, tracks = ledger.expected()
    found = await emitted(settings)
    assert last(found) == events
    told = {(event.event_id, event.revision): event for event in found}
    assert all(told[event.event_id, event.revision] == event for event in found), (
        "a copy differs from its original"
    )
    if not copies:
        assert len(found) == len(told)
    rows = await changelog(settings)
    assert rows.keys() == tracks.keys()
    assert [message for message, row in rows.items() if not same(row, tracks[message])] == []
