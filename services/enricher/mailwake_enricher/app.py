"""The Faust app: one agent over `sends` and `hits`, one table.

    sends ─┐                    ┌─► events, hits.unmatched, *.rejected
           ├─► Processor ─► Flusher ─► changelog (tracks) ─► RocksDB ─► commit
    hits ──┘                    (each step waits for the one before it)

Offsets are committed here, not by Faust's acknowledgements: while it rebalances, Faust's stream
acknowledges events that it skips, and its commit may step over one offset that was not
acknowledged (faust-streaming 0.15, `Stream._py_aiter` and `Consumer._new_offset`). The topics are
read with `acks=False` therefore, and what the flusher carried through is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from mailwake.ids import now_ms
from mailwake.metrics import (
    COMMITTED_AT,
    ENRICHER_DROPPED,
    ENRICHER_EVENTS,
    ENRICHER_READ,
    ENRICHER_REJECTED,
    ENRICHER_UNMATCHED,
    ENRICHER_WAITING,
)
from mailwake.service import Status
from mailwake.settings import Settings
from mailwake_enricher.decide import Rules
from mailwake_enricher.flusher import Flusher, Work
from mailwake_enricher.gap import first_record
from mailwake_enricher.process import Processor, Record, Result
from mailwake_enricher.table import Overlay, Tracks
from mailwake_enricher.waiting import Waiting, may_wait

SESSION_TIMEOUT_S = 15.0
COMMIT_EVERY_S = 0.5
RELEASE_S = 10.0
"""How long in-flight works may take to be carried through when partitions are taken away."""

STALL_S = 120.0
"""Without progress for so long, though there is work, the worker says it is unhealthy."""

_SCAN_ROWS = 2000

log = logging.getLogger("mailwake.enricher")


class EnricherError(RuntimeError):
    """The worker cannot go on safely; the process ends and Kafka redelivers."""


def make_app(settings: Settings) -> faust.App:
    """The Faust app with our settings; it reads and creates nothing yet."""
    return faust.App(
        settings.topic_prefix + "enricher",
        broker=f"kafka://{settings.kafka_bootstrap.replace(',', ';kafka://')}",
        datadir=settings.state,
        store="rocksdb://",
        Table=Tracks,
        processing_guarantee="at_least_once",
        web_enabled=False,
        canonical_url=f"http://enricher-{settings.worker}",
        producer_threaded=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_group_instance_id=f"enricher-{settings.worker}",
        consumer_auto_offset_reset="earliest",
        broker_client_id=f"mailwake-enricher-{settings.worker}",
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=SESSION_TIMEOUT_S / 5,
        broker_commit_interval=1.0,
        # A record may have 1 MiB: what lies in the queue must stay in bounds.
        stream_buffer_maxsize=256,
        # Faust has nothing to wait for (acks=False); the flusher is drained instead.
        stream_wait_empty=False,
        table_standby_replicas=1,
    )


def make_table(app: faust.App, settings: Settings) -> Tracks:
    """The `tracks` table of the app; its changelog topic stands already."""
    changelog = app.topic(
        settings.topic("tracks"),
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        acks=False,
        internal=True,
        allow_empty=True,
        maxsize=131_072,
    )
    table = app.Table(
        "tracks",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=changelog,
        recovery_buffer_size=10_000,
        standby_buffer_size=1_000,
        options={
            "driver": "rocksdict",
            "block_cache_size": 64 * 1024 * 1024,
            "write_buffer_size": 32 * 1024 * 1024,
            # Never "ttl": rocksdict 0.3.29 puts two filters on top of each other, and the inner
            # one takes the last bytes of a row for its time; the first compaction loses rows.
        },
    )
    return cast(Tracks, table)


class Enricher:
    """One worker: the app, what it holds in memory, and its tasks.

    Everything runs on one event loop. `_turn` lets one record (or expiry) at a time decide and
    send, so that works are queued in the order in which they changed the tracks.
    """

    def __init__(
        self,
        settings: Settings,
        status: Status,
        producer: AIOKafkaProducer,
        partitions: int,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """`partitions` is the number that the co-partitioned topics have; `clock` gives ms."""
        self._settings = settings
        self._status = status
        self._clock = clock
        self._rules = Rules(
            repeat_window_ms=settings.repeat_window_s * 1000,
            join_wait_ms=settings.join_wait_s * 1000,
        )
        self.app = make_app(settings)
        self.table = make_table(self.app, settings)
        self.table.on_recovered = self._take_over
        self._overlay = Overlay(self.table)
        self._processor = Processor(self._rules, partitions, self._overlay.load)
        self._flusher = Flusher(settings, producer, self.table, self._overlay, self._check_alive)
        self._waiting = Waiting(self._rules)
        self._names = {settings.topic(name): name for name in ("sends", "hits")}
        self._turn = asyncio.Lock()
        self._owned: set[int] = set()
        self._epoch = 0
        self._next: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._alive_at = time.monotonic()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scan: asyncio.Task[None] | None = None
        self.app.on_partitions_revoked.connect(self._on_revoked)
        # Raw: with a key or value type alone Faust would read JSON, and drop what is none.
        channel = self.app.topic(
            *self._names,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
            acks=False,
        )
        self.app.agent(channel, name="enrich")(self._enrich)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then ends cleanly. Raises what made it impossible to go on."""
        tasks = [
            self._start_task(step)
            for step in (self._flusher.run, self._commit_often, self._expire_often, self._watch)
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
            raise EnricherError(f"Faust ended: {self.app.crash_reason!r}")

    def _start_task(self, step: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await step()
            except Exception as error:
                self._fail(error)

        return asyncio.create_task(guarded())

    def _consumer(self) -> Any:
        """Faust's consumer; what we ask of it is not in its declared interface."""
        return self.app.consumer

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
            if not await self._is_next(tp, message.offset):
                return
            value = message.value or b""
            record = Record(
                self._names[message.topic], message.partition, message.offset, message.key, value
            )
            result = self._processor.process(record)
            ENRICHER_READ.labels(record.topic).inc(result.read)
            await self._submit(record.partition, result, (tp, message.offset + 1), len(value))
            self._next[tp] = message.offset + 1

    async def _is_next(self, tp: TP, offset: int) -> bool:
        """Whether a record is the next of its partition; False when it was handled already.

        Raises EnricherError when one was left out: Faust drops what its fetcher puts into a queue
        while a rebalance clears it, and reads on behind.
        """
        expected = self._next.get(tp) or self._consumer()._committed_offset.get(tp) or 0
        if offset > expected:
            left_out = await first_record(self._settings, tp.topic, tp.partition, expected, offset)
            if left_out is not None:
                raise EnricherError(
                    f"{tp.topic}/{tp.partition}: record {offset} came where {left_out} was next"
                )
        return offset >= expected

    async def _submit(
        self, partition: int, result: Result, source: tuple[TP, int] | None, size: int
    ) -> None:
        began = time.monotonic()
        number = self._flusher.next_number()
        self._overlay.put(partition, number, result.tracks)
        for message_id, track in result.tracks.items():
            self._waiting.note(partition, message_id, track)
        acks = [await self._flusher.send(output) for output in result.outputs]
        self._flusher.add(Work(number, partition, result.rows, acks, source, size, began))
        _count(result)

    # Partitions come and go

    async def _take_over(self, partitions: set[int]) -> None:
        """Faust has recovered the table; its streams go on when this returns.

        Faust now resumes the partitions, seeks them, and resumes its flow, which clears the queues:
        what its fetcher put there in between would be lost. With the flow suspended it waits.
        """
        self.app.flow_control.suspend()
        self._owned = partitions
        self._scan = self._start_task(self._find_waiting)
        self._status.progressed()
        self._status.ready = bool(partitions)
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
        if self._scan is not None:
            self._scan.cancel()
        try:
            async with asyncio.timeout(RELEASE_S):
                async with self._turn:
                    pass
                await self._flusher.drain()
                await self._commit()
        except TimeoutError:
            raise EnricherError(
                f"partitions were taken away and Kafka took nothing for {RELEASE_S:g} s"
            ) from None
        self._flusher.forget()
        self._next.clear()
        self._committed.clear()
        self._overlay.clear()
        self._waiting.clear()

    async def _find_waiting(self) -> None:
        """Fills the index of waiting tracks from the table, a little at a time."""
        epoch = self._epoch
        for partition in sorted(self._owned):
            for count, (key, row) in enumerate(self.table.scan(partition)):
                if may_wait(row):
                    message_id = key.decode()
                    # The row may have changed since the scan began.
                    track = self._overlay.load(partition, [message_id])[message_id]
                    self._waiting.note(partition, message_id, track)
                if count % _SCAN_ROWS == _SCAN_ROWS - 1:
                    await asyncio.sleep(0)
                    if epoch != self._epoch:
                        return

    # Tasks

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit()

    async def _commit(self) -> None:
        offsets = {
            tp: offset
            for tp, offset in self._flusher.committable.items()
            if self._committed.get(tp) != offset
        }
        if offsets and await self._consumer()._commit(offsets):
            self._committed |= offsets
            self._status.progressed()
            COMMITTED_AT.set_to_current_time()

    async def _expire_often(self) -> None:
        while True:
            await asyncio.sleep(min(10.0, self._rules.join_wait_ms / 4000))
            ENRICHER_WAITING.set(len(self._waiting))
            due = self._waiting.due(self._clock())
            if not due:
                continue
            epoch = self._epoch
            caught_up = await self._caught_up(set(due))
            for partition in caught_up & due.keys():
                for first in range(0, len(due[partition]), _SCAN_ROWS):
                    await self._flusher.room()
                    async with self._turn:
                        if epoch != self._epoch:
                            break
                        messages = due[partition][first : first + _SCAN_ROWS]
                        result = self._processor.expire(partition, messages, self._clock())
                        await self._submit(partition, result, None, 0)

    async def _caught_up(self, partitions: set[int]) -> set[int]:
        """Those partitions whose sends are read to the end: only there may a hit be given up.

        After a day's outage hits are a day old before the sends beside them are read.
        """
        consumer = self._consumer()
        topic = self._settings.topic("sends")
        tps = {TP(topic, partition) for partition in partitions}
        ends = await consumer.highwaters(*tps)
        starts = await consumer.earliest_offsets(*tps)
        return {
            tp.partition
            for tp in tps
            if max(
                self._flusher.committable.get(tp, 0),
                consumer._committed_offset.get(tp) or 0,
                starts.get(tp) or 0,
            )
            >= (ends.get(tp) or 0)
        }

    async def _watch(self) -> None:
        """Notes that the process lives, and progress where no commit shows it."""
        self._status.stall_s = STALL_S
        recovery = cast(Any, self.app.tables).recovery
        remaining = -1
        while True:
            self._check_alive()
            self._alive_at = time.monotonic()
            left = recovery.active_remaining_total() if recovery.in_recovery else 0
            if left != remaining or (self._flusher.idle and not self._behind()):
                self._status.progressed()
            remaining = left
            await asyncio.sleep(1)

    def _behind(self) -> bool:
        """Whether records lie in Kafka that were not carried through."""
        consumer = self._consumer()
        for topic in self._names:
            for partition in self._owned:
                tp = TP(topic, partition)
                done = max(
                    self._flusher.committable.get(tp, 0), consumer._committed_offset.get(tp) or 0
                )
                if (consumer.highwater(tp) or 0) > done:
                    return True
        return False

    def _check_alive(self) -> None:
        """Raises EnricherError when this process stood still for longer than its session.

        Another worker has its partitions then, and what is still in flight here must not be
        written over what that one wrote.
        """
        still = time.monotonic() - self._alive_at
        if still > SESSION_TIMEOUT_S:
            raise EnricherError(f"stood still for {still:.0f} s, longer than its session")


def _count(result: Result) -> None:
    for (kind, verdict), count in result.events.items():
        ENRICHER_EVENTS.labels(kind, verdict).inc(count)
    for drop, count in result.drops.items():
        ENRICHER_DROPPED.labels(drop).inc(count)
    for (topic, reject), count in result.rejects.items():
        ENRICHER_REJECTED.labels(topic, reject).inc(count)
    for unmatched, count in result.unmatched.items():
        ENRICHER_UNMATCHED.labels(unmatched).inc(count)
