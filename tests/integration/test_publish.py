"""Publishing to a real Kafka: every send and display arrives, in records of its partition."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from mailwake import ids
from mailwake.contracts import DISPLAY, SEND, Display, Send
from mailwake.errors import ConfigError, MailwakeError
from mailwake.kafka import start_consumer, start_producer
from mailwake.keyring import new_keyring
from mailwake.publish import publish
from mailwake.settings import Settings
from mailwake.topics_apply import apply_topics
from mailwake.tracker import Tracker

DEMO = Path(__file__).parents[2] / "mailwake" / "data" / "demo.eml"


@pytest.fixture
def settings(kafka: str) -> Settings:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    return Settings(kafka_bootstrap=kafka, topic_prefix=prefix, partitions=3, replication=1)


def send(links: int = 0) -> Send:
    return Send(
        message_id=ids.new_message_id(),
        tenant="acme",
        user="ben",
        sent_at=ids.now_ms(),
        recipient_count=1,
        mode="anonymous",
        opens=True,
        clicks=links > 0,
        links=["https://example.org/" + "x" * 4000] * links,
    )


async def records(settings: Settings, topic: str) -> list[tuple[int, bytes, bytes]]:
    """All records that stand in a topic now: partition, key, value."""
    found: list[tuple[int, bytes, bytes]] = []
    consumer = await start_consumer(settings, topic, client_id="test")
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        for partition, end in ends.items():
            consumer.pause(*consumer.assignment())
            consumer.resume(partition)
            while await consumer.position(partition) < end:
                record = await consumer.getone(partition)
                found.append((partition.partition, record.key, record.value))
    finally:
        await consumer.stop()
    return found


async def test_every_send_and_display_arrives_once_in_its_partition(settings: Settings) -> None:
    await apply_topics(settings)
    tracker = Tracker(new_keyring(), "https://t.example.com")
    done = tracker.instrument(DEMO.read_bytes(), tenant="acme", user="ben")
    sends = [done.send, send(links=200), *(send() for _ in range(1000))]
    producer = await start_producer(settings, client_id="test")
    try:
        await publish(producer, settings, sends, [done.display])
    finally:
        await producer.stop()
    partition_of = ids.partitioner(3)
    read: list[Send] = []
    arrived = await records(settings, "sends")
    for partition, key, value in arrived:
        values, bad = SEND.read(value)
        assert not bad
        assert key == values[0].message_id.encode()
        assert {partition_of(value.message_id.encode()) for value in values} == {partition}
        read += values
    assert sorted(read, key=lambda sent: sent.message_id) == sorted(
        sends, key=lambda sent: sent.message_id
    )
    assert len(arrived) < 20, "sends travel in batches"
    [(partition, key, value)] = await records(settings, "displays")
    assert (key, DISPLAY.decode(value)) == (done.send.message_id.encode(), done.display)
    assert partition == partition_of(key), "Kafka's default partitioner"


async def test_a_send_over_one_mebibyte_is_refused_in_words(settings: Settings) -> None:
    await apply_topics(settings)
    producer = await start_producer(settings, client_id="test")
    try:
        with pytest.raises(MailwakeError, match="over 1 MiB"):
            await publish(producer, settings, [send(links=300)])
    finally:
        await producer.stop()


async def test_missing_topics_are_told_with_the_command_that_makes_them(
    settings: Settings,
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, request_timeout_ms=1500)
    await producer.start()
    display = Display(message_id="01" * 16, tenant="acme", user="ben", subject="x")
    try:
        with pytest.raises(ConfigError, match="mailwake topics apply"):
            await publish(producer, settings, [send()], [display])
    finally:
        await producer.stop()
