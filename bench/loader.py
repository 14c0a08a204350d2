"""The loader's rows a second, beside clickhouse-driver alone inserting the same rows.

The loader is the real service in its own process and reads a backlog of `events` from real Kafka,
in records of a hundred; clickhouse-driver has the same rows as ready columns and inserts them in
blocks of the same size into the same table of the same ClickHouse. They take turns; medians.
"""

from __future__ import annotations

import asyncio
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clickhouse_driver import Client

from bench.backlog import rate_of
from bench.row import Row
from mailwake.contracts import EVENT, Event
from mailwake.ids import HitStream, event_id, new_message_id, partitioner
from mailwake.kafka import start_producer
from mailwake.migrate import migrate
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake_enricher.rows import event_columns
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.kafka import LocalKafka
from tests.topics import rewind

EVENTS = 600_000
"""Twelve inserts: of a few, the start alone would take a tenth."""
IN_RECORD = 100
ROUNDS = 3
DEADLINE_S = 120.0
PARTITIONS = 8


def measure() -> list[Row]:
    """One row: events, the loader beside clickhouse-driver. Takes a minute and a half."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics that are new have no leaders
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        clickhouse = stack.enter_context(LocalClickHouse(folder / "clickhouse"))
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            clickhouse_url=clickhouse.url,
            partitions=PARTITIONS,
        )
        migrate(settings.clickhouse_url)
        records = list(made_records(EVENTS))
        asyncio.run(publish(settings, records))
        events = [event for _, record in records for event in record]
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(driver_alone(settings, events))
            asyncio.run(rewind(settings, "loader", "events"))
            ours.append(loader(settings, folder))
    return [
        Row(
            stage="loader: events",
            figure=statistics.median(ours),
            beside=statistics.median(bare),
            unit="rows/s",
            beside_what="clickhouse-driver alone, the same rows ready as columns",
            aim=0.8,
        )
    ]


def made_records(count: int) -> Iterator[tuple[int, list[Event]]]:
    """Records of events as the enricher makes them, with their partitions."""
    dice = random.Random(1)
    partition_of = partitioner(PARTITIONS)
    stream = HitStream()
    gathered: dict[int, list[Event]] = {}
    for number in range(count):
        event = made_event(dice, stream.next(), number)
        partition = partition_of(event.message_id.encode())
        record = gathered.setdefault(partition, [])
        record.append(event)
        if len(record) == IN_RECORD:
            yield partition, gathered.pop(partition)
    yield from gathered.items()


def made_event(dice: random.Random, hit_id: str, number: int) -> Event:
    """One event with the variety of real ones; a third are clicks."""
    sent_at = 1_790_000_000_000 + number * 7
    click = number % 3 == 0
    return Event(
        event_id=event_id(hit_id, "click" if click else "open"),
        revision=1,
        hit_id=hit_id,
        kind="click" if click else "open",
        at=sent_at + dice.randrange(3_600_000),
        tenant=dice.choice(("acme", "globex")),
        user=f"user-{dice.randrange(500)}",
        message_id=new_message_id(sent_at),
        recipient=1,
        recipient_count=1,
        mode="identified",
        verdict=dice.choice(("human", "proxy", "prefetch", "scanner")),
        reasons=dice.choice((["browser"], ["image_proxy"], ["burst", "hosting_network"])),
        first=dice.random() < 0.5,
        sent_at=sent_at,
        recipient_id=f"{dice.getrandbits(128):032x}",
        link=dice.randrange(9) if click else None,
        target=f"https://shop.example/offers/{dice.randrange(2000)}?from=mail" if click else None,
        network=f"203.0.{dice.randrange(256)}.0/24",
        agent=f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/{dice.randrange(300)}",
        tag=dice.choice(("spring", "invoice", None)),
    )


async def publish(settings: Settings, records: list[tuple[int, list[Event]]]) -> None:
    """Fills the topic `events`."""
    await apply_topics(settings)
    producer = await start_producer(settings, client_id="bench", compression="zstd")
    try:
        for partition, record in records:
            key = record[0].message_id.encode()
            await producer.send(
                settings.topic("events"), EVENT.encode_many(record), key=key, partition=partition
            )
    finally:
        await producer.stop()


def driver_alone(settings: Settings, events: list[Event]) -> float:
    """Rows a second of clickhouse-driver; the columns are ready before."""
    size = settings.loader_rows
    blocks = [event_columns(events[at : at + size]) for at in range(0, len(events), size)]
    names = ", ".join(blocks[0])
    with emptied(settings) as client:
        begun = time.perf_counter()
        for block in blocks:
            client.execute(
                f"INSERT INTO events ({names}) VALUES",
                list(block.values()),
                columnar=True,
                settings={"async_insert": 0},
            )
        return len(events) / (time.perf_counter() - begun)


def loader(settings: Settings, folder: Path) -> float:
    """Rows a second. The last batch is not waited for: it is not full, so the loader holds it until
    its time is over."""
    with emptied(settings):
        return rate_of(
            "loader", settings, folder, 'mailwake_loader_rows_total{table="events"}', 0.9 * EVENTS
        )


@contextmanager
def emptied(settings: Settings) -> Iterator[Client]:
    """A client of ClickHouse; the table `events` is empty."""
    with Client.from_url(f"{settings.clickhouse_url}?compression=lz4") as client:
        client.execute("TRUNCATE TABLE events")
        yield client


if __name__ == "__main__":
    for row in measure():
        print(row.as_dict())
