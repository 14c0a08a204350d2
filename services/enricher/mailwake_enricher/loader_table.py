"""One table's way from records to rows: gathers a batch while those before it are stored.

Few batches are in memory; what comes beyond waits in Kafka, since no further records of the topic
are asked for (`has_room`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic

from mailwake.clickhouse import ClickHouse
from mailwake.errors import MailwakeError
from mailwake.metrics import LOADER_INSERT_SECONDS, LOADER_RETRIES, LOADER_ROWS, LOADER_SKIPPED
from mailwake.removed import Removed
from mailwake_enricher.loader_batch import Batch, Reject, store
from mailwake_enricher.loader_sources import Source, V

log = logging.getLogger("mailwake.loader")

MOST_BYTES = 32 * 1024 * 1024
"""Most record bytes in a batch: a send may be large, so rows alone bound little."""

LANES = 2
"""Inserts on their way at once: while ClickHouse writes one, the next is packed and sent."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
TELL_AGAIN_S = 60.0

Finish = Callable[[Batch[Any], list[Reject]], Awaitable[None]]
"""Called when all rows of a batch are stored, with what gives no row: rejects and commits."""


@dataclass(frozen=True)
class _Lane:
    """A thread and its connection."""

    clickhouse: ClickHouse
    thread: ThreadPoolExecutor


class TableLoader(Generic[V]):
    """Gathers records of one source and stores them, by size or by time.

    `take` and `advance` do not wait: batches are stored in threads, each with a connection of its
    own, and finished in the order in which they were gathered. A keyed source has one such lane,
    since its batches replace and erase each other's rows. As long as ClickHouse is away or refuses
    all, storing goes on trying, and `in_trouble` says so. `moved_at` is the monotonic time when the
    table last had nothing to do, had stored a batch, or had tried to.

    Args:
        connect: makes a client; the connection is made when it is first used.
        rows, seconds: most rows of one insert, longest time they are gathered.
        removed: what must not be stored any more. Before each insert it is asked for all that was
            written there: so nothing that was read after an erasure is stored (decision 13).
    """

    def __init__(
        self,
        source: Source[V],
        connect: Callable[[], ClickHouse],
        finish: Finish,
        rows: int,
        seconds: float,
        removed: Removed | None = None,
    ) -> None:
        self.source = source
        self._removed = removed
        self.in_trouble = False
        self.moved_at = time.monotonic()
        self._finish = finish
        self._most_rows = rows
        self._seconds = seconds
        self._pending: deque[Any] = deque()
        self._batch: Batch[V] | None = None
        self._lanes = [
            _Lane(connect(), ThreadPoolExecutor(1, thread_name_prefix=f"load-{source.name}"))
            for _ in range(1 if source.key else LANES)
        ]
        self._storing: dict[_Lane, asyncio.Task[None]] = {}

    @property
    def has_room(self) -> bool:
        """Whether further records may be taken."""
        return not self._pending

    def take(self, records: list[Any]) -> None:
        """Takes records of one partition, in their order."""
        self._pending.extend(records)

    def advance(self, *, flush: bool = False) -> None:
        """Gathers what is pending, and begins to store a batch that is full or old enough.

        `flush` makes any batch old enough. Raises what ended the storing of a batch before.
        """
        while True:
            full = self._gather()
            for lane, storing in list(self._storing.items()):
                if storing.done():
                    storing.result()
                    del self._storing[lane]
            batch = self._batch
            if batch is None:
                if not self._storing:
                    self.moved_at = time.monotonic()
                return
            # What is old waits for all lanes, so that a slow ClickHouse gets larger inserts.
            old = flush or time.monotonic() - batch.started >= self._seconds
            free = next((lane for lane in self._lanes if lane not in self._storing), None)
            if free is None or not (full or (old and not self._storing)):
                return
            before = next(reversed(self._storing.values()), None)
            self._storing[free] = asyncio.create_task(self._store(batch, free, before))
            self._batch = None

    async def settle(self) -> None:
        """Returns when all that was taken is stored and committed."""
        while True:
            self.advance(flush=True)
            if not self._storing:
                return
            await asyncio.wait(self._storing.values(), return_when=asyncio.FIRST_COMPLETED)

    def forget(self) -> None:
        """Drops what is not stored yet; it was not committed, so Kafka gives it again."""
        self._pending.clear()
        self._batch = None
        for lane, storing in list(self._storing.items()):
            if not storing.done():
                storing.cancel()
                lane.clickhouse.close()  # a thread that waits for an answer gets an error at once
                del self._storing[lane]

    def close(self) -> None:
        """Ends the threads and the connections."""
        for lane in self._lanes:
            lane.thread.submit(lane.clickhouse.close)
            lane.thread.shutdown(wait=False)

    def _gather(self) -> bool:
        """Moves pending records into the batch; says whether it is full."""
        while self._pending:
            batch = self._batch = self._batch or Batch(self.source)
            if batch.full:
                return True
            reading = self.source.read(self._pending[0])
            rows = len(batch.values) + len(reading.values)
            if rows > self._most_rows and batch.values:
                batch.full = True  # this record begins the next one
                continue
            batch.add(self._pending.popleft(), reading)
            batch.full = rows >= self._most_rows or batch.size >= MOST_BYTES
        return bool(self._batch and self._batch.full)

    async def _store(self, batch: Batch[V], lane: _Lane, before: asyncio.Task[None] | None) -> None:
        stored, refused = await self._insert(batch, lane)
        LOADER_ROWS.labels(self.source.name).inc(stored)
        rejects = batch.rejects + refused
        for reject in rejects:
            LOADER_SKIPPED.labels(self.source.name, reject.error.reason).inc()
        if before:
            await before  # offsets are committed up to here only when all before are stored
        await self._finish(batch, rejects)
        self.moved_at = time.monotonic()

    async def _insert(self, batch: Batch[V], lane: _Lane) -> tuple[int, list[Reject]]:
        """Stores the batch, however long ClickHouse is away."""
        name, pause, tell_at, told = self.source.name, FIRST_PAUSE_S, 0.0, ""
        loop = asyncio.get_running_loop()
        while True:
            try:
                if self._removed is not None:
                    await self._removed.follower.current()
                with LOADER_INSERT_SECONDS.labels(name).time():
                    done = await loop.run_in_executor(
                        lane.thread, store, lane.clickhouse, batch, self._most_rows, self._removed
                    )
            except MailwakeError as error:
                self.in_trouble = True
                self.moved_at = time.monotonic()
                LOADER_RETRIES.labels(name).inc()
                if str(error) != told or time.monotonic() >= tell_at:
                    log.warning("%s: waiting to insert %d rows: %s", name, len(batch.values), error)
                    told, tell_at = str(error), time.monotonic() + TELL_AGAIN_S
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
            else:
                if self.in_trouble:
                    log.info("%s: inserting again", name)
                    self.in_trouble = False
                return done
