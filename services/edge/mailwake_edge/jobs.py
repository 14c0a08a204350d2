"""What the spool writes and syncs together, and what it is made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mailwake_edge.segments import Position

WAIT_S = 2.0
"""A disk that has not synced for so long is not waited for: the answers go out, and are counted."""


@dataclass(slots=True, eq=False)
class Batch:
    """Records that stand one after the other.

    Attributes:
        left: how many of them Kafka has not acknowledged.
        end: the position behind them; None as long as they are not on their way to the disk.
        failed: whether the disk did not take them, so that they are in memory alone.
    """

    left: int
    end: Position | None = None
    failed: bool = False


@dataclass(slots=True)
class Entry:
    """What was appended at once; without a batch it is read back later."""

    data: bytes
    count: int
    batch: Batch | None


@dataclass(slots=True)
class Job:
    """What is written and synced together.

    Attributes:
        start: where it goes.
        data: by segment.
        waiting: to be called when it is done.
    """

    start: Position
    entries: list[Entry]
    waiting: list[Callable[[], None]]
    data: list[tuple[Position, bytes]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def begins_segment(self) -> bool:
        """Whether a part of it is the first of a segment."""
        return any(at == 0 for (_, at), _ in self.data)

    @property
    def is_late(self) -> bool:
        """Whether it is not waited for any more."""
        return time.monotonic() - self.began > WAIT_S
