"""A table of tracks in memory, and the processor that works on it."""

from __future__ import annotations

from collections.abc import Iterable

from mailwake.ids import partitioner
from mailwake.track import TRACK, Track
from mailwake_enricher.process import Processor, Record, Result
from tests.unit.enricher.values import MESSAGE, RULES

PARTITIONS = 4
PARTITION_OF = partitioner(PARTITIONS)
PARTITION = PARTITION_OF(MESSAGE.encode())


class Table:
    """Rows in memory, as a worker would have them after each record."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.processor = Processor(RULES, PARTITIONS, self.load)
        self.offset = 0

    def load(self, partition: int, message_ids: Iterable[str]) -> dict[str, Track]:
        rows = {message_id: self.rows.get(message_id.encode()) for message_id in message_ids}
        return {
            message_id: Track() if row is None else TRACK.decode(row)
            for message_id, row in rows.items()
        }

    def take(self, topic: str, value: bytes) -> Result:
        self.offset += 1
        record = Record(topic, PARTITION, self.offset, MESSAGE.encode(), value)
        return self.keep(self.processor.process(record))

    def keep(self, result: Result) -> Result:
        for key, row in result.rows:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        return result

    def track(self, message_id: str = MESSAGE) -> Track:
        return TRACK.decode(self.rows[message_id.encode()])
