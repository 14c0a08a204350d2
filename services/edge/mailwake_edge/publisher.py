"""From the edge to Kafka: hits gathered by partition, published in batches, in order.

A hit is appended to the spool (`mailwake_edge.spool`), where it stays until Kafka has it, and goes
through two queues in memory. `put` leaves it in the inbox; a moment later (the linger) the inbox is
dealt to lanes, one a partition. When there is no room in memory, hits stand in the spool alone, and
are read back from there, in their order, when there is room again; so are those that a process
before this one left. A lane has one record on its way at a time, and takes the next
when Kafka has acknowledged that one. So within a partition no hit overtakes another, whatever
fails and is sent again, and the enricher's memory of seen hits rests on that. Kafka being slow
makes the records larger, not more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from mailwake.contracts import HIT, Hit
from mailwake.errors import MailwakeError
from mailwake.ids import now_ms, partitions_of
from mailwake.kafka import stop_client
from mailwake.kafka_security import denied
from mailwake.metrics import (
    EDGE_NOT_KEPT,
    EDGE_OLDEST_SECONDS,
    EDGE_PRODUCE_SECONDS,
    EDGE_PRODUCED,
    EDGE_QUEUED,
    EDGE_SPOOL_DAMAGED,
    EDGE_SPOOL_READ,
)
from mailwake.settings import Settings
from mailwake.tracing import OFF, Headers, Tracing
from mailwake_edge.jobs import Batch
from mailwake_edge.spool import Spool

log = logging.getLogger("mailwake.edge")

RETRY_S = 1.0
"""Pause before Kafka is tried again."""
DRAIN_S = 10.0
"""At the end, what is held has so long to reach Kafka."""
NOT_KEPT = ("spool_full", "spool_failed", "too_large", "stopped")
"""Why hits that were answered are not kept."""
_CLOSE_S = 2.0
_FOLLOW_S = 10.0
_RETIRE_S = 300.0
_ROOM_S = 0.02
_DEALT_AT_ONCE = 500  # about 2 ms of work; answers go on in between
_RECORD_BYTES = 900_000  # below the producer's 1 MiB, with what the record has around it


class Producer(Protocol):
    """What is needed of an AIOKafkaProducer."""

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic."""

    async def send(
        self, topic: str, value: bytes, *, key: bytes, partition: int, headers: Headers | None
    ) -> Awaitable[object]:
        """Sends a record; what it gives is done when Kafka has acknowledged it."""

    async def stop(self) -> None:
        """Ends when what was sent is acknowledged."""


_Held = tuple[str, int, bytes, Batch]
"""A hit that waits: message_id, when it was seen, the hit as JSON, and its place in the spool."""


class _Key(msgspec.Struct):
    """What publishing needs to know of a hit."""

    message_id: str
    at: int


class _Id(msgspec.Struct):
    """What tracing needs to know of a hit."""

    hit_id: str


_KEY = msgspec.json.Decoder(_Key)
_ID = msgspec.json.Decoder(_Id)


@dataclass(slots=True)
class _Lane:
    """One partition: the hits that wait, and the task that sends them while there are any.

    Attributes:
        oldest: when the first hit of the record on its way was seen, in milliseconds; 0 when there
            is none.
    """

    partition: int
    oldest: int = 0
    hits: list[_Held] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None


