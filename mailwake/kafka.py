"""Kafka, the one way: producers, consumers and admins with the settings the promises rest on.

Producers are idempotent (acks=all, order kept within a partition, never expiring a batch), lz4,
with large batches. Consumers never commit by themselves: the caller commits when the work of a
record is safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from mailwake.errors import DeniedError, UnavailableError
from mailwake.kafka_security import client_arguments, denied, why_away
from mailwake.settings import Settings

log = logging.getLogger("mailwake.kafka")

WRITE_S = 10.0
"""Records that are not acknowledged after so long count as not written."""

MAX_BATCH_BYTES = 256 * 1024
MAX_REQUEST_BYTES = 1024 * 1024
"""The largest record we send: the broker's own default for `message.max.bytes` is 1 MiB."""


async def start_producer(
    settings: Settings, *, client_id: str, linger_ms: int = 5, compression: str = "lz4"
) -> AIOKafkaProducer:
    """A started producer; stop it with `await producer.stop()`, which sends what is held.

    `send()` waits while the open batch of a partition is full, so bound what is in flight.
    aiokafka's lz4 is the high-compression kind (level 9): `compression="zstd"` took a quarter of
    its time for a record of a hundred events and made it a third smaller.
    Raises UnavailableError when Kafka does not answer, or refuses us (DeniedError).
    """
    producer = AIOKafkaProducer(
        **client_arguments(settings),
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        compression_type=compression,
        linger_ms=linger_ms,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=30_000,
    )
    try:
        await producer.start()
    except BaseException as error:  # also when cancelled: what was opened is closed
        await producer.stop()
        await _tell(settings, error)
        raise
    return producer


FETCH_WAIT_MS = 50
"""So long a broker may hold a group member's request for records when it has none of the partitions
that are asked for. What lies in a consumer's buffers is not asked for; so a request may name quiet
partitions alone, and until it comes back nothing else is fetched
(docs/decisions/0022-asking-again.md)."""


