"""Faust's recovery, with changelog records that go into the store as they are fetched.

Faust hands each record of a changelog through its stream machinery by itself: a task to wait for
the queue, another for the flow, and all partitions counted anew whether they are complete. That
costs a third to two thirds of what it takes to judge the hit that changed the track, and each track
is read so by the worker that keeps the other copy of it. Here what one fetch brings of a partition
is one write (docs/decisions/0025-recovery.md). What is recovered, from where, and when the streams
go on, is Faust's.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, cast

from faust.tables import manager, recovery
from faust.types import TP
from mode import Service

from mailwake_enricher.table import Tracks

_LOOK_S = 0.05
"""How often it is looked whether what is recovered is complete."""


class Recovery(recovery.Recovery):
    """Recovers tables that are `Tracks`."""

    def takes(self, topic: str) -> bool:
        """Whether a topic is a changelog."""
        return topic in self.tables.changelog_topics

    def take(self, tp: TP, records: Sequence[Any]) -> None:
        """Stores what was fetched of a changelog partition (aiokafka's records, in their order).

        What is in the store already is passed over, and so is all of a partition that was taken
        away meanwhile.
        """
        if tp in self.active_tps:
            offsets, seen_at = self.active_offsets, self._active_events_received_at
        elif tp in self.standby_tps:
            offsets, seen_at = self.standby_offsets, self._standby_events_received_at
        else:
            return
        last = offsets.get(tp)
        new = [record for record in records if last is None or record.offset > last]
        self._last_flush_at = seen_at[tp] = monotonic()
        if not new:
            return
        table = cast(Tracks, self.tp_to_table[tp])
        table.write(tp.partition, [(each.key, each.value) for each in new], new[-1].offset)
        offsets[tp] = new[-1].offset

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """In place of Faust's loop over single records: looks whether all is there."""
        while not self.should_stop:
            if self.in_recovery and not self.need_recovery():
                self._set_recovery_ended()
                self.signal_recovery_end.set()
            await self.sleep(_LOOK_S)

    def _set_recovery_started(self) -> None:
        self.signal_recovery_end.clear()
        super()._set_recovery_started()


class Tables(manager.TableManager):
    """Faust's table manager, with our recovery."""

    @property
    def recovery(self) -> Recovery:
        """Recovers the tables."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, cast(Any, self), beacon=self.beacon, loop=self.loop)
        return cast(Recovery, self._recovery)
