"""A batch: what is inserted into one table at once, and how it gets there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from aiokafka import TopicPartition

from mailwake.clickhouse import BadDataError, ClickHouse
from mailwake.codec import InvalidError
from mailwake.removed import Removed
from mailwake_enricher.loader_sources import Reading, Source, V
from mailwake_enricher.rows import Columns

ERASED_AT_ONCE = 5000
"""Keys in one DELETE: the statement stays under ClickHouse's `max_query_size` of 256 KiB."""


@dataclass(frozen=True)
class Reject:
    """A value that gives no row: its bytes, what is wrong with it, and the record it was in."""

    data: bytes
    error: InvalidError
    record: Any


@dataclass
class Batch(Generic[V]):
    """Values of one topic in the order they were read, and what else came with them.

    Attributes:
        origins: the record that each of `values` was in.
        records: all records, as they came.
        erased: message_id -> how many values had been read when its tombstone came.
        ends: the offset to commit for each partition once all is stored.
        size: bytes of the records.
        full: it takes no more.
        started: monotonic time of its first record.
        token: the same for every attempt to insert the batch. It is random, not made of topic and
            offsets: those begin again when a topic is made anew, and ClickHouse would then take
            new rows for old ones.
        erasing: whether the deletions are still to be done. They come before the rows and once: a
            deletion repeated after the rows were stored would take them.
    """

    source: Source[V]
    values: list[V] = field(default_factory=list)
    origins: list[Any] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    erased: dict[str, int] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    size: int = 0
    full: bool = False
    started: float = field(default_factory=time.monotonic)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    erasing: bool = True

    def add(self, record: Any, reading: Reading[V]) -> None:
        """Takes what a record gave."""
        self._put(record, reading)
        self.records.append(record)
        if reading.erased:
            self.erased[reading.erased] = len(self.values)
        self.ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
        self.size += len(record.value or b"")

    def _put(self, record: Any, reading: Reading[V]) -> None:
        self.values += reading.values
        self.origins += [record] * len(reading.values)
        self.rejects += [Reject(data, error, record) for data, error in reading.bad]

    def columns(self, removed: Removed | None = None) -> tuple[Columns, list[V], list[Any]]:
        """The rows to insert, column by column, with their values and origins.

        What was `removed` with an erased recipient is left out. When a value does not pass the
        source's screen, the contract says of each record's values which are bad; they become
        rejects.
        """
        values, origins = self.rows(removed)
        columns = self.source.columns(values)
        screen = self.source.screen
        if screen is None or screen.holds(values, columns):
            return columns, values, origins
        self.values, self.origins, self.rejects = [], [], []
        for record in self.records:
            self._put(record, Reading(*screen.codec.read(record.value or b"")))
        values, origins = self.rows(removed)
        return self.source.columns(values), values, origins

    def rows(self, removed: Removed | None = None) -> tuple[list[V], list[Any]]:
        """The values to insert: of a keyed topic the last of each key, unless erased after."""
        key, values, origins = self.source.key, self.values, self.origins
        if key is not None:
            last = {key(value): index for index, value in enumerate(values)}
            kept = [index for name, index in last.items() if index >= self.erased.get(name, 0)]
            values, origins = [values[at] for at in kept], [origins[at] for at in kept]
        rest = self.source.rest
        if rest is None or removed is None or not removed.of:
            return values, origins
        left = [
            (rest(removed, value), origin) for value, origin in zip(values, origins, strict=True)
        ]
        pairs = [(value, origin) for value, origin in left if value is not None]
        return [value for value, _ in pairs], [origin for _, origin in pairs]


def store(
    clickhouse: ClickHouse, batch: Batch[V], most_rows: int, removed: Removed | None = None
) -> tuple[int, list[Reject]]:
    """Deletes and inserts what a batch holds; gives how many rows stand and what was refused.

    Nothing is inserted of what was `removed` with an erased recipient.

    Blocks. May be called again for the same batch after an error: nothing is stored twice. A value
    that ClickHouse refuses is found by halving, so that its neighbours are stored. Raises
    UnavailableError and ClickHouseError (of a kind that the values are not to blame for).
    """
    table = batch.source.name
    if batch.erasing:
        for some in _pieces(list(batch.erased), ERASED_AT_ONCE):
            clickhouse.execute(
                f"ALTER TABLE {table} DELETE WHERE message_id IN %(ids)s",
                {"ids": tuple(some)},
                {"mutations_sync": 1},
            )
        batch.erasing = False
    columns, values, origins = batch.columns(removed)
    names, cells = list(columns), list(columns.values())
    refused: list[Reject] = []

    def insert(low: int, high: int) -> int:
        piece = [column[low:high] for column in cells] if high - low < len(values) else cells
        try:
            token = f"{batch.token}-{low}-{high}"
            return clickhouse.insert(table, names, piece, token=token)
        except BadDataError as error:
            if high - low == 1:
                told = InvalidError("contract", f"ClickHouse refuses it (code {error.code})")
                refused.append(Reject(batch.source.encode(values[low]), told, origins[low]))
                return 0
        middle = (low + high) // 2
        return insert(low, middle) + insert(middle, high)

    stored = sum(
        insert(low, min(low + most_rows, len(values))) for low in range(0, len(values), most_rows)
    )
    return stored, refused


def _pieces(values: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]