async def start_consumer(
    settings: Settings,
    *topics: str,
    client_id: str,
    group: str | None = None,
    instance: str | None = None,
    from_start: bool = True,
    **more: object,
) -> AIOKafkaConsumer:
    """A started consumer of topics (names without the prefix) that commits only when told.

    `group` (without the prefix) makes it a member of that group, `instance` a static one.
    `more` goes to AIOKafkaConsumer. Raises UnavailableError when Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(
        *(settings.topic(topic) for topic in topics),
        **client_arguments(settings),
        client_id=client_id,
        group_id=settings.topic_prefix + group if group else None,
        group_instance_id=instance,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if from_start else "latest",
        **({"fetch_max_wait_ms": FETCH_WAIT_MS} if group else {}) | more,
    )
    try:
        await consumer.start()
    except BaseException as error:  # also when cancelled: what was opened is closed
        await consumer.stop()
        await _tell(settings, error)
        raise
    return consumer


async def start_admin(settings: Settings) -> AIOKafkaAdminClient:
    """A started admin client. Raises UnavailableError when Kafka does not answer."""
    admin = AIOKafkaAdminClient(**client_arguments(settings), client_id="mailwake-admin")
    try:
        await admin.start()
    except BaseException as error:  # also when cancelled: what was opened is closed
        await admin.close()
        await _tell(settings, error)
        raise
    return admin


async def write(
    producer: AIOKafkaProducer | None,
    settings: Settings,
    topic: str,
    records: Iterable[tuple[bytes, bytes | None]],
    within_s: float = WRITE_S,
) -> None:
    """Writes records (key and value) to a topic (name without the prefix), each to the partition of
    its key; returns when Kafka has acknowledged all.

    Raises UnavailableError when that fails or takes longer than `within_s` seconds, and some may be
    written then; also without a producer, for it is None while Kafka is away.
    """
    if producer is None:
        raise UnavailableError("nothing can be written while Kafka is away; try again later")
    try:
        async with asyncio.timeout(within_s):
            sent = [
                await producer.send(settings.topic(topic), value, key=key) for key, value in records
            ]
            await asyncio.gather(*sent)
    except (KafkaError, TimeoutError) as error:
        raise denied(settings, error, settings.topic(topic)) or UnavailableError(
            f"Kafka at {settings.kafka_bootstrap} did not take what was written to {topic}; try "
            "again when it answers"
        ) from None


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer, within_s: float = 5) -> None:
    """Stops a client and never raises; one whose Kafka is away is left after `within_s` seconds.

    Without a Kafka a producer waits for it for ever, and a consumer raises the CancelledError of
    its own tasks (aiokafka 0.14, `Fetcher.close`).
    """
    stopping = asyncio.ensure_future(client.stop())
    _, late = await asyncio.wait({stopping}, timeout=within_s)
    if late:
        stopping.cancel()
    elif not stopping.cancelled() and stopping.exception():
        log.warning("a Kafka client did not stop in order: %s", stopping.exception())


async def require_topics(settings: Settings, *names: str) -> None:
    """Raises UnavailableError when Kafka lacks one of the topics (names without the prefix), and
    DeniedError when it does not show one to us."""
    admin = await start_admin(settings)
    try:
        present = await admin.list_topics()
        missing = [topic for topic in map(settings.topic, names) if topic not in present]
        # What may be neither read nor written is not listed. It is asked by name only of a Kafka
        # that knows users: another might make the topic at that.
        if missing and settings.kafka_security != "plaintext":
            hidden = hidden_topics(await admin.describe_topics(missing))
            if hidden:
                raise hides(settings, *hidden)
    finally:
        await admin.close()
    if missing:
        raise _missing(settings, *missing)


def hidden_topics(described: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those topics, as an admin client describes them, that Kafka does not show to us."""
    code = TopicAuthorizationFailedError.errno
    return [each["topic"] for each in described if each["error_code"] == code]


def hides(settings: Settings, *topics: str) -> DeniedError:
    """What a person is told of topics that Kafka does not show to us."""
    told = denied(settings, TopicAuthorizationFailedError(set(topics)))
    assert told is not None  # noqa: S101
    return told


async def require_group(settings: Settings, group: str) -> None:
    """Raises DeniedError when Kafka does not let us know the group (name without the prefix), and
    so not join it either; UnavailableError when it does not answer."""
    admin = await start_admin(settings)
    try:
        await admin.find_coordinator(settings.topic(group))
    except GroupAuthorizationFailedError:
        told = denied(settings, GroupAuthorizationFailedError(settings.topic(group)))
        assert told is not None  # noqa: S101
        raise told from None
    except KafkaError as error:  # such as that there is no group at all as yet
        log.debug("the coordinator of %s is not known: %s", group, error)
    finally:
        await admin.close()


async def partitions_of_topic(settings: Settings, name: str) -> list[TopicPartition]:
    """The partitions of a topic (name without the prefix).

    Raises UnavailableError when Kafka does not answer or has no such topic.
    """
    topic = settings.topic(name)
    admin = await start_admin(settings)
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if hidden_topics([described]):
        raise hides(settings, topic)
    if not described["partitions"]:
        raise _missing(settings, topic)
    return sorted(TopicPartition(topic, each["partition"]) for each in described["partitions"])


def _missing(settings: Settings, *topics: str) -> UnavailableError:
    return UnavailableError(
        f"Kafka at {settings.kafka_bootstrap} has no topic {', '.join(topics)}; run "
        "`mailwake topics apply`"
    )


async def _tell(settings: Settings, error: BaseException) -> None:
    """Raises what a person is told of an error at the start, if it is no fault of ours."""
    if isinstance(error, KafkaConnectionError):
        raise await why_away(settings, error) from None
    told = denied(settings, error)
    if told:
        raise told from None
