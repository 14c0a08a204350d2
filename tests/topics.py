"""Looks into topics and groups, for tests."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from mailwake.kafka import start_admin, start_consumer
from mailwake.settings import Settings


async def read_all(settings: Settings, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """All records that a topic (name without prefix) holds now."""
    consumer = await start_consumer(settings, client_id="test-reader")
    try:
        partitions = await _partitions(consumer, settings, topic)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        records: list[ConsumerRecord[bytes, bytes]] = []
        while any([await consumer.position(p) < end for p, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def lag(settings: Settings, group: str, *topics: str) -> int:
    """How many records of the topics a group (names without prefix) has not committed."""
    admin = await start_admin(settings)
    consumer = await start_consumer(settings, client_id="test-lag")
    try:
        partitions = await _partitions(consumer, settings, *topics)
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(settings.topic(group))
        return sum(
            end - max(0, committed[p].offset if p in committed else 0) for p, end in ends.items()
        )
    finally:
        await consumer.stop()
        await admin.close()


async def rewind(settings: Settings, group: str, *topics: str) -> None:
    """Sets an empty group (all members gone) back to the start of the topics."""
    consumer = await start_consumer(settings, client_id="test-rewind", group=group)
    try:
        partitions = await _partitions(consumer, settings, *topics)
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()


async def _partitions(
    consumer: AIOKafkaConsumer, settings: Settings, *topics: str
) -> list[TopicPartition]:
    """All partitions of topics that exist.

    A Kafka that stood still has left its own cluster for a moment, and then names no broker and no
    topic.
    """
    async with asyncio.timeout(60):
        while True:
            await consumer._client.force_metadata_update()
            found = {
                topic: consumer.partitions_for_topic(settings.topic(topic)) for topic in topics
            }
            if all(found.values()):
                break
            await asyncio.sleep(0.2)
    return [
        TopicPartition(settings.topic(topic), number)
        for topic, numbers in found.items()
        for number in numbers or ()
    ]
