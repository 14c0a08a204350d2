"""The `tracks` table: Faust's table, our own reads and writes.

Faust writes a table entry at once, to the partition of the event being iterated, and its changelog
line one by one (140 µs each). Here the flusher writes rows, many at a time, to the partition they
belong to, after their changelog lines are safe (docs/decisions/0004-write-order.md); until then
changed tracks stand in the `Overlay`, where reads look first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NoReturn

import faust
import rocksdict
from faust.types import TP

from mailwake.track import TRACK, Track

Row = tuple[bytes, bytes | None]
"""Key and value of a row; None is a tombstone."""


class Tracks(faust.Table[bytes, bytes]):
    """The table, one RocksDB database a partition; made by `app.Table` (`app.conf.Table`).

    Attributes:
        on_recovered: awaited with the active partitions when recovery has completed, before the
            streams go on.
    """

    on_recovered: Callable[[set[int]], Awaitable[None]] | None = None

    def read(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """The values of some keys of a partition."""
        values: list[bytes | None] = self._rocksdb()._db_for_partition(partition).get(keys)
        return values

    def write(self, partition: int, rows: Iterable[Row], offset: int) -> None:
        """Writes rows and the changelog offset they reach to, all or nothing.

        Faust's recovery reads the changelog from that offset on; with -1 it stays where it was.
        """
        store = self._rocksdb()
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if offset >= 0:
            batch.put(store.offset_key, str(offset).encode())
        store._db_for_partition(partition).write(batch)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a partition, as they stood when the scan began."""
        store = self._rocksdb()
        for key, value in store._db_for_partition(partition).items():
            if key != store.offset_key:
                yield key, value

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Faust's call when the active partitions are up to date."""
        await super().on_recovery_completed(active_tps, standby_tps)
        if self.on_recovered:
            await self.on_recovered({tp.partition for tp in active_tps})

    def on_key_set(self, key: bytes, value: bytes) -> NoReturn:
        """Refuses: a write past the flusher would break the order of writing."""
        raise TypeError("tracks are written by the flusher alone")

    def on_key_del(self, key: bytes) -> NoReturn:
        """Refuses, as `on_key_set`."""
        raise TypeError("tracks are written by the flusher alone")

    def partition_for_key(self, key: Any) -> NoReturn:
        """Refuses: the partition is the record's, and it is passed along with the row."""
        raise TypeError("the partition of a track is the partition of its record")

    def _rocksdb(self) -> Any:
        """Faust's RocksDB store. Its own lookups ask for the current event; we know better."""
        return self.data


_Entry = tuple[Track | None, int]


class Overlay:
    """The tracks that were changed and are not in the store yet, by partition.

    Each change carries the growing number of the work it belongs to; when the works up to a number
    are in the store, the entries that were not changed since go.
    """

    def __init__(self, table: Tracks) -> None:
        self._table = table
        self._entries: dict[int, dict[bytes, _Entry]] = {}

    def load(self, partition: int, message_ids: Iterable[str]) -> dict[str, Track]:
        """The tracks of some messages; a new one for each that has none.

        Raises InvalidError when a row cannot be read.
        """
        entries = self._entries.get(partition, {})
        tracks: dict[str, Track] = {}
        stored: list[str] = []
        for message_id in message_ids:
            entry = entries.get(message_id.encode())
            if entry is None:
                stored.append(message_id)
            else:
                tracks[message_id] = entry[0] or Track()
        if stored:
            values = self._table.read(partition, [message_id.encode() for message_id in stored])
            for message_id, value in zip(stored, values, strict=True):
                tracks[message_id] = Track() if value is None else TRACK.decode(value)
        return tracks

    def put(self, partition: int, number: int, tracks: dict[str, Track | None]) -> None:
        """Notes the tracks that work `number` changed; None where one is forgotten."""
        entries = self._entries.setdefault(partition, {})
        for message_id, track in tracks.items():
            entries[message_id.encode()] = (track, number)

    def settle(self, partition: int, keys: Iterable[bytes], number: int) -> None:
        """Lets go of the rows that stand in the store as work `number` or an earlier left them."""
        entries = self._entries.get(partition, {})
        for key in keys:
            entry = entries.get(key)
            if entry is not None and entry[1] <= number:
                del entries[key]

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
