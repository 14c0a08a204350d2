"""The spool: hits on the edge's own disk until Kafka has acknowledged them.

What is appended in one turn of the event loop is written and synced together, and the next turns'
records gather meanwhile: so one `fdatasync` serves many answers. Kafka is not waited for, nor does
it wait for the disk. Positions only grow: records are read and acknowledged in the
order in which they were appended, and whole segments go as soon as all before them is acknowledged.

appended ──► pending ──► segment files ──► read back, where memory had no room or a process died
                            │
                            └─ deleted up to the last acknowledged position
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, TypeVar

from mailwake.metrics import (
    EDGE_NOT_KEPT,
    EDGE_SPOOL_BYTES,
    EDGE_SPOOL_COMMIT_SECONDS,
    EDGE_SPOOL_DAMAGED,
    EDGE_SPOOL_LIMIT_BYTES,
    EDGE_SPOOLED,
    EDGE_UNSAFE,
)
from mailwake_edge.jobs import WAIT_S, Batch, Entry, Job
from mailwake_edge.segments import Folder, Position, frame, parse
from mailwake_edge.syncs import Syncs

log = logging.getLogger("mailwake.edge")

SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment of this size is followed by another."""
READ_BYTES = 1024 * 1024
"""So much is read back at once."""
PAGE_BYTES = 4096
"""So much is passed over where the disk cannot be read."""
RETRY_S = 1.0
"""After an error of the disk it is tried again so much later."""
COMMIT_S = 0.001
"""Strict: commits begin so far apart at the least. Under load each then serves many answers;
without, none waits."""
SYNC_S = 0.05
"""Relaxed: what was written is synced so often."""
NOTE_S = 0.5
"""How often the acknowledged position is written down, at the most."""

T = TypeVar("T")
Refused = Literal["spool_full", "spool_failed"]
"""Why the spool keeps nothing now."""


