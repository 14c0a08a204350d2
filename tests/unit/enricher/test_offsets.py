"""Where a worker begins to read the partitions it takes over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError
from faust.types import TP

from mailwake.settings import Settings
from mailwake_enricher.offsets import Offsets


class Consumer:
    """Faust's, as far as it is asked: 0 is committed up to 7, of 1 nothing is."""

    def __init__(self, gone: set[TP]) -> None:
        self._gone = gone
        self.sought: dict[TP, int] = {}

    async def seek_to_committed(self) -> dict[TP, int]:
        return {TP("hits", 0): 7}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 3)

    async def seek(self, tp: TP, offset: int) -> None:
        if tp in self._gone:
            raise IllegalStateError(f"No current assignment for partition {tp}")
        self.sought[tp] = offset


def offsets(consumer: Consumer) -> Offsets:
    app: Any = SimpleNamespace(consumer=consumer)
    return Offsets(app, Settings(), ["hits"], {})


async def test_what_was_never_committed_is_read_from_its_start() -> None:
    consumer = Consumer(set())
    assert await offsets(consumer).seek_uncommitted({0, 1})
    assert consumer.sought == {TP("hits", 1): 3}


@pytest.mark.parametrize("gone", [{TP("hits", 1)}, {TP("hits", 0), TP("hits", 1)}])
async def test_partitions_that_are_taken_away_meanwhile_are_not_taken_over(gone: set[TP]) -> None:
    assert not await offsets(Consumer(gone)).seek_uncommitted({0, 1})
