"""How far a member of a group is behind, partition by partition, as Prometheus is told.

It costs nothing for a record: what is asked of the consumer is asked once a second.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from mailwake.metrics import LAG_RECORDS, PARTITION_COMMITTED_AT

EVERY_S = 1.0


class Partition(Protocol):
    """A TopicPartition of aiokafka, or Faust's TP."""

    @property
    def topic(self) -> str:
        """The topic's name in Kafka."""

    @property
    def partition(self) -> int:
        """Its number."""


P = TypeVar("P", bound=Partition)


class Lag(Generic[P]):
    """The lag and the last commit of each partition that this process reads.

    Args:
        prefix: of the topics, which is not shown.
        end: where a partition ends, as Kafka last told; None when it has not.
    """

    def __init__(
        self,
        prefix: str,
        end: Callable[[P], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = prefix
        self._end = end
        self._clock = clock
        self._at: dict[P, int] = {}
        self._shown: dict[tuple[str, str], P] = {}
        self._measured_at = -EVERY_S

    def begins(self, part: P, offset: int) -> None:
        """Reading begins there: nothing before it is left to do. Later calls change nothing."""
        self._at.setdefault(part, offset)

    def committed(self, offsets: Mapping[P, int]) -> None:
        """These are committed now: the offset of what comes next, by partition."""
        self._at.update(offsets)
        for part in offsets:
            PARTITION_COMMITTED_AT.labels(*self._labels(part)).set_to_current_time()

    def measure(self, parts: Iterable[P]) -> None:
        """Tells how far these partitions are behind, at most once in `EVERY_S`; others are gone."""
        now = self._clock()
        if now - self._measured_at < EVERY_S:
            return
        self._measured_at = now
        gone = set(self._shown)
        for part in parts:
            labels = self._labels(part)
            gone.discard(labels)
            if labels not in self._shown:
                # A partition that was never committed here is as old as its being read here.
                PARTITION_COMMITTED_AT.labels(*labels).set_to_current_time()
                self._shown[labels] = part
            end, at = self._end(part), self._at.get(part)
            if end is not None and at is not None:
                LAG_RECORDS.labels(*labels).set(max(0, end - at))
        for labels in gone:
            self._at.pop(self._shown.pop(labels), None)
            for metric in (LAG_RECORDS, PARTITION_COMMITTED_AT):
                with contextlib.suppress(KeyError):  # its end was never told
                    metric.remove(*labels)

    def _labels(self, part: P) -> tuple[str, str]:
        return part.topic.removeprefix(self._prefix), str(part.partition)
