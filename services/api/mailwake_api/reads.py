"""Which alerts are read, as the topic `alert_reads` says it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mailwake.contracts import AlertReads

_NONE: frozenset[str] = frozenset()


class Reads:
    """The read alerts of every user.

    Two processes may mark alerts of the same user at the same time, and each writes all it knows:
    the one whose record comes last would undo the other. So a writer looks, when its own record
    has come, whether others came since it began to write, and then writes all of them once more.
    """

    def __init__(self) -> None:
        self._read: dict[bytes, frozenset[str]] = {}
        self._seen: dict[bytes, set[str]] = {}

    def take(self, key: bytes, reads: AlertReads | None) -> None:
        """Takes a record of the topic; None is a tombstone."""
        read = frozenset(reads.alert_ids if reads else ())
        if read:
            self._read[key] = read
        else:
            self._read.pop(key, None)
        if key in self._seen:
            self._seen[key] |= read

    def of(self, key: bytes) -> frozenset[str]:
        """The alerts that the user of this key has read: the same object until they change."""
        return self._read.get(key, _NONE)

    @contextlib.contextmanager
    def watching(self, key: bytes) -> Iterator[set[str]]:
        """Gives the set of all alerts that a record calls read while this lasts; for one writer of
        a key at a time."""
        seen = self._seen[key] = set()
        try:
            yield seen
        finally:
            del self._seen[key]
