"""How far each partition is done, where records are done out of their order."""

from __future__ import annotations

from aiokafka import TopicPartition


class Offsets:
    """What is read and not yet done; what may be committed is what nothing undone stands before."""

    def __init__(self) -> None:
        self._open: dict[TopicPartition, dict[int, None]] = {}
        self._read: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """A record was read; those of a partition come in their order."""
        self._open.setdefault(partition, {})[offset] = None
        self._read[partition] = offset + 1

    def done(self, partition: TopicPartition, offset: int) -> None:
        """A record is done. Of a partition that was taken away this says nothing."""
        if partition in self._open:
            self._open[partition].pop(offset, None)

    def forget(self, partition: TopicPartition) -> None:
        """A partition was taken away."""
        for each in (self._open, self._read, self._committed):
            each.pop(partition, None)

    def to_commit(self) -> dict[TopicPartition, int]:
        """What may be committed and is not yet: of each partition the offset of what comes next."""
        reached = {
            partition: next(iter(self._open[partition]), read)
            for partition, read in self._read.items()
        }
        return {
            partition: offset
            for partition, offset in reached.items()
            if self._committed.get(partition) != offset
        }

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        """These were committed."""
        self._committed.update(offsets)

    @property
    def undone(self) -> int:
        """How many records are read and not done."""
        return sum(map(len, self._open.values()))
