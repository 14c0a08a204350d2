"""The notifier's events a second, beside a bare loop that consumes and produces.

The notifier is the real service in its own process; its settle windows are 0, so each event becomes
an alert at once. The loop has the same consumer and producer: for each event of a record it writes
one record as long as an alert to the same topic, and does nothing else. They take turns on the same
backlog; medians.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop
from aiokafka import TopicPartition

from bench.backlog import rate_of
from bench.loader import IN_RECORD, made_event
from bench.row import Row
from mailwake.contracts import ALERT, EVENT, Event, user_key
from mailwake.ids import HitStream, now_ms, partitioner
from mailwake.kafka import start_consumer, start_producer
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_notifier.notice import notice
from tests.topics import rewind

EVENTS = int(os.environ.get("EVENTS", "100_000"))
ROUNDS = 3
PARTITIONS = 8
MEASURED = 0.9
"""The part of the backlog after which the clock stops."""

_READ_AT_ONCE = 200
ALERTS = "mailwake_notifier_alerts_total{"


def measure() -> list[Row]:
    """One row. Takes about a minute."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics that are new have no leaders
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            partitions=PARTITIONS,
            settle_s=0,
            settle_doubtful_s=0,
            log_level="warning",
        )
        alert = asyncio.run(prepare(settings))
        ours, bare = [], []
        for turn in range(ROUNDS):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                bare.append(runner.run(bare_loop(settings, alert)))
            asyncio.run(rewind(settings, "notifier", "events"))
            ours.append(rate_of("notifier", settings, folder, ALERTS, MEASURED * EVENTS))
            say(f"round {turn + 1} of {ROUNDS}: {ours[-1]:,.0f} events/s, bare {bare[-1]:,.0f}")
    return [
        Row(
            stage="notifier: events",
            figure=statistics.median(ours),
            beside=statistics.median(bare),
            unit="events/s",
            beside_what="a bare loop that consumes the events and produces as many records",
        )
    ]


async def prepare(settings: Settings) -> bytes:
    """Fills `events`; an alert, as long as most."""
    await apply_topics(settings)
    dice, stream = random.Random(1), HitStream()
    partition_of = partitioner(PARTITIONS)
    gathered: dict[int, list[Event]] = {}
    producer = await start_producer(settings, client_id="bench", compression="zstd")

    async def put(partition: int) -> None:
        value = EVENT.encode_many(gathered.pop(partition))
        await producer.send(settings.topic("events"), value, partition=partition)

    try:
        for number in range(EVENTS):
            made = replaced(made_event(dice, stream.next(), number))
            partition = partition_of(made.message_id.encode())
            record = gathered.setdefault(partition, [])
            record.append(made)
            if len(record) == IN_RECORD:
                await put(partition)
        for partition in list(gathered):
            await put(partition)
    finally:
        await producer.stop()
    return ALERT.encode(notice(made))


def replaced(event: Event) -> Event:
    """As of a person, just now."""
    at = now_ms()
    return msgspec.structs.replace(
        event, verdict="human", reasons=["browser"], first=True, at=at, sent_at=at - 60_000
    )


async def bare_loop(settings: Settings, alert: bytes) -> float:
    """Events a second that are answered with a record each, until Kafka has acknowledged them."""
    producer = await start_producer(settings, client_id="bench", linger_ms=0)
    consumer = await start_consumer(settings, client_id="bench")
    try:
        topic, alerts = settings.topic("events"), settings.topic("alerts")
        consumer.assign([TopicPartition(topic, each) for each in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        begun, count = time.perf_counter(), 0
        while count < MEASURED * EVENTS:
            taken = await consumer.getmany(timeout_ms=500, max_records=_READ_AT_ONCE)
            told = []
            for record in (each for records in taken.values() for each in records):
                for event in EVENT.read(record.value)[0]:
                    key = user_key(event.tenant, event.user)
                    told.append(await producer.send(alerts, alert, key=key))
            await asyncio.gather(*told)
            count += len(told)
        return count / (time.perf_counter() - begun)
    finally:
        await consumer.stop()
        await producer.stop()


def say(text: str) -> None:
    """A line of progress."""
    print(f"notifier: {text}", file=sys.stderr, flush=True)
