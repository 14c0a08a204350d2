"""A Kafka that fails as told, for tests of the edge's publisher; what they publish and ask."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.errors import (
    KafkaConnectionError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
)
from prometheus_client import REGISTRY

from mailwake.contracts import HIT, Hit
from mailwake.errors import UnavailableError
from mailwake.ids import HitStream, new_message_id, partitioner
from mailwake.settings import Settings, read_settings
from mailwake.tracing import Headers
from mailwake_edge.publisher import Publisher
from mailwake_edge.segments import Folder
from mailwake_edge.spool import Spool

PARTITIONS = 4
partition_of = partitioner(PARTITIONS)
Record = tuple[int, bytes, list[Hit]]


class Kafka:
    """What Kafka holds, shared by the producers one after the other.

    `fate` says of each record, by its number, what becomes of it: None (kept), an error (not kept),
    or the word "unknown" (kept, and an error all the same).
    """

    def __init__(self, fate: Callable[[int], Exception | str | None] = lambda number: None) -> None:
        self.partitions = PARTITIONS
        self.records: list[Record] = []
        self.fate = fate
        self.away = False
        self.number = 0
        self.producers = 0
        self.on_their_way: dict[int, int] = {}
        self.overtook = False

    async def connect(self) -> Producer:
        if self.away:
            raise UnavailableError("Kafka does not answer")
        self.producers += 1
        return Producer(self)

    def hits(self) -> list[Hit]:
        """The first occurrence of each hit, in the order of the partitions' records."""
        first: dict[str, Hit] = {}
        for _, _, hits in self.records:
            for hit in hits:
                first.setdefault(hit.hit_id, hit)
        return list(first.values())


class Producer:
    """A producer that is of no more use after an error, as an idempotent one may be."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.broken = False
        self.stopped = False

    async def partitions_for(self, topic: str) -> set[int]:
        assert topic == "t.hits"
        return set(range(self.kafka.partitions))

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes,
        partition: int,
        headers: Headers | None = None,
    ) -> Awaitable[object]:
        if self.stopped:
            raise ProducerClosed
        self.kafka.overtook |= bool(self.kafka.on_their_way.get(partition))
        self.kafka.on_their_way[partition] = 1
        return asyncio.ensure_future(self._deliver(value, key, partition))

    async def _deliver(self, value: bytes, key: bytes, partition: int) -> None:
        try:
            await asyncio.sleep(0.001)
            number = self.kafka.number
            self.kafka.number += 1
            fate = OutOfOrderSequenceNumber() if self.broken else self.kafka.fate(number)
            if fate is None or fate == "unknown":
                hits, bad = HIT.read(value)
                assert not bad
                self.kafka.records.append((partition, key, hits))
            if fate is not None:
                self.broken = True
                raise fate if isinstance(fate, Exception) else KafkaConnectionError("unknown")
        finally:
            self.kafka.on_their_way[partition] = 0

    async def stop(self) -> None:
        self.stopped = True


def made(stream: HitStream, message_id: str, target: str | None = None) -> Hit:
    return Hit(
        hit_id=stream.next(),
        kind="click" if target else "open",
        at=1,
        tenant="acme",
        message_id=message_id,
        recipient=1,
        mode="anonymous",
        link=0 if target else None,
        target=target,
    )


def some(count: int, messages: int = 50) -> list[Hit]:
    stream = HitStream()
    mails = [new_message_id() for _ in range(messages)]
    return [made(stream, mails[number * 7 % messages]) for number in range(count)]


def given_settings(**more: object) -> Settings:
    values = {"topic_prefix": "t.", "edge_linger_ms": 1, "edge_batch_hits": 10}
    return read_settings({}, **values | more)


@asynccontextmanager
async def publishing(
    kafka: Kafka, folder: Path | None = None, **more: object
) -> AsyncIterator[Publisher]:
    with tempfile.TemporaryDirectory() as other:
        publisher = make(kafka, folder or Path(other), **more)
        publisher.start()
        yield publisher
        await publisher.stop(0.2)
    assert not kafka.overtook, "a record was sent before the last of its partition had come"


def make(kafka: Kafka, folder: Path, **more: object) -> Publisher:
    """A publisher with its spool in a folder."""
    given = given_settings(**more)
    spool = Spool(
        Folder(folder / "spool"),
        most_bytes=given.edge_spool_mb << 20,
        strict=given.edge_durability == "strict",
    )
    return Publisher(given, kafka.connect, spool)


def put(publisher: Publisher, hits: list[Hit]) -> None:
    publisher.put(hits, lambda: None)


async def sent(publisher: Publisher) -> None:
    async with asyncio.timeout(10):
        while publisher.held:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


async def arrived(kafka: Kafka, count: int) -> None:
    async with asyncio.timeout(20):
        while len(kafka.hits()) < count:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


def lost(reason: str) -> float:
    return REGISTRY.get_sample_value("mailwake_edge_not_kept_total", {"reason": reason}) or 0.0


def assert_in_order(records: Iterable[Record], hits: list[Hit]) -> None:
    """Each partition holds its hits, all of them, first occurrences in the order of the edge."""
    first: dict[int, dict[str, None]] = {}
    for partition, key, values in records:
        assert 0 < len(values) <= 10
        assert key == values[0].message_id.encode()
        for hit in values:
            assert partition_of(hit.message_id.encode()) == partition
            first.setdefault(partition, {})[hit.hit_id] = None
    for partition in range(PARTITIONS):
        expected = [
            hit.hit_id for hit in hits if partition_of(hit.message_id.encode()) == partition
        ]
        assert list(first.get(partition, ())) == expected
