"""Whether Kafka holds records that were not given to us."""

from __future__ import annotations

from aiokafka import TopicPartition

from mailwake.kafka import start_consumer
from mailwake.settings import Settings


async def first_record(
    settings: Settings, topic: str, partition: int, start: int, end: int
) -> int | None:
    """The offset of the first record from `start` to before `end`; None when there is none.

    There is none where retention has deleted them, or where a sender's transactions left their
    marks. `topic` is the name in Kafka. Raises UnavailableError when Kafka does not answer.
    """
    consumer = await start_consumer(settings, client_id="mailwake-enricher-gap")
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, start)
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(timeout_ms=500)).get(place, ()):
                return record.offset if record.offset < end else None
        return None
    finally:
        await consumer.stop()
