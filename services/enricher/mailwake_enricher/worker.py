"""One worker of the enricher: what it holds in memory, and its tasks.

sends ─┐                    ┌─► events, hits.unmatched, *.rejected
       ├─► Processor ─► Flusher ─► changelog (tracks) ─► RocksDB ─► commit
hits ──┘                    (each step waits for the one before it)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from faust.exceptions import ConsistencyError
from faust.types import TP

from mailwake.errors import ConfigError
from mailwake.ids import now_ms
from mailwake.logs import about
from mailwake.metrics import (
    COMMITTED_AT,
    DELAY_SECONDS,
    ENRICHER_DROPPED,
    ENRICHER_EVENTS,
    ENRICHER_JOIN_WAIT_SECONDS,
    ENRICHER_READ,
    ENRICHER_RECLASSIFIED,
    ENRICHER_REJECTED,
    ENRICHER_REVISIONS,
    ENRICHER_UNMATCHED,
    ENRICHER_WAITING,
)
from mailwake.service import Status
from mailwake.settings import Settings
from mailwake.topics import registry
from mailwake.tracing import OFF, Tracing
from mailwake.track import TRACK
from mailwake_enricher.app import SESSION_TIMEOUT_S, make_app, make_channel, make_table
from mailwake_enricher.decide import Rules, is_over
from mailwake_enricher.flusher import Flusher, Work
from mailwake_enricher.offsets import EnricherError, Offsets
from mailwake_enricher.process import Processor, Record, Result
from mailwake_enricher.rules import RuleSet
from mailwake_enricher.table import Overlay
from mailwake_enricher.waiting import Waiting, may_wait

READS = ("sends", "hits", "reclassified", "removals")
"""The topics it reads, beside its changelog."""

COMMIT_EVERY_S = 0.5
RELEASE_S = 10.0
"""How long in-flight works may take to be carried through when partitions are taken away."""

STALL_S = 120.0
"""Without progress for so long, though there is work, the worker says it is unhealthy."""

SWEEP_EVERY_S = 86_400.0
"""How often the table is looked through for tracks that have lived their time."""

_PAGE = 500

_ENRICHED = DELAY_SECONDS.labels("enriched")

log = logging.getLogger("mailwake.enricher")


class Enricher:
    """One worker: the app, what it holds in memory, and its tasks.

    Everything runs on one event loop. `_turn` lets one record (or expiry) at a time decide, so that
    works are queued in the order in which they changed the tracks.
    """

    def __init__(
        self,
        settings: Settings,
        meaning: RuleSet,
        status: Status,
        producer: AIOKafkaProducer,
        partitions: int,
        clock: Callable[[], int] = now_ms,
        tracing: Tracing = OFF,
    ) -> None:
        """`partitions` is the number that the co-partitioned topics have; `clock` gives ms."""
        self._settings = settings
        self._tracing = tracing
        self._status = status
        self._clock = clock
        self._rules = Rules(
            repeat_window_ms=settings.repeat_window_s * 1000,
            return_ms=settings.return_s * 1000,
            join_wait_ms=settings.join_wait_s * 1000,
            keep_ms=int(registry()["tracks"].config["retention.ms"]),
            meaning=meaning,
        )
        self.app = make_app(settings)
        self.table = make_table(self.app, settings)
        self.table.on_recovered = self._take_over
        self._overlay = Overlay(self.table)
        self._processor = Processor(self._rules, partitions, self._overlay.load)
        self._flusher = Flusher(settings, producer, self.table, self._overlay, self._check_alive)
        self._waiting = Waiting(self._rules)
        self._names = {settings.topic(name): name for name in READS}
        self._offsets = Offsets(self.app, settings, self._names, self._flusher.committable)
        self._turn = asyncio.Lock()
        self._owned: set[int] = set()
        self._epoch = 0
        self._alive_at = time.monotonic()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scan: asyncio.Task[None] | None = None
        self.app.on_partitions_revoked.connect(self._on_revoked)
        self.app.agent(make_channel(self.app, self._names), name="enrich")(self._enrich)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then ends cleanly. Raises what made it impossible to go on."""
        tasks = [
            self._start_task(step)
            for step in (
                self._flusher.send_on,
                self._flusher.carry_on,
                self._commit_often,
                self._expire_often,
                self._watch,
            )
        ]
        starting = asyncio.create_task(self.app.start())
        stopped = asyncio.create_task(stop.wait())
        crashed = asyncio.create_task(self.app._crashed.wait())
        try:
            await asyncio.wait(
                (stopped, crashed, self._failed), return_when=asyncio.FIRST_COMPLETED
            )
            if not self._failed.done() and not crashed.done():
                await self._release()
        finally:
            self._status.ready = False
            for task in (*tasks, stopped, crashed):
                task.cancel()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.app.stop(), RELEASE_S)
            starting.cancel()
            await asyncio.gather(*tasks, starting, stopped, crashed, return_exceptions=True)
        if self._failed.done():
            self._failed.result()
        if crashed.done() and not crashed.cancelled():
            if isinstance(self.app.crash_reason, ConsistencyError):
                raise ConfigError(
                    f"MAILWAKE_STATE {self._settings.state} holds more than the topic "
                    f"{self.table.changelog_topic_name} in Kafka, so one of them is not the other's"
                    "; name the right folder, or delete it to have it filled from Kafka"
                )
            reason = self.app.crash_reason
            raise EnricherError(f"Faust ended: {reason!r}") from reason

    def _start_task(self, step: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await step()
            except Exception as error:
                self._fail(error)

        return asyncio.create_task(guarded())

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    # Reading

    async def _enrich(self, stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await self._handle(event.message, self._epoch)
            except Exception as error:
                # Going on would leave a gap behind: the process ends, Kafka redelivers.
                self._fail(error)
                await asyncio.Event().wait()

    async def _handle(self, message: Any, epoch: int) -> None:
        await self._flusher.room()
        async with self._turn:
            if epoch != self._epoch or message.partition not in self._owned:
                return  # taken away meanwhile; whoever has the partition now reads it again
            tp = TP(message.topic, message.partition)
            if not await self._offsets.is_next(tp, message.offset):
                return
            value = message.value or b""
            record = Record(
                self._names[message.topic], message.partition, message.offset, message.key, value
            )
            headers = message.headers
            with self._tracing.span(record.topic, "consumer", headers, offset=record.offset):
                result = self._processor.process(record)
                ENRICHER_READ.labels(record.topic).inc(result.read)
                self._submit(record.partition, result, (tp, message.offset + 1), len(value))
            self._offsets.handled(tp, message.offset)

    def _submit(
        self, partition: int, result: Result, source: tuple[TP, int] | None, size: int
    ) -> None:
        began = time.monotonic()
        number = self._flusher.next_number()
        self._overlay.put(partition, number, result.tracks)
        for message_id, track in result.tracks.items():
            self._waiting.note(partition, message_id, track)
        headers = self._tracing.headers()
        for output in result.outputs if headers else ():
            output.headers.extend(headers)
        self._flusher.add(Work(number, partition, result.rows, result.outputs, source, size, began))
        _count(result, self._clock())

    # Partitions come and go

    async def _take_over(self, partitions: set[int]) -> None:
        """Faust has recovered the table; its streams go on when this returns.

        A worker that was given nothing stands by, with copies of the tracks of others, and is as
        ready as any: an orchestrator that replaces one after the other would wait for it for ever.

        Faust now resumes the partitions, seeks them, and resumes its flow, which clears the queues:
        what its fetcher put there in between would be lost. With the flow suspended it waits.
        """
        self.app.flow_control.suspend()
        try:
            if not await self._offsets.seek_uncommitted(partitions):
                log.info("the group was shared out anew before its partitions were taken over")
                return
        except Exception as error:  # Faust would pass over it
            self._fail(error)
            return
        self._owned = partitions
        if self._scan is not None:
            self._scan.cancel()
        self._scan = self._start_task(self._look_through)
        self._status.progressed()
        self._status.ready = True
        log.info("has partitions %s", ",".join(map(str, sorted(partitions))) or "none")

    async def _on_revoked(self, *_: object, **__: object) -> None:
        try:
            await self._release()
        except Exception as error:
            self._fail(error)

    async def _release(self) -> None:
        """Carries through what is in flight, commits it and forgets the partitions.

        Raises EnricherError when that takes too long: what is in flight must not be written after
        another worker has taken over, and nothing but the end of the process makes sure of that.
        """
        self._status.ready = False
        self._epoch += 1
        self._owned = set()
        try:
            async with asyncio.timeout(RELEASE_S):
                async with self._turn:
                    # From here on nothing is taken. The scan must not hold the store open.
                    if self._scan is not None:
                        self._scan.cancel()
                        await asyncio.gather(self._scan, return_exceptions=True)
                await self._flusher.drain()
                await self._commit()
        except TimeoutError:
            raise EnricherError(
                f"partitions were taken away and Kafka took nothing for {RELEASE_S:g} s"
            ) from None
        self._flusher.forget()
        self._offsets.forget()
        self._overlay.clear()
        self._waiting.clear()

    async def _look_through(self) -> None:
        """Looks through the table, a page at a time: at once for the tracks that wait for their
        send, and every day for those that are over.
        """
        for partition in sorted(self._owned):
            for page in _pages(self.table.scan(partition)):
                waiting = [key.decode() for key, row in page if may_wait(row)]
                # A row may have changed since the scan began: what it is now is asked.
                for message_id, track in self._overlay.load(partition, waiting).items():
                    self._waiting.note(partition, message_id, track)
                await asyncio.sleep(0)
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            for partition in sorted(self._owned):
                for page in _pages(self.table.scan(partition)):
                    now = self._clock()
                    over = [
                        key.decode()
                        for key, row in page
                        if is_over(TRACK.decode(row), now, self._rules)
                    ]
                    await self._expire(partition, over)
                    await asyncio.sleep(0)

    # Tasks

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit()
            self._offsets.measure(self._owned)

    async def _commit(self) -> None:
        if await self._offsets.commit():
            self._status.progressed()
            COMMITTED_AT.set_to_current_time()

    async def _expire_often(self) -> None:
        while True:
            await asyncio.sleep(min(10.0, self._rules.join_wait_ms / 4000))
            ENRICHER_WAITING.set(len(self._waiting))
            due = self._waiting.due(self._clock())
            if not due:
                continue
            # Only where all sends are read: after a day's outage hits are a day old before the
            # sends beside them are.
            sends = self._settings.topic("sends")
            for partition in await self._offsets.caught_up(sends, due):
                for first in range(0, len(due[partition]), _PAGE):
                    await self._expire(partition, due[partition][first : first + _PAGE])

    async def _expire(self, partition: int, message_ids: list[str]) -> None:
        if not message_ids:
            return
        await self._flusher.room()
        async with self._turn:
            if partition in self._owned:
                result = self._processor.expire(partition, message_ids, self._clock())
                self._submit(partition, result, None, 0)

    async def _watch(self) -> None:
        """Notes that the process lives, and progress where no commit shows it."""
        self._status.stall_s = STALL_S
        recovery = cast(Any, self.app.tables).recovery
        remaining = -1
        while True:
            self._check_alive()
            self._alive_at = time.monotonic()
            left = recovery.active_remaining_total() if recovery.in_recovery else 0
            if left != remaining or (
                self._flusher.idle and not self._offsets.is_behind(self._owned)
            ):
                self._status.progressed()
            remaining = left
            await asyncio.sleep(1)

    def _check_alive(self) -> None:
        """Raises EnricherError when this process stood still for longer than its session.

        Another worker has its partitions then, and what is still in flight here must not be
        written over what that one wrote.
        """
        still = time.monotonic() - self._alive_at
        if still > SESSION_TIMEOUT_S:
            raise EnricherError(f"stood still for {still:.0f} s, longer than its session")


def _pages(rows: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    while page := list(islice(rows, _PAGE)):
        yield page


def _count(result: Result, now: int) -> None:
    ENRICHER_REVISIONS.inc(result.revisions)
    if result.oldest:
        _ENRICHED.observe(max(0, now - result.oldest) / 1000)
    if log.isEnabledFor(logging.DEBUG):
        for event in result.told:
            fields = about(hit_id=event.hit_id, event_id=event.event_id, revision=event.revision)
            log.debug("an event, %s", event.verdict, extra=fields)
    for seen in result.joined:
        ENRICHER_JOIN_WAIT_SECONDS.observe(max(0, now - seen) / 1000)
    for (kind, verdict), count in result.events.items():
        ENRICHER_EVENTS.labels(kind, verdict).inc(count)
    for drop, count in result.drops.items():
        ENRICHER_DROPPED.labels(drop).inc(count)
    for (topic, reject), count in result.rejects.items():
        ENRICHER_REJECTED.labels(topic, reject).inc(count)
    for unmatched, count in result.unmatched.items():
        ENRICHER_UNMATCHED.labels(unmatched).inc(count)
    for taken, count in result.taken_over.items():
        ENRICHER_RECLASSIFIED.labels(taken).inc(count)
