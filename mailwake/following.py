"""A topic followed in memory, mostly a compacted one: read from its start, then kept up with.

Each process reads all of it and is in no group. A record's key and value go to `apply` in the order
of their partition; what is kept of them is its business. Kafka may be away, also at the start: what
was applied stays, and following goes on when Kafka answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct

from mailwake import metrics
from mailwake.codec import Codec, InvalidError
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.ids import partitioner
from mailwake.kafka import partitions_of_topic, start_consumer, stop_client
from mailwake.kafka_security import denied
from mailwake.settings import Settings

log = logging.getLogger("mailwake.following")

T = TypeVar("T", bound=Struct)
_POLL_MS = 200
_AGAIN_S = 1.0
_AT_ONCE = 1000  # records: some milliseconds of work, then the event loop has its turn
_METADATA_MS = 10_000  # after so long it is seen that the topic has other partitions


class Follower(Generic[T]):
    """Follows one topic.

    A topic that is deleted and made anew is read from its start; what was applied of the old one
    stays.

    Attributes:
        caught_up: whether everything was applied once that stood in the topic at the start. Until
            then the absence of a key says nothing.
        moved_at: monotonic time when a record was last applied, or following began.
        place: partition and offset of the record that is being applied.
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
        self._name = settings.topic(topic)
        self._codec = codec
        self._apply = apply
        self._asking: AIOKafkaConsumer | None = None
        self._applied: dict[TopicPartition, int] = {}
        self._partition_of = partitioner(1)
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._told = ""
        self.caught_up = asyncio.Event()
        self.moved_at = time.monotonic()
        self.place = (0, 0)

    def start(self) -> None:
        """Begins to follow; returns at once."""
        self.moved_at = time.monotonic()
        self._task = asyncio.create_task(self._run(), name=f"follow {self._topic}")

    async def stop(self) -> None:
        """Ends following; what was applied stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def reached(self, key: bytes) -> tuple[int, int]:
        """The partition of a key, and how far it is applied: the offset of what comes next."""
        partition = self._partition_of(key)
        return partition, self._applied.get(TopicPartition(self._name, partition), 0)

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when everything is applied that was written before this call, by anybody.

        Raises UnavailableError when that does not come about within `within_s` seconds.
        """
        await current([self], within_s)

    async def _ends(self, of: Sequence[Follower[Any]]) -> dict[TopicPartition, int]:
        """Where the topics of some followers end now; asked on this one's connection."""
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: self._asking is not None)
            applied = {part: at for each in of for part, at in each._applied.items()}
            asking = self._asking
            assert asking is not None  # noqa: S101 (nothing ran since it was waited for)
            ends: dict[TopicPartition, int] = await asking.end_offsets(list(applied))
            if all(applied[part] <= end for part, end in ends.items()):
                return ends
            # A topic was made anew, and is not yet read from its start.
            await asyncio.sleep(_POLL_MS / 1000)

    async def _come_to(self, ends: dict[TopicPartition, int]) -> None:
        own = {part: end for part, end in ends.items() if part.topic == self._name}
        async with self._moved:
            await self._moved.wait_for(lambda: self._behind(own) == 0)

    def _behind(self, ends: dict[TopicPartition, int]) -> int:
        return sum(max(end - self._applied.get(part, 0), 0) for part, end in ends.items())

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (KafkaError, MailwakeError) as error:
                told = str(denied(self._settings, error) or error)
                if told != self._told:
                    log.warning("%s is not followed now: %s", self._topic, told)
                self._told = told
            except Exception:
                log.exception("following %s ended unexpectedly; it begins anew", self._topic)
            await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        """Applies what comes; returns when the topic's partitions are no longer the same."""
        partitions = await partitions_of_topic(self._settings, self._topic)
        async with contextlib.AsyncExitStack() as stack:
            consumer = await self._start(stack)
            # A connection of its own: Kafka answers in order, and reading waits for what may come.
            asking = await self._start(stack)
            ends = await self._take_up(consumer, partitions)
            async with self._moved:
                self._asking = asking
                self._moved.notify_all()
            same = {part.partition for part in partitions}
            try:
                while consumer.partitions_for_topic(partitions[0].topic) == same:
                    await self._step(consumer)
                    if not self.caught_up.is_set() and self._behind(ends) == 0:
                        self.caught_up.set()
            finally:
                self._asking = None

    async def _start(self, stack: contextlib.AsyncExitStack) -> AIOKafkaConsumer:
        consumer = await start_consumer(
            self._settings,
            client_id=f"mailwake-{self._topic}",
            max_poll_records=_AT_ONCE,
            metadata_max_age_ms=_METADATA_MS,
        )
        stack.push_async_callback(stop_client, consumer)
        return consumer

    async def _step(self, consumer: AIOKafkaConsumer) -> None:
        """Applies what came."""
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        for part, records in batches.items():
            for record in records:
                self.place = record.partition, record.offset
                self._take(record.key or b"", record.value)
                self._applied[part] = record.offset + 1
        if batches:
            self.moved_at = time.monotonic()
        async with self._moved:
            for part in self._applied:
                self._applied[part] = await consumer.position(part)
            self._moved.notify_all()
        await asyncio.sleep(0)  # what is fetched already is given without a pause

    async def _take_up(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Begins where following ended last, or at the start; gives where the partitions end."""
        consumer.assign(partitions)
        self._partition_of = partitioner(len(partitions))
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        starts: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        self._applied = {
            part: applied
            if start <= (applied := self._applied.get(part, -1)) <= ends[part]
            else start
            for part, start in starts.items()
        }
        for part, applied in self._applied.items():
            consumer.seek(part, applied)
        if self._told:
            log.info("%s is followed again", self._topic)
            self._told = ""
        return ends

    def _take(self, key: bytes, value: bytes | None) -> None:
        try:
            self._apply(key, None if value is None else self._codec.decode(value))
        except InvalidError as error:
            metrics.FOLLOWED_UNREADABLE.labels(self._topic).inc()
            log.error("a record of %s cannot be read: %s", self._topic, error)


async def current(followers: Sequence[Follower[Any]], within_s: float = 5.0) -> None:
    """Returns when everything is applied that was written to any of their topics before this call;
    Kafka is asked once for all. The followers are of the same Kafka, and of one event loop.

    Raises UnavailableError when that does not come about within `within_s` seconds.
    """
    try:
        async with asyncio.timeout(within_s):
            for follower in followers:
                await follower.caught_up.wait()
            ends = await followers[0]._ends(followers)
            for follower in followers:
                await follower._come_to(ends)
    except (TimeoutError, KafkaError):
        settings = followers[0]._settings
        topics = ", ".join(follower._name for follower in followers)
        raise UnavailableError(
            f"Kafka at {settings.kafka_bootstrap} does not tell what stands in {topics} now; try "
            "again when it answers"
        ) from None