class Publisher:
    """Publishes hits to Kafka; holds at most `settings.edge_queue_hits` in memory.

    `start`, then `put` as often as there are hits, then `stop`; all on one event loop. `connect`
    gives a started producer, or raises UnavailableError. Kafka may be away at any time: hits wait.
    What cannot be kept is counted by reason: spool_full and spool_failed (and there was no room in
    memory, or what stood in the spool had to go first), too_large (a hit that the broker takes in
    no record), stopped (held in memory alone when the edge ended).
    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Awaitable[Producer]],
        spool: Spool,
        tracing: Tracing = OFF,
    ) -> None:
        self._settings = settings
        self._topic = settings.topic("hits")
        self._complaint = ""
        self._linger_s = settings.edge_linger_ms / 1000
        self._batch = settings.edge_batch_hits
        self._most = settings.edge_queue_hits
        self._connect = connect
        self._spool = spool
        self._tracing = tracing
        self._reading = False
        self._held = 0
        self._inbox: list[_Held] = []
        self._lanes: list[_Lane] = []
        self._partitions = 0
        self._dealing: asyncio.Handle | None = None
        self._producer: Producer | None = None
        self._connecting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        for reason in NOT_KEPT:  # from 0 on, so that Prometheus sees the first one
            EDGE_NOT_KEPT.labels(reason)
        EDGE_QUEUED.set_function(lambda: self._held)
        EDGE_OLDEST_SECONDS.set_function(self._oldest_s)

    @property
    def held(self) -> int:
        """How many hits Kafka has not acknowledged yet."""
        return self._held

    def _oldest_s(self) -> float:
        """The age of the oldest hit in memory; those that stand in the spool alone are younger.

        Called by the thread that answers Prometheus: it looks at what may change meanwhile.
        """
        seen = [lane.oldest for lane in self._lanes if lane.oldest]
        seen += [hit[1] for hit in self._inbox[:1]]
        return max(0, now_ms() - min(seen)) / 1000 if seen else 0.0

    def start(self) -> None:
        """Begins to connect; hits can be put from now on."""
        self._spawn(self._follow_partitions())
        if self._spool.has_backlog:
            log.info("the spool holds hits from before; they go first")
            self._read_back()

    def put(self, hits: Sequence[Hit], then: Callable[[], None]) -> None:
        """Takes hits, and calls `then` when they are safe or cannot be made so. Never waits; those
        that cannot be kept are counted and let go."""
        if hits:
            # As JSON a hit takes a third of the memory.
            self._take(hits, [HIT.encode(hit) for hit in hits])
        self._spool.when_safe(then)

    def _take(self, hits: Sequence[Hit], values: list[bytes]) -> None:
        # What stands in the spool alone goes first.
        room = 0 if self._reading else self._most - self._held
        if len(values) > room:
            refused = self._spool.put_aside(values)
            if refused is None:
                self._read_back()
                return
            EDGE_NOT_KEPT.labels(refused).inc(len(values) - room)
            hits, values = hits[:room], values[:room]
        if values:
            batch = self._spool.append(values)
            pairs = zip(hits, values, strict=True)
            self._hold([(hit.message_id, hit.at, value, batch) for hit, value in pairs])

    def _hold(self, held: list[_Held]) -> None:
        self._held += len(held)
        self._inbox += held
        if self._dealing is None and self._partitions:
            self._deal_later()

    def _read_back(self) -> None:
        if not self._reading:
            self._reading = True
            self._spawn(self._read_all_back())

    async def _read_all_back(self) -> None:
        """Takes what stands in the spool alone into memory, as there is room."""
        while True:
            while self._held > self._most // 2:  # noqa: ASYNC110 - acknowledgements tell nobody
                await asyncio.sleep(_ROOM_S)
            found = await self._spool.read()
            if found is None:
                self._reading = False
                return
            values, batch = found
            held: list[_Held] = []
            for value in values:
                try:
                    key = _KEY.decode(value)
                except msgspec.MsgspecError:
                    EDGE_SPOOL_DAMAGED.inc()
                    self._spool.acknowledge((batch,))
                else:
                    held.append((key.message_id, key.at, value, batch))
            EDGE_SPOOL_READ.inc(len(held))
            self._hold(held)

    async def stop(self, deadline_s: float = DRAIN_S) -> int:
        """Sends what is held, for at most `deadline_s` seconds; gives how many hits were lost.

        What the spool has is not: the next edge that uses it goes on with it.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + deadline_s
        while self._held and clock() < end:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        if self._dealing is not None:
            self._dealing.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._producer:
            await stop_client(self._producer, within_s=_CLOSE_S)
        await self._spool.close()
        lost = self._spool.failed
        if self._held > lost or self._reading:
            log.warning("ended with hits that Kafka had not acknowledged; they wait in the spool")
        if lost:
            EDGE_NOT_KEPT.labels("stopped").inc(lost)
            log.error("ended with %s hits that neither Kafka nor the spool had", lost)
        return lost

    def _deal_later(self) -> None:
        self._dealing = asyncio.get_running_loop().call_later(self._linger_s, self._deal)

    def _deal(self) -> None:
        """Deals the inbox to the lanes, and wakes those that rest."""
        self._dealing = None
        if not self._lanes_fit():
            self._deal_later()
            return
        hits = self._inbox[:_DEALT_AT_ONCE]
        del self._inbox[:_DEALT_AT_ONCE]
        partitions = partitions_of([hit[0] for hit in hits], len(self._lanes))
        appends = [lane.hits.append for lane in self._lanes]
        for hit, partition in zip(hits, partitions, strict=True):
            appends[partition](hit)
        for lane in self._lanes:
            if lane.hits and lane.sending is None:
                lane.sending = self._spawn(self._empty(lane))
        if self._inbox:
            self._dealing = asyncio.get_running_loop().call_soon(self._deal)

    def _lanes_fit(self) -> bool:
        """Whether there is a lane for each partition that Kafka has now.

        When partitions were added, the old lanes are emptied first: the hits of a message may move
        to another partition, and keep their order so.
        """
        if len(self._lanes) != self._partitions:
            if any(lane.sending for lane in self._lanes):
                return False
            self._lanes = [_Lane(partition) for partition in range(self._partitions)]
        return True

    async def _empty(self, lane: _Lane) -> None:
        """Publishes what waits in a lane, one record after the other, until nothing does."""
        while lane.hits:
            hits = lane.hits[: self._batch]
            del lane.hits[: self._batch]
            lane.oldest = hits[0][1]
            await self._publish(lane.partition, hits)
        lane.oldest = 0
        lane.sending = None

    async def _publish(self, partition: int, hits: list[_Held]) -> None:
        """Publishes hits of a partition as one record, or as several when one would be too large.

        Returns when Kafka has acknowledged them; tries for ever.
        """
        value = b"[%b]" % b",".join([encoded for _, _, encoded, _ in hits])
        if len(value) > _RECORD_BYTES and len(hits) > 1:
            await self._publish_halves(partition, hits)
            return
        with self._span(partition, hits):
            await self._publish_record(partition, hits, value)

    def _span(self, partition: int, hits: list[_Held]) -> AbstractContextManager[None]:
        if not self._tracing.on:
            return nullcontext()
        hit_ids = [_ID.decode(encoded).hit_id for _, _, encoded, _ in hits]
        return self._tracing.span("hits", "producer", partition=partition, hit_ids=hit_ids)

    async def _publish_record(self, partition: int, hits: list[_Held], value: bytes) -> None:
        key = hits[0][0].encode()
        headers = self._tracing.headers() or None
        while True:
            producer = await self._connected()
            try:
                sent = await producer.send(
                    self._topic, value, key=key, partition=partition, headers=headers
                )
                await sent
            except MessageSizeTooLargeError:
                self._renew(producer)  # the producer counted a record that Kafka did not take
                if len(hits) > 1:
                    await self._publish_halves(partition, hits)
                    return
                EDGE_NOT_KEPT.labels("too_large").inc()
                log.error("Kafka takes no record of %s bytes; a hit is lost", len(value))
                break
            except Exception as error:  # whatever it is, no hit is let go for it
                self._complain(denied(self._settings, error, self._topic) or repr(error))
                self._renew(producer)
                await asyncio.sleep(RETRY_S)
            else:
                self._complaint = ""
                EDGE_PRODUCED.inc(len(hits))
                EDGE_PRODUCE_SECONDS.observe(max(0, now_ms() - hits[0][1]) / 1000)
                break
        self._held -= len(hits)
        self._spool.acknowledge([batch for _, _, _, batch in hits])

    def _complain(self, why: object) -> None:
        """Says why a record was not published; while it is tried again, each reason once."""
        if str(why) != self._complaint:
            log.warning("a record was not published, trying again: %s", why)
        self._complaint = str(why)

    async def _publish_halves(self, partition: int, hits: list[_Held]) -> None:
        middle = len(hits) // 2
        await self._publish(partition, hits[:middle])
        await self._publish(partition, hits[middle:])

    async def _connected(self) -> Producer:
        """The producer, once Kafka answers."""
        async with self._connecting:
            told = ""
            while self._producer is None:
                try:
                    self._producer = await self._connect()
                except (MailwakeError, KafkaError) as error:
                    if str(error) != told:
                        log.warning("%s. Requests are answered, hits wait", error)
                        told = str(error)
                    await asyncio.sleep(RETRY_S)
            if told:
                log.info("Kafka answers, hits go on")
            return self._producer

    def _renew(self, producer: Producer) -> None:
        """Gives a producer up after an error: it may never send again (fenced, out of sequence).

        What other lanes have on their way with it is still sent, which its end waits for; their
        next records go to the new one.
        """
        if self._producer is producer:
            self._producer = None
            self._spawn(stop_client(producer, within_s=_RETIRE_S))

    async def _follow_partitions(self) -> None:
        """Keeps the number of partitions up to date, from the first answer of Kafka on."""
        while True:
            producer = await self._connected()
            try:
                self._partitions = len(await producer.partitions_for(self._topic))
            except KafkaError as error:
                log.warning("the partitions of %s are not known: %r", self._topic, error)
            if self._inbox and self._partitions and self._dealing is None:
                self._deal()
            await asyncio.sleep(_FOLLOW_S if self._partitions else RETRY_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
