"""Where reading stands in `sends` and `hits`: what is next, what is committed, what is behind.

Offsets are committed here, not by Faust's acknowledgements: while it rebalances, Faust's stream
acknowledges events that it skips, and its commit may step over one offset that was not
acknowledged (faust-streaming 0.15, `Stream._py_aiter` and `Consumer._new_offset`). The topics are
read with `acks=False` therefore, and what the flusher carried through is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust.types import TP

from mailwake.kafka import start_consumer
from mailwake.lag import Lag
from mailwake.settings import Settings


class EnricherError(RuntimeError):
    """The worker cannot go on safely; the process ends and Kafka redelivers."""


class Offsets:
    """The offsets of the topics that the agent reads; every call is made on one event loop.

    What is asked of Faust's consumer here is not in its declared interface.
    """

    def __init__(
        self, app: faust.App, settings: Settings, topics: Iterable[str], safe: Mapping[TP, int]
    ) -> None:
        """`topics` are names in Kafka; `safe` tells, as it grows, what may be committed
        (`Flusher.committable`)."""
        self._app = app
        self._settings = settings
        self._topics = tuple(topics)
        self._safe = safe
        self._next: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._lag: Lag[TP] = Lag(settings.topic_prefix, lambda tp: self._consumer.highwater(tp))

    @property
    def _consumer(self) -> Any:
        return self._app.consumer

    async def is_next(self, tp: TP, offset: int) -> bool:
        """Whether a record is the next of its partition; False when it was handled already.

        Raises EnricherError when one was left out: Faust drops what its fetcher puts into a queue
        while a rebalance clears it, and reads on behind.
        """
        expected = self._next.get(tp) or self._consumer._committed_offset.get(tp) or 0
        if offset > expected:
            left_out = await first_record(self._settings, tp, expected, offset)
            if left_out is not None:
                raise EnricherError(
                    f"{tp.topic}/{tp.partition}: record {offset} came where {left_out} was next"
                )
        return offset >= expected

    def handled(self, tp: TP, offset: int) -> None:
        """Notes that a record was taken."""
        self._next[tp] = offset + 1

    async def commit(self) -> bool:
        """Commits what has become safe; whether there was anything, and Kafka took it."""
        offsets = {tp: at for tp, at in self._safe.items() if self._committed.get(tp) != at}
        if not offsets or not await self._consumer._commit(offsets):
            return False
        self._committed |= offsets
        self._lag.committed(offsets)
        return True

    def measure(self, partitions: Iterable[int]) -> None:
        """Tells Prometheus how far these partitions are behind; those of before are gone."""
        tps = self._of(partitions)
        for tp in tps:
            self._lag.begins(tp, self._done(tp))
        self._lag.measure(tps)

    async def seek_uncommitted(self, partitions: Iterable[int]) -> bool:
        """Goes to the start of those partitions where nothing was committed yet.

        False when some were taken away meanwhile; another assignment follows then.

        What was fetched while the group rebalanced is dropped, and Faust then seeks back to what is
        committed; where nothing is, aiokafka seeks nowhere and would read on behind it.
        """
        tps = self._of(partitions)
        if not tps:
            return True
        try:
            committed = await self._consumer.seek_to_committed()
            starts = await self._consumer.earliest_offsets(*tps)
            for tp in tps:
                if not committed.get(tp):
                    await self._consumer.seek(tp, starts.get(tp) or 0)
        except IllegalStateError:
            return False
        return True

    async def caught_up(self, topic: str, partitions: Iterable[int]) -> set[int]:
        """Those partitions of a topic (name in Kafka) that are carried through to their end."""
        tps = {TP(topic, partition) for partition in partitions}
        ends = await self._consumer.highwaters(*tps)
        starts = await self._consumer.earliest_offsets(*tps)
        return {
            tp.partition
            for tp in tps
            if max(self._done(tp), starts.get(tp) or 0) >= (ends.get(tp) or 0)
        }

    def is_behind(self, partitions: Iterable[int]) -> bool:
        """Whether records lie in Kafka, as it last told, that were not carried through."""
        return any(
            (self._consumer.highwater(tp) or 0) > self._done(tp) for tp in self._of(partitions)
        )

    def forget(self) -> None:
        """Forgets everything: the partitions were taken away."""
        self._next.clear()
        self._committed.clear()

    def _done(self, tp: TP) -> int:
        return max(self._safe.get(tp, 0), self._consumer._committed_offset.get(tp) or 0)

    def _of(self, partitions: Iterable[int]) -> set[TP]:
        return {TP(topic, partition) for partition in partitions for topic in self._topics}


async def first_record(settings: Settings, tp: TP, start: int, end: int) -> int | None:
    """The offset of the first record from `start` to before `end`; None when there is none.

    There is none where retention has deleted them, or where a sender's transactions left their
    marks. Raises UnavailableError when Kafka does not answer.
    """
    consumer = await start_consumer(settings, client_id="mailwake-enricher-gap")
    try:
        place = TopicPartition(tp.topic, tp.partition)
        consumer.assign([place])
        consumer.seek(place, start)
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(timeout_ms=500)).get(place, ()):
                return record.offset if record.offset < end else None
        return None
    finally:
        await consumer.stop()
