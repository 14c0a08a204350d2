"""The publisher against a producer that fails as told: order, bounds, what is counted.

The real Kafka is in tests/integration/test_edge.py; it cannot be made to fail at a chosen record.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import REGISTRY

from mailwake.contracts import HIT
from mailwake.ids import HitStream, new_message_id, now_ms
from mailwake_edge import publisher as publisher_module
from mailwake_edge import spool as spool_module
from mailwake_edge.segments import Folder
from tests.publishing import (
    Kafka,
    Producer,
    arrived,
    assert_in_order,
    lost,
    made,
    make,
    publishing,
    put,
    sent,
    some,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a second are for people."""
    monkeypatch.setattr(publisher_module, "RETRY_S", 0.001)
    monkeypatch.setattr(publisher_module, "_FOLLOW_S", 0.01)
    monkeypatch.setattr(publisher_module, "_CLOSE_S", 0.1)


async def test_hits_come_in_batches_in_their_partitions_in_order() -> None:
    kafka, hits = Kafka(), some(500)
    async with publishing(kafka) as publisher:
        for at in range(0, 500, 25):
            put(publisher, hits[at : at + 25])
            await asyncio.sleep(0)
        await sent(publisher)
    assert_in_order(kafka.records, hits)
    assert sum(len(values) for _, _, values in kafka.records) == 500
    assert len(kafka.records) < 100
    assert kafka.producers == 1


async def test_a_hit_is_published_soon_after_the_linger() -> None:
    kafka, hits = Kafka(), some(3)
    async with publishing(kafka, edge_linger_ms=50) as publisher:
        async with asyncio.timeout(10):
            while not kafka.producers:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
        began = time.monotonic()
        put(publisher, hits)
        await sent(publisher)
        assert time.monotonic() - began > 0.045


