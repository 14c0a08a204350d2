"""Publishes what was sent: sends in batches by partition, displays one by one.

A record of `sends` holds an array of sends whose message ids all fall into its partition
(docs/decisions/0001-batches.md), so that a bulk sender's mail is not held to the rate of records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from mailwake.contracts import DISPLAY, SEND, Display, Send
from mailwake.errors import ConfigError, MailwakeError, UnavailableError
from mailwake.ids import partitioner
from mailwake.settings import Settings

BATCH_SENDS = 200
BATCH_BYTES = 512 * 1024
"""Most sends and bytes in one record, before compression; the broker takes 1 MiB. One send that is
larger by itself travels alone."""


async def publish(
    producer: AIOKafkaProducer,
    settings: Settings,
    sends: Sequence[Send],
    displays: Sequence[Display] = (),
) -> None:
    """Publishes sends and displays, and returns when Kafka has acknowledged all of them.

    To be awaited before the mail goes out: a hit whose send was never published is lost after a
    day. Raises UnavailableError when one cannot be published; publishing all of them again then
    does no harm, for each is kept by its message_id. Raises ConfigError when the topics do not
    stand, and MailwakeError for a send or display that alone is over 1 MiB.
    """
    try:
        topic = settings.topic("sends")
        partition_of = partitioner(len(await producer.partitions_for(topic)))
        by_partition: dict[int, list[Send]] = {}
        for send in sends:
            by_partition.setdefault(partition_of(send.message_id.encode()), []).append(send)
        acknowledgements = [
            await producer.send(topic, value, key=key, partition=partition)
            for partition, group in by_partition.items()
            for key, value in batches(group)
        ]
        for display in displays:
            acknowledgements.append(
                await producer.send(
                    settings.topic("displays"),
                    DISPLAY.encode(display),
                    key=display.message_id.encode(),
                )
            )
        await asyncio.gather(*acknowledgements)
    except UnknownTopicOrPartitionError:
        raise ConfigError(
            f"Kafka at {settings.kafka_bootstrap} has no topics {settings.topic('sends')} and "
            f"{settings.topic('displays')}; `mailwake topics apply` creates them"
        ) from None
    except MessageSizeTooLargeError:
        raise MailwakeError(
            "a send or display is over 1 MiB, which Kafka does not take; instrument the mail for "
            "fewer recipients at once"
        ) from None
    except KafkaError as error:
        raise UnavailableError(
            f"the sends could not be published to Kafka at {settings.kafka_bootstrap} "
            f"({type(error).__name__}); publish them again when it answers"
        ) from None


def batches(sends: Sequence[Send]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the records that hold the sends of one partition, in their order."""
    key = b""
    parts: list[bytes] = []
    size = 0
    for send in sends:
        part = SEND.encode(send)
        if parts and (len(parts) == BATCH_SENDS or size + len(part) > BATCH_BYTES):
            yield key, b"[" + b",".join(parts) + b"]"
            parts, size = [], 0
        if not parts:
            key = send.message_id.encode()
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield key, b"[" + b",".join(parts) + b"]"