class Spool:
    """All calls are made on one event loop; `start` comes first, `close` last.

    In `strict` what was appended is safe when it stands on the disk, otherwise when the system has
    it, which a killed process survives and a power cut does not.
    """

    def __init__(self, folder: Folder, *, most_bytes: int, strict: bool) -> None:
        self._folder = folder
        self._most = most_bytes
        self._strict = strict
        self._thread = ThreadPoolExecutor(1, "spool")
        self._disk = Syncs(self._thread)
        self._pending: list[Entry] = []
        self._waiting: list[Callable[[], None]] = []
        self._job: Job | None = None
        self._began = 0.0
        self._starting: asyncio.TimerHandle | None = None
        self._sync_due = False
        self._syncs = 0
        self._failed_at: float | None = None
        self._changed = asyncio.Event()
        self._open: deque[Batch] = deque()
        self._sizes = {number: folder.size(number) for number in folder.numbers()}
        acknowledged = folder.position()
        last = max(*self._sizes, acknowledged[0], 0)
        self._end: Position = last + 1, 0
        self._written: Position = self._end
        first = min(self._sizes, default=None)
        if first is None:
            self._read: Position | None = None
            self._acknowledged: Position = self._end
        else:
            self._acknowledged = self._read = max(acknowledged, (first, 0))
        self._noting: asyncio.TimerHandle | None = None
        self._delete_read()
        EDGE_SPOOL_BYTES.set_function(lambda: self.size)
        for reason in ("spool_full", "spool_failed", "spool_slow"):  # shown from 0 on
            EDGE_UNSAFE.labels(reason)
        EDGE_SPOOL_LIMIT_BYTES.set(most_bytes)

    @property
    def size(self) -> int:
        """Bytes that stand in segments or are about to."""
        pending = sum(len(entry.data) for entry in self._pending)
        return sum(self._sizes.values()) + pending

    @property
    def failed(self) -> int:
        """How many records that Kafka has not acknowledged are in memory alone."""
        return sum(batch.left for batch in self._open if batch.failed)

    @property
    def has_backlog(self) -> bool:
        """Whether there is something to be read back."""
        return self._read is not None or any(entry.batch is None for entry in self._pending)

    def refuses(self) -> Refused | None:
        """Why it takes nothing now, if so."""
        if self._failed_at is not None and time.monotonic() - self._failed_at < RETRY_S:
            return "spool_failed"
        if self._job is not None and self._job.is_late:
            return "spool_failed"
        return "spool_full" if self.size >= self._most else None

    def append(self, values: Sequence[bytes]) -> Batch:
        """Takes values that are on their way to Kafka at the same time; acknowledge its batch.

        Only while there is no backlog: positions are acknowledged in the order of appending. While
        it refuses, the values are in memory alone, and counted as unsafe.
        """
        batch, refused = Batch(len(values)), self.refuses()
        self._open.append(batch)
        if refused is None:
            self._append(Entry(b"".join(map(frame, values)), len(values), batch))
        else:
            batch.end, batch.failed = self._end, True
            EDGE_UNSAFE.labels(refused).inc(len(values))
        return batch

    def put_aside(self, values: Sequence[bytes]) -> Refused | None:
        """Takes values that are to be read back; says why when it does not."""
        refused = self.refuses()
        if refused is None:
            self._append(Entry(b"".join(map(frame, values)), len(values), None))
        return refused

    def when_safe(self, then: Callable[[], None]) -> None:
        """Calls `then` when all that was appended is safe, or cannot be made so."""
        if self._job is not None and self._job.is_late:
            then()
        elif self._pending:
            self._waiting.append(then)
        elif self._job is not None:
            self._job.waiting.append(then)
        else:
            then()

    async def read(self) -> tuple[list[bytes], Batch] | None:
        """The next values to be read back; None when there are none: what is appended from then on
        is not read back. Damage is passed over and counted."""
        while self.has_backlog:
            if self._read == self._written and not self._pending and self._job is None:
                self._read = None
                break
            if self._read is None or self._read >= self._written:
                self._changed.clear()
                await self._changed.wait()
                continue
            number, at = self._read
            whole = number < self._written[0]
            most = self._sizes.get(number, 0) if whole else self._written[1]
            if at >= most:
                later = [each for each in self._sizes if each > number]
                self._read = min(later, default=self._written[0]), 0
                continue
            values, used = await self._read_some(number, at, most)
            self._read = number, at + used
            batch = Batch(len(values), self._read)
            self._open.append(batch)
            if values:
                return values, batch
            self.acknowledge(())
        return None

    async def _read_some(self, number: int, at: int, most: int) -> tuple[list[bytes], int]:
        """Some records of a segment that ends at `most`, and how many bytes they took."""
        size = READ_BYTES
        while True:
            size = min(size, most - at)
            try:
                data = await self._run(partial(self._folder.read, number, at, size))
            except OSError as error:
                EDGE_SPOOL_DAMAGED.inc()
                log.error("a place of the spool cannot be read, and is passed over: %s", error)
                return [], min(PAGE_BYTES, most - at)
            last = len(data) == most - at or len(data) < size
            parsed = parse(data, last=last)
            if parsed.used or last:
                break
            size *= 2
        if parsed.damaged:
            EDGE_SPOOL_DAMAGED.inc(parsed.damaged)
            log.error("the spool has %s damaged places, which are passed over", parsed.damaged)
        return parsed.values, most - at if last else parsed.used

    def acknowledge(self, batches: Iterable[Batch]) -> None:
        """Kafka has one record more of each of these (one that stands there twice: two)."""
        for batch in batches:
            batch.left -= 1
        self._advance()

    async def close(self) -> None:
        """Writes what is pending, and lets the folder go. What Kafka has not stays there."""
        while self._pending or self._job is not None or self._sync_due or self._syncs:
            self._changed.clear()
            await self._changed.wait()
        if self._noting is not None:
            self._noting.cancel()
        if not self._open and self._read is None:
            await self._run(lambda: self._folder.delete(list(self._sizes)))
        else:
            await self._run(lambda: self._folder.note_position(self._acknowledged))
        self._thread.shutdown()
        self._disk.close()
        self._folder.close()

    def _append(self, entry: Entry) -> None:
        self._pending.append(entry)
        self._start_soon()

    def _start_soon(self) -> None:
        """Sends what is pending on its way, now or a little later."""
        if self._job is not None or self._starting is not None or not self._pending:
            return
        wait = self._began + COMMIT_S - time.monotonic() if self._strict else 0.0
        if wait <= 0:
            self._start()
        else:
            self._starting = asyncio.get_running_loop().call_later(wait, self._start)

    def _start(self) -> None:
        self._starting = None
        job = self._job = Job(self._end, self._pending, self._waiting)
        self._pending, self._waiting = [], []
        self._began = job.began
        self._place(job)
        if self._strict:
            self._make_safe(job)
            return
        try:
            self._write(job)
        except OSError as error:
            self._done(job, error)
        else:
            self._done(job, None)
            if not self._sync_due:
                self._sync_due = True
                asyncio.get_running_loop().call_later(SYNC_S, self._sync)

    def _make_safe(self, job: Job) -> None:
        """Writes and syncs a job; what takes the disk itself is not waited for."""
        loop = asyncio.get_running_loop()
        late = loop.call_later(WAIT_S, self._give_up, job)

        def done(error: BaseException | None) -> None:
            late.cancel()
            self._done(job, error)

        if job.begins_segment:  # opens it, and makes its name safe
            work = loop.run_in_executor(self._thread, self._write_and_sync, job)
            work.add_done_callback(lambda work: done(work.exception()))
            return
        try:
            self._write(job)
        except OSError as error:
            done(error)
        else:
            descriptor = self._folder.descriptor
            assert descriptor is not None  # noqa: S101 (it was just written to)
            self._disk.begin(descriptor, done)

    def _place(self, job: Job) -> None:
        """Says where the entries of a job stand, and gives it the bytes of each segment."""
        (number, start), parts = self._end, list[bytes]()
        at = start
        for entry in job.entries:
            if at >= SEGMENT_BYTES:
                if parts:
                    job.data.append(((number, start), b"".join(parts)))
                number, start, at, parts = number + 1, 0, 0, []
            if entry.batch is None and self._read is None:
                self._read = number, at
            parts.append(entry.data)
            at += len(entry.data)
            if entry.batch is not None:
                entry.batch.end = number, at
        job.data.append(((number, start), b"".join(parts)))
        self._end = number, at
        for (each, _), data in job.data:
            self._sizes[each] = self._sizes.get(each, 0) + len(data)

    def _sync(self) -> None:
        self._sync_due = False
        self._syncs += 1
        if (descriptor := self._folder.descriptor) is None:
            self._synced(None)
        else:
            self._disk.begin(descriptor, self._synced)

    def _synced(self, error: BaseException | None) -> None:
        self._syncs -= 1
        if error is not None:
            self._failed(error)
            self._folder.leave()
            self._end = self._written = self._end[0] + 1, 0
        self._changed.set()

    def _write(self, job: Job) -> None:
        for (number, at), data in job.data:
            if at == 0:
                self._folder.sync()  # of the segment before
            self._folder.write(number, at, data)

    def _write_and_sync(self, job: Job) -> None:
        self._write(job)
        self._folder.sync()

    def _done(self, job: Job, error: BaseException | None) -> None:
        """A job has been done, or has not."""
        self._job = None
        if error is None:
            EDGE_SPOOL_COMMIT_SECONDS.observe(time.monotonic() - job.began)
            EDGE_SPOOLED.inc(sum(entry.count for entry in job.entries))
            self._failed_at = None
            self._written = self._end
        else:
            self._failed(error)
            self._take_back(job)
        waiting, job.waiting = job.waiting, []
        if not self._pending:  # what they wait for was taken back
            waiting += self._waiting
            self._waiting = []
        self._start_soon()
        self._advance()
        self._changed.set()
        for then in waiting:
            then()

    def _failed(self, error: BaseException) -> None:
        if self._failed_at is None:
            log.error("the spool cannot be written: %s. Requests are answered all the same", error)
        self._failed_at = time.monotonic()

    def _take_back(self, job: Job) -> None:
        """The disk did not take a job: what has a batch goes on to Kafka from memory.

        What stands there of it cannot be known; the next job begins a segment of its own.
        """
        aside = [entry for entry in (*job.entries, *self._pending) if entry.batch is None]
        self._pending = [entry for entry in self._pending if entry.batch is not None]
        EDGE_NOT_KEPT.labels("spool_failed").inc(sum(entry.count for entry in aside))
        for entry in job.entries:
            if entry.batch is not None:
                entry.batch.failed = True
                EDGE_UNSAFE.labels("spool_failed").inc(entry.count)
        for (number, _), data in job.data:
            self._sizes[number] -= len(data)
        self._folder.leave()
        self._written = job.start
        self._end = self._end[0] + 1, 0
        if self._read is not None and self._read >= job.start:
            self._read = None

    def _give_up(self, job: Job) -> None:
        """Lets the answers go that wait for a disk that does not answer."""
        if self._job is job and job.waiting:
            EDGE_UNSAFE.labels("spool_slow").inc(sum(entry.count for entry in job.entries))
            log.error("the disk of the spool has not answered for %g s", WAIT_S)
            waiting, job.waiting = job.waiting, []
            for then in waiting:
                then()

    def _advance(self) -> None:
        """Moves the acknowledged position behind all leading batches that Kafka has."""
        moved = False
        while self._open and self._open[0].left == 0 and self._open[0].end is not None:
            self._acknowledged = self._open.popleft().end or self._acknowledged
            moved = True
        if moved:
            self._delete_read()
            if self._noting is None:
                self._noting = asyncio.get_running_loop().call_later(NOTE_S, self._note)

    def _delete_read(self) -> None:
        done = [number for number in self._sizes if number < self._acknowledged[0]]
        for number in done:
            del self._sizes[number]
        if done:
            self._thread.submit(self._folder.delete, done)

    def _note(self) -> None:
        self._noting = None
        position = self._acknowledged
        self._thread.submit(self._folder.note_position, position)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
