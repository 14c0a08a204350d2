"""Records of the retry topics that are read and wait for their time; Kafka has them too."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator

from aiokafka import TopicPartition

from mailwake.webhook import Delivery

MOST = 500
"""So many of a partition are held; it is not read on while there are as many."""


class Waiting:
    """What waits, by partition."""

    def __init__(self) -> None:
        self._heaps: dict[TopicPartition, list[tuple[int, int, Delivery]]] = {}

    def add(self, partition: TopicPartition, offset: int, delivery: Delivery, due_at: int) -> None:
        """A record that is to be looked at again at a time (milliseconds)."""
        heapq.heappush(self._heaps.setdefault(partition, []), (due_at, offset, delivery))

    def due(self, now: int) -> Iterator[tuple[TopicPartition, int, Delivery]]:
        """Takes what has come to its time."""
        for partition, heap in self._heaps.items():
            while heap and heap[0][0] <= now:
                _, offset, delivery = heapq.heappop(heap)
                yield partition, offset, delivery

    def full(self) -> set[TopicPartition]:
        """Partitions that are not to be read on now."""
        return {partition for partition, heap in self._heaps.items() if len(heap) >= MOST}

    def next_at(self) -> int | None:
        """When the next comes to its time; None when nothing waits."""
        return min((heap[0][0] for heap in self._heaps.values() if heap), default=None)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions were taken away."""
        for partition in partitions:
            self._heaps.pop(partition, None)
