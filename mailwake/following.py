"""A compacted topic followed in memory: read from its start, then kept up with.

Each process reads all of it and is in no group. A record's key and value go to `apply` in the order
of their partition; what is kept of them is its business. Kafka may be away, also at the start: what
was applied stays, and following goes on when Kafka answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct

from mailwake import metrics
from mailwake.contracts import Codec, InvalidError
from mailwake.errors import UnavailableError
from mailwake.kafka import require_topics, start_consumer, stop_client
from mailwake.settings import Settings

log = logging.getLogger("mailwake.following")

T = TypeVar("T", bound=Struct)
_POLL_MS = 200
_AGAIN_S = 1.0


class Follower(Generic[T]):
    """Follows one compacted topic.

    Attributes:
        caught_up: whether everything was applied once that stood in the topic at the start. Until
            then the absence of a key says nothing.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        codec: Codec[T],
        apply: Callable[[bytes, T | None], None],
    ) -> None:
        """`topic` is the name without the prefix. `apply` gets None for a tombstone; it must
        neither block nor raise, and bear getting records once more."""
        self._settings = settings
        self._topic = topic
        self._codec = codec
        self._apply = apply
        self._consumer: AIOKafkaConsumer | None = None
        self._applied: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.caught_up = asyncio.Event()

    def start(self) -> None:
        """Begins to follow; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"follow {self._topic}")

    async def stop(self) -> None:
        """Ends following; what was applied stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when everything is applied that was written before this call, by anybody.

        Raises UnavailableError when that does not come about within `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s):
                await self.caught_up.wait()
                consumer = self._consumer
                if consumer is None:
                    raise KafkaError
                ends = await consumer.end_offsets(list(self._applied))
                async with self._moved:
                    await self._moved.wait_for(lambda: self._behind(ends) == 0)
        except (TimeoutError, KafkaError):
            raise UnavailableError(
                f"Kafka at {self._settings.kafka_bootstrap} does not tell what stands in "
                f"{self._settings.topic(self._topic)} now; try again when it answers"
            ) from None

    def _behind(self, ends: dict[TopicPartition, int]) -> int:
        return sum(max(end - self._applied.get(part, 0), 0) for part, end in ends.items())

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (KafkaError, UnavailableError) as error:
                log.warning("%s is not followed now: %s", self._topic, error)
            except Exception:
                log.exception("following %s ended unexpectedly; it begins anew", self._topic)
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        await require_topics(self._settings, self._topic)
        consumer = await start_consumer(
            self._settings, client_id=f"mailwake-{self._topic}", max_poll_records=5000
        )
        try:
            topic = self._settings.topic(self._topic)
            found = await self._partitions(consumer, topic)
            consumer.assign(found)
            ends = await consumer.end_offsets(found)
            for part, start in (await consumer.beginning_offsets(found)).items():
                # What was applied is not read again, unless the topic was made anew.
                applied = self._applied.get(part, start)
                self._applied[part] = applied if start <= applied <= ends[part] else start
                consumer.seek(part, self._applied[part])
            self._consumer = consumer
            while True:
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
                for records in batches.values():
                    for record in records:
                        self._take(record.key or b"", record.value)
                async with self._moved:
                    for part in found:
                        self._applied[part] = await consumer.position(part)
                    self._moved.notify_all()
                if not self.caught_up.is_set() and self._behind(ends) == 0:
                    self.caught_up.set()
        finally:
            self._consumer = None
            await stop_client(consumer)

    async def _partitions(self, consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
        known = consumer.partitions_for_topic(topic)
        while not known:
            await consumer.topics()
            known = consumer.partitions_for_topic(topic)
        return [TopicPartition(topic, number) for number in sorted(known)]

    def _take(self, key: bytes, value: bytes | None) -> None:
        try:
            self._apply(key, None if value is None else self._codec.decode(value))
        except InvalidError as error:
            metrics.FOLLOWED_UNREADABLE.labels(self._topic).inc()
            log.error("a record of %s cannot be read: %s", self._topic, error)
