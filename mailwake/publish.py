"""Publishes what was sent: sends in batches by partition, displays one by one.

A record of `sends` holds an array of sends whose message ids all fall into its partition
(docs/decisions/0001-batches.md), so that a bulk sender's mail is not held to the rate of records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from mailwake.codec import Codec
from mailwake.contracts import DISPLAY, SEND, Display, Hit, Send
from mailwake.errors import ConfigError, MailwakeError, UnavailableError
from mailwake.ids import partitioner
from mailwake.kafka_security import denied
from mailwake.settings import Settings

BATCH = 200
BATCH_BYTES = 512 * 1024
"""Most sends (or hits) and bytes in one record, before compression; the broker takes 1 MiB. One
send that is larger by itself travels alone."""

M = TypeVar("M", Send, Hit)


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
        partitions = len(await producer.partitions_for(topic))
        acknowledgements = [
            await producer.send(topic, value, key=key, partition=partition)
            for partition, key, value in batches(sends, SEND, partitions)
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
        raise denied(settings, error) or UnavailableError(
            f"the sends could not be published to Kafka at {settings.kafka_bootstrap} "
            f"({type(error).__name__}); publish them again when it answers"
        ) from None


def batches(
    values: Iterable[M], codec: Codec[M], partitions: int
) -> Iterator[tuple[int, bytes, bytes]]:
    """Partition, key and value of the records that hold sends or hits: those of a partition share
    records, in their order."""
    partition_of = partitioner(partitions)
    by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
    for each in values:
        key = each.message_id.encode()
        by_partition.setdefault(partition_of(key), []).append((key, codec.encode(each)))
    for partition, encoded in by_partition.items():
        for key, parts in _filled(encoded):
            yield partition, key, b"[" + b",".join(parts) + b"]"


def _filled(encoded: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, list[bytes]]]:
    """As many as go into a record, with the key of the first."""
    first = b""
    parts: list[bytes] = []
    size = 0
    for key, part in encoded:
        if parts and (len(parts) == BATCH or size + len(part) > BATCH_BYTES):
            yield first, parts
            parts, size = [], 0
        if not parts:
            first = key
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield first, parts
