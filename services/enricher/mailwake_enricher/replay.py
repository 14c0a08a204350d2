"""`mailwake replay`: `hits.unmatched` gives hits that found no send to the enricher once more;
`loader` sets the loader back (`mailwake_enricher.rewind`).

Each hit is marked `replayed` and published to `hits`, from where it joins a send that has come
since. What still finds none comes back to `hits.unmatched` after it has waited; a run reads to
where the topic ended at its start, so that it ends. The enricher remembers replayed hits
(`mailwake_enricher.seen`): running it twice counts nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec.structs import replace

from mailwake.codec import InvalidError
from mailwake.contracts import HIT, Hit
from mailwake.kafka import (
    partitions_of_topic,
    require_topics,
    start_consumer,
    start_producer,
    stop_client,
)
from mailwake.publish import batches
from mailwake.settings import Settings, read_settings
from mailwake_enricher.progress import Progress
from mailwake_enricher.reclassify import TIME, millis_of
from mailwake_enricher.rewind import rewind_loader

TOPIC = "hits.unmatched"
_POLL_MS = 500
_AT_ONCE = 2_000


@dataclass(slots=True)
class Replayed:
    """What a run did; `reasons` counts the hits by why they had been given up."""

    hits: int = 0
    earlier: int = 0
    unreadable: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def main(argv: list[str]) -> int:
    """Runs the command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="mailwake replay",
        description="hits.unmatched: gives hits that found no send to the enricher once more. "
        "loader: sets the loader, which must not run, back, so that it stores again what stands in "
        "Kafka.",
        epilog=TIME,
    )
    parser.add_argument("topic", choices=[TOPIC, "loader"])
    parser.add_argument(
        "--since", metavar="TIME", help="hits that the edge saw, or records written, at or after it"
    )
    parser.add_argument("--dry-run", action="store_true", help="count them, no more")
    arguments = parser.parse_args(argv)
    since = millis_of(arguments.since, "--since") or 0
    if arguments.topic == "loader":
        count = asyncio.run(rewind_loader(read_settings(), since, dry_run=arguments.dry_run))
        print(f"{count:,} records {'would be' if arguments.dry_run else 'will be'} loaded again")
        return 0
    done = asyncio.run(replay(read_settings(), since, dry_run=arguments.dry_run))
    what = "would be replayed" if arguments.dry_run else "replayed"
    print(f"{done.hits:,} hits {what}")
    for reason, count in done.reasons.most_common():
        print(f"  {reason:16}{count:>12,}")
    if done.earlier:
        print(f"{done.earlier:,} hits are earlier")
    if done.unreadable:
        print(f"{done.unreadable:,} records cannot be read; they are passed over")
    return 0


async def replay(settings: Settings, since: int = 0, *, dry_run: bool = False) -> Replayed:
    """Replays the hits that stand in the topic now, those from `since` (milliseconds) on.

    Raises UnavailableError when Kafka does not answer or lacks a topic.
    """
    await require_topics(settings, TOPIC, "hits")
    done = Replayed()
    async with AsyncExitStack() as stack:
        consumer = await start_consumer(
            settings, client_id="mailwake-replay", max_poll_records=_AT_ONCE
        )
        stack.push_async_callback(stop_client, consumer)
        writer: _Writer | None = None
        if not dry_run:
            producer = await start_producer(settings, client_id="mailwake-replay")
            stack.push_async_callback(stop_client, producer)
            partitions = await producer.partitions_for(settings.topic("hits"))
            writer = _Writer(producer, settings.topic("hits"), len(partitions))
        places = await partitions_of_topic(settings, TOPIC)
        starts: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        if since:
            # No hit is given up before the edge has seen it.
            found = await consumer.offsets_for_times(dict.fromkeys(places, since))
            starts = {
                place: found[place].offset if found.get(place) else ends[place] for place in places
            }
        total = sum(ends[place] - starts[place] for place in places)
        progress = Progress(total, "records", "hits")
        queue = Queue()
        for place in places:
            async for records in _read(consumer, place, starts[place], ends[place]):
                taken = list(_taken(records, since, done))
                if writer:
                    await writer.write(queue.take(taken))
                progress.add(len(records), len(taken))
            if writer:
                await writer.write(queue.rest())
        progress.clear()
    return done


async def _read(
    consumer: AIOKafkaConsumer, place: TopicPartition, start: int, end: int
) -> AsyncIterator[list[Any]]:
    """The records of a partition from one offset to before another, a batch at a time."""
    consumer.assign([place])
    consumer.seek(place, start)
    while await consumer.position(place) < end:
        records = (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, [])
        yield [record for record in records if record.offset < end]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A hit and why it was given up."""

    hit: Hit
    reason: str


def _taken(records: Iterable[Any], since: int, done: Replayed) -> Iterator[Unmatched]:
    """The hits of records that are to be replayed; counts all."""
    for record in records:
        try:
            hit = HIT.decode(record.value or b"")
        except InvalidError:
            done.unreadable += 1
            continue
        if hit.at < since:
            done.earlier += 1
            continue
        reason = dict(record.headers).get("mailwake-reason", b"unknown").decode()
        done.hits += 1
        done.reasons[reason] += 1
        yield Unmatched(hit, reason)


class Queue:
    """Gives each mail's hits back in the order of their streams, where the topic has them in
    another.

    The enricher remembers replayed hits of a stream by their numbers, and takes what lies below the
    last ones for seen. A mail's hits stand in the topic in their order, save where so many waited
    that the later ones were given up first (`waiting_full`): the hits of such mails are held back
    until all of the partition is read. They are few.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[Hit]] = {}

    def take(self, unmatched: Iterable[Unmatched]) -> list[Hit]:
        """Those of some hits that may go now."""
        free: list[Hit] = []
        for each in unmatched:
            message_id = each.hit.message_id
            if each.reason == "waiting_full" or message_id in self._held:
                self._held.setdefault(message_id, []).append(each.hit)
            else:
                free.append(each.hit)
        return free

    def rest(self) -> list[Hit]:
        """Those that were held back."""
        held = sorted(
            (hit for hits in self._held.values() for hit in hits), key=lambda hit: hit.hit_id
        )
        self._held.clear()
        return held


class _Writer:
    """Publishes hits as replayed ones, many of a partition in a record."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions

    async def write(self, hits: Sequence[Hit]) -> None:
        """Returns when Kafka has acknowledged them."""
        replayed = [replace(hit, replayed=True) for hit in hits]
        acks = [
            await self._producer.send(self._topic, value, key=key, partition=partition)
            for partition, key, value in batches(replayed, HIT, self._partitions)
        ]
        await asyncio.gather(*acks)
