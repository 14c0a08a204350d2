"""The order of writing: events, then changelog, then store, then commit.

docs/decisions/0004-write-order.md says why. One loop sends what works have to say, another takes
the leading works whose records Kafka has acknowledged and carries their rows on together, so that a
track that changed in many of them is written once; the agent goes on reading meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from mailwake.metrics import ENRICHER_FLUSH_SECONDS
from mailwake.settings import Settings
from mailwake_enricher.process import Output
from mailwake_enricher.table import Overlay, Row, Tracks

MAX_WORKS = 400
MAX_BYTES = 32 * 1024 * 1024
"""Most works, and most bytes of records, that are read and not yet carried through."""

MAX_ROWS = 4000
"""Most rows that are carried on together: a write to RocksDB holds up the loop for 2 µs a row."""

GATHER_S = 0.003
"""What is said within so long leaves together: the records of one answer of Kafka, one of each
partition, are read one after the other, and a request for each would cost more than the wait
(docs/decisions/0023-the-way-to-the-bell.md)."""


@dataclass(slots=True)
class Work:
    """What one record left to be written.

    Attributes:
        number: grows from work to work.
        outputs: the records that must be safe before the rows are written.
        source: topic and partition to commit in and the offset to commit; None when there is none.
        acks: of the outputs, once they are sent.
    """

    number: int
    partition: int
    rows: list[Row]
    outputs: list[Output]
    source: tuple[TP, int] | None
    size: int
    began: float
    acks: list[asyncio.Future[Any]] | None = None


class Flusher:
    """Carries works through, in order; every call is made on one event loop.

    Attributes:
        committable: topic and partition -> offset up to which (exclusive) all is safe.
    """

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        table: Tracks,
        overlay: Overlay,
        check: Callable[[], None],
    ) -> None:
        """`check` is called before anything is written for good and raises when it must not be.

        That is asked of every request of the producer too: after the process stood still, what lies
        in its batches would overwrite the rows of the worker that has taken over.
        """
        _guard(producer, check)
        self._settings = settings
        self._producer = producer
        self._table = table
        self._overlay = overlay
        self._check = check
        self._works: deque[Work] = deque()
        self._unsent: deque[Work] = deque()
        self._size = 0
        self._number = 0
        self._more = asyncio.Event()
        self._sent = asyncio.Event()
        self._changed = asyncio.Condition()
        self.committable: dict[TP, int] = {}

    @property
    def idle(self) -> bool:
        """Whether everything that was read is carried through."""
        return not self._works

    def next_number(self) -> int:
        """The number of the next work."""
        self._number += 1
        return self._number

    async def room(self) -> None:
        """Waits until a further record may be read."""
        if len(self._works) >= MAX_WORKS or self._size >= MAX_BYTES:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: len(self._works) < MAX_WORKS and self._size < MAX_BYTES
                )

    def add(self, work: Work) -> None:
        """Takes a work up; works are carried through in the order they are added."""
        self._works.append(work)
        self._unsent.append(work)
        self._size += work.size
        self._more.set()

    async def drain(self) -> None:
        """Waits until everything that was added is carried through."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._works)

    def forget(self) -> None:
        """Drops what may be committed: the partitions were taken away."""
        self.committable.clear()

    async def send_on(self) -> None:
        """Sends what works have to say, in their order, until it is cancelled."""
        while True:
            await self._more.wait()
            await asyncio.sleep(GATHER_S)
            self._more.clear()
            while self._unsent:
                work = self._unsent.popleft()
                work.acks = [await self._send(output) for output in work.outputs]
                self._sent.set()

    async def carry_on(self) -> None:
        """Carries works through until it is cancelled. Raises what Kafka or the store raises."""
        while True:
            while not self._works or self._works[0].acks is None:
                self._sent.clear()
                await self._sent.wait()
            await asyncio.gather(*self._works[0].acks)
            works = self._take_safe()
            await self._carry(works)
            for work in works:
                self._works.popleft()
                self._size -= work.size
                if work.source is not None:
                    tp, offset = work.source
                    self.committable[tp] = max(offset, self.committable.get(tp, 0))
                ENRICHER_FLUSH_SECONDS.observe(time.monotonic() - work.began)
            async with self._changed:
                self._changed.notify_all()

    def _take_safe(self) -> list[Work]:
        """The leading works whose records are safe; raises what went wrong with one."""
        works: list[Work] = []
        rows = 0
        for work in self._works:
            if work.acks is None or not all(ack.done() for ack in work.acks):
                break
            for ack in work.acks:
                ack.result()
            rows += len(work.rows)
            if works and rows > MAX_ROWS:
                break
            works.append(work)
        return works

    async def _send(self, output: Output) -> asyncio.Future[Any]:
        """Hands a record to the producer; the future is its acknowledgement."""
        topic = self._settings.topic(output.topic)
        ack: asyncio.Future[Any] = await _patiently(
            lambda: self._producer.send(
                topic,
                output.value,
                key=output.key,
                partition=output.partition,
                headers=output.headers,
            )
        )
        return ack

    async def _carry(self, works: list[Work]) -> None:
        """Writes the last version of each row of some works: changelog, then store."""
        partitions: dict[int, dict[bytes, bytes | None]] = {}
        for work in works:
            if work.rows:
                partitions.setdefault(work.partition, {}).update(work.rows)
        self._check()
        offsets = await asyncio.gather(
            *(self._write_changelog(partition, rows) for partition, rows in partitions.items())
        )
        self._check()
        # Nothing is awaited from here on: a read finds a row in the store or in the overlay.
        for (partition, rows), offset in zip(partitions.items(), offsets, strict=True):
            self._table.write(partition, rows.items(), offset)
            self._overlay.settle(partition, rows, works[-1].number)

    async def _write_changelog(self, partition: int, rows: dict[bytes, bytes | None]) -> int:
        """Sends the lines of a partition's rows; gives the last offset, once all are safe."""
        acks: list[tuple[asyncio.Future[Any], int]] = []
        batch = self._producer.create_batch()
        for key, value in rows.items():
            if batch.append(key=key, value=value, timestamp=None) is None:
                acks.append(await self._send_batch(batch, partition))
                batch = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        acks.append(await self._send_batch(batch, partition))
        last = -1
        for ack, count in acks:
            # -1 for a batch that was sent twice and whose offset the broker no longer knows.
            first = (await ack).offset
            last = max(last, first + count - 1 if first >= 0 else -1)
        return last

    async def _send_batch(self, batch: Any, partition: int) -> tuple[asyncio.Future[Any], int]:
        batch.close()
        count: int = batch.record_count()
        ack = await _patiently(
            lambda: self._producer.send_batch(
                batch, self._table.changelog_topic_name, partition=partition
            )
        )
        return ack, count


def _guard(producer: AIOKafkaProducer, check: Callable[[], None]) -> None:
    send = producer.client.send

    async def checked(*arguments: Any, **more: Any) -> Any:
        check()
        return await send(*arguments, **more)

    producer.client.send = checked


async def _patiently(send: Callable[[], Awaitable[Any]]) -> Any:
    """Tries again when the producer had no room in time: nothing was taken over then."""
    while True:
        try:
            return await send()
        except KafkaTimeoutError:
            continue