@given(
    fates=st.dictionaries(
        st.integers(0, 40),
        st.sampled_from([OutOfOrderSequenceNumber(), KafkaConnectionError(), "unknown", OSError()]),
    ),
    turns=st.lists(st.integers(1, 60), min_size=1, max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_whatever_fails_nothing_is_lost_or_overtaken(
    fates: dict[int, Exception | str], turns: list[int]
) -> None:
    """Any records fail in any way, some of them after Kafka has kept them."""

    async def scenario() -> None:
        kafka, hits = Kafka(fates.get), some(sum(turns), 20)
        async with publishing(kafka) as publisher:
            at = 0
            for turn in turns:
                put(publisher, hits[at : at + turn])
                at += turn
                await asyncio.sleep(0.001)
            await sent(publisher)
        assert_in_order(kafka.records, hits)

    asyncio.run(scenario())


async def test_hits_wait_while_kafka_is_away_at_the_start() -> None:
    kafka, hits = Kafka(), some(1500)
    kafka.away = True
    async with publishing(kafka) as publisher:
        put(publisher, hits)
        await asyncio.sleep(0.02)
        assert publisher.held == 1500
        kafka.away = False
        await sent(publisher)
    assert_in_order(kafka.records, hits)


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_what_does_not_fit_into_memory_waits_on_the_disk(
    durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(spool_module, "READ_BYTES", 30_000)
    kafka, hits = Kafka(), some(5000)
    kafka.away = True
    async with publishing(kafka, edge_queue_hits=1000, edge_durability=durability) as publisher:
        for at in range(0, 4000, 30):
            put(publisher, hits[at : min(at + 30, 4000)])
            await asyncio.sleep(0)
        assert publisher.held <= 1000
        kafka.away = False
        for at in range(4000, 5000, 25):
            put(publisher, hits[at : at + 25])
            await asyncio.sleep(0.001)
        await arrived(kafka, 5000)
        await sent(publisher)
    assert_in_order(kafka.records, hits)


async def test_a_spool_that_is_full_or_fails_costs_what_memory_cannot_hold(tmp_path: Path) -> None:
    kafka, hits = Kafka(), some(9000)
    kafka.away = True
    before = lost("spool_full")
    async with publishing(kafka, tmp_path, edge_queue_hits=1000, edge_spool_mb=1) as publisher:
        for at in range(0, 9000, 30):
            put(publisher, hits[at : at + 30])
            await asyncio.sleep(0)
        kafka.away = False
        missing = int(lost("spool_full") - before)
        assert 0 < missing < 8000
        await arrived(kafka, 9000 - missing)
        await sent(publisher)
    assert len(kafka.hits()) == 9000 - missing


async def test_what_a_killed_process_left_goes_first(tmp_path: Path) -> None:
    """Copied as it stands on the disk, which is what a killed process leaves."""
    kafka, hits = Kafka(), some(900)
    kafka.away = True
    safe: list[int] = []
    publisher = make(kafka, tmp_path / "killed")
    publisher.start()
    publisher.put(hits[:800], lambda: safe.append(1))
    async with asyncio.timeout(5):
        while not safe:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    shutil.copytree(tmp_path / "killed", tmp_path / "left")
    await publisher.stop(0)
    kafka.away = False
    async with publishing(kafka, tmp_path / "left") as publisher:
        put(publisher, hits[800:])
        await arrived(kafka, 900)
        await sent(publisher)
    assert_in_order(kafka.records, hits)
    assert not list((tmp_path / "left" / "spool").glob("*.hits")), "all is acknowledged"


async def test_the_end_sends_what_is_held(tmp_path: Path) -> None:
    kafka, hits = Kafka(), some(800)
    publisher = make(kafka, tmp_path)
    publisher.start()
    put(publisher, hits)
    assert await publisher.stop(10) == 0
    assert_in_order(kafka.records, hits)


async def test_the_end_does_not_wait_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What Kafka has not got waits on the disk for the next start."""
    kafka, hits = Kafka(), some(7)
    kafka.away = True
    publisher = make(kafka, tmp_path)
    publisher.start()
    put(publisher, hits)
    assert await publisher.stop(0.05) == 0
    assert "wait in the spool" in caplog.text
    kafka.away = False
    async with publishing(kafka, tmp_path) as publisher:
        await arrived(kafka, 7)
    assert_in_order(kafka.records, hits)


async def test_what_only_memory_had_at_the_end_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Folder, number: int, at: int, data: bytes) -> None:
        raise OSError(errno.EIO, "broken")

    kafka = Kafka()
    kafka.away = True
    before = lost("stopped")
    publisher = make(kafka, tmp_path)
    publisher.start()
    monkeypatch.setattr(Folder, "write", fail)
    safe: list[int] = []
    publisher.put(some(3), lambda: safe.append(1))
    async with asyncio.timeout(5):
        while not safe:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    put(publisher, some(4))
    assert await publisher.stop(0.05) == 7
    assert lost("stopped") == before + 7
    assert "7 hits" in caplog.text


async def test_a_record_that_would_be_too_large_is_made_of_fewer_hits() -> None:
    stream, mail = HitStream(), new_message_id()
    hits = [made(stream, mail, "https://example.com/" + "x" * 8000) for _ in range(400)]
    kafka = Kafka()
    async with publishing(kafka, edge_batch_hits=1000) as publisher:
        put(publisher, hits)
        await sent(publisher)
    assert kafka.hits() == hits
    assert all(len(HIT.encode_many(values)) <= 1_000_000 for _, _, values in kafka.records)


async def test_a_record_that_kafka_finds_too_large_is_halved_to_the_last_hit() -> None:
    """A broker may take less than we send; the hit that it never takes is counted and let go."""
    stream, mail = HitStream(), new_message_id()
    hits = [made(stream, mail) for _ in range(10)]
    huge = hits[6].hit_id.encode()
    before = lost("too_large")

    class Narrow(Producer):
        async def send(self, topic: str, value: bytes, **more: Any) -> Awaitable[object]:
            if huge in value:
                raise MessageSizeTooLargeError
            return await super().send(topic, value, **more)

    class NarrowKafka(Kafka):
        async def connect(self) -> Producer:
            return Narrow(self)

    kafka = NarrowKafka()
    async with publishing(kafka) as publisher:
        put(publisher, hits)
        await sent(publisher)
    assert kafka.hits() == hits[:6] + hits[7:]
    assert lost("too_large") == before + 1


async def test_new_partitions_come_into_use_without_a_break() -> None:
    kafka, hits = Kafka(), some(400)
    async with publishing(kafka) as publisher:
        put(publisher, hits[:200])
        await sent(publisher)
        kafka.partitions = 8
        for at in range(200, 400, 10):
            put(publisher, hits[at : at + 10])
            await asyncio.sleep(0.002)
        await sent(publisher)
    assert len({partition for partition, _, _ in kafka.records}) == 8
    by_message: dict[str, list[str]] = {}
    for _, _, values in kafka.records:
        for hit in values:
            by_message.setdefault(hit.message_id, []).append(hit.hit_id)
    assert all(numbers == sorted(numbers) for numbers in by_message.values())
    assert sum(map(len, by_message.values())) == 400


def shown(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


async def test_the_age_of_the_oldest_hit_is_told_until_kafka_has_it(tmp_path: Path) -> None:
    kafka = Kafka()
    kafka.away = True
    publisher = make(kafka, tmp_path)
    spooled = shown("mailwake_edge_spooled_total")
    publisher.start()
    try:
        assert shown("mailwake_edge_oldest_seconds") == 0
        some_time_ago, now = some(2)
        put(publisher, [replace(some_time_ago, at=now_ms() - 90_000), replace(now, at=now_ms())])
        assert 90 <= shown("mailwake_edge_oldest_seconds") < 190
        kafka.away = False
        await sent(publisher)
        assert shown("mailwake_edge_oldest_seconds") == 0
    finally:
        await publisher.stop(0)
    assert shown("mailwake_edge_spooled_total") == spooled + 2


async def test_what_may_be_lost_is_counted_from_0_on(tmp_path: Path) -> None:
    """A counter that appears at 1 was never 0 to Prometheus: its first loss would not be seen."""
    publisher = make(Kafka(), tmp_path)
    await publisher.stop(0)
    for name, reason in [("not_kept", each) for each in publisher_module.NOT_KEPT] + [
        ("unsafe", each) for each in ("spool_full", "spool_failed", "spool_slow")
    ]:
        name = f"mailwake_edge_{name}_total"
        assert REGISTRY.get_sample_value(name, {"reason": reason}) is not None
