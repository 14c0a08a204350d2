"""One table's way from records to rows: gathers a batch while the one before it is stored.

At most two batches are in memory; what comes beyond waits in Kafka, since no further records of the
topic are asked for (`has_room`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic

from mailwake.clickhouse import ClickHouse
from mailwake.errors import MailwakeError
from mailwake.metrics import LOADER_INSERT_SECONDS, LOADER_RETRIES, LOADER_ROWS, LOADER_SKIPPED
from mailwake_enricher.loader_batch import Batch, Reject, store
from mailwake_enricher.loader_sources import Source, V

log = logging.getLogger("mailwake.loader")

MOST_BYTES = 32 * 1024 * 1024
"""Most record bytes in a batch: a send may be large, so rows alone bound little."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
TELL_AGAIN_S = 60.0

Finish = Callable[[Batch[Any], list[Reject]], Awaitable[None]]
"""Called when all rows of a batch are stored, with what gives no row: rejects and commits."""


class TableLoader(Generic[V]):
    """Gathers records of one source and stores them, by size or by time.

    `take` and `advance` do not wait; batches are stored one after the other, in a thread with a
    ClickHouse connection of its own. As long as ClickHouse is away or refuses all, storing goes on
    trying, and `in_trouble` says so. `moved_at` is the monotonic time when the table last had
    nothing to do, had stored a batch, or had tried to.
    """

    def __init__(
        self, source: Source[V], clickhouse: ClickHouse, finish: Finish, rows: int, seconds: float
    ) -> None:
        self.source = source
        self.in_trouble = False
        self.moved_at = time.monotonic()
        self._clickhouse = clickhouse
        self._finish = finish
        self._most_rows = rows
        self._seconds = seconds
        self._pending: deque[Any] = deque()
        self._batch: Batch[V] | None = None
        self._storing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"load-{source.name}")

    @property
    def has_room(self) -> bool:
        """Whether further records may be taken."""
        return not self._pending

    def take(self, records: list[Any]) -> None:
        """Takes records of one partition, in their order."""
        self._pending.extend(records)

    def advance(self, *, flush: bool = False) -> None:
        """Gathers what is pending, and begins to store a batch that is full or old enough.

        `flush` makes any batch old enough. Raises what ended the storing of the batch before.
        """
        while True:
            full = self._gather()
            batch = self._batch
            if self._storing and self._storing.done():
                self._storing.result()
                self._storing = None
            if not batch and not self._storing:
                self.moved_at = time.monotonic()
            old = batch and (flush or time.monotonic() - batch.started >= self._seconds)
            if batch is None or self._storing or not (full or old):
                return
            self._batch = None
            self._storing = asyncio.create_task(self._store(batch))

    async def settle(self) -> None:
        """Returns when all that was taken is stored and committed."""
        while True:
            self.advance(flush=True)
            if self._storing is None:
                return
            await asyncio.wait({self._storing})

    def forget(self) -> None:
        """Drops what is not stored yet; it was not committed, so Kafka gives it again."""
        self._pending.clear()
        self._batch = None
        if self._storing and not self._storing.done():
            self._storing.cancel()
            self._clickhouse.close()  # a thread that waits for an answer gets an error at once
            self._storing = None

    def close(self) -> None:
        """Ends the thread and the connection."""
        self._thread.submit(self._clickhouse.close)
        self._thread.shutdown(wait=False)

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

    async def _store(self, batch: Batch[V]) -> None:
        name, pause, tell_at, told = self.source.name, FIRST_PAUSE_S, 0.0, ""
        loop = asyncio.get_running_loop()
        while True:
            try:
                with LOADER_INSERT_SECONDS.labels(name).time():
                    stored, refused = await loop.run_in_executor(
                        self._thread, store, self._clickhouse, batch, self._most_rows
                    )
                break
            except MailwakeError as error:
                self.in_trouble = True
                self.moved_at = time.monotonic()
                LOADER_RETRIES.labels(name).inc()
                if str(error) != told or time.monotonic() >= tell_at:
                    log.warning("%s: waiting to insert %d rows: %s", name, len(batch.values), error)
                    told, tell_at = str(error), time.monotonic() + TELL_AGAIN_S
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
        if self.in_trouble:
            log.info("%s: inserting again", name)
            self.in_trouble = False
        LOADER_ROWS.labels(name).inc(stored)
        rejects = batch.rejects + refused
        for reject in rejects:
            LOADER_SKIPPED.labels(name, reject.error.reason).inc()
        await self._finish(batch, rejects)
        self.moved_at = time.monotonic()
