"""Asks ClickHouse now and then how large its tables are, for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from mailwake.clickhouse import ClickHouse
from mailwake.errors import MailwakeError
from mailwake.metrics import LOADER_TABLE_PARTS, LOADER_TABLE_ROWS

log = logging.getLogger("mailwake.loader")

EVERY_S = 30.0

_SIZES = """\
SELECT table, sum(rows), count() FROM system.parts
WHERE active AND database = currentDatabase() GROUP BY table"""


class TableSizes:
    """A task and a thread with a connection of its own; what fails is tried again.

    Every loader asks, since none knows of the others: their answers are the same.
    """

    def __init__(self, connect: Callable[[], ClickHouse]) -> None:
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="table-sizes")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to ask; returns at once."""
        self._task = asyncio.create_task(self._ask_often(), name="table sizes")

    async def stop(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False)

    async def _ask_often(self) -> None:
        clickhouse = self._connect()
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    rows = await loop.run_in_executor(self._thread, clickhouse.query, _SIZES)
                except MailwakeError as error:  # the tables' own loaders complain aloud
                    log.debug("the sizes of tables are not known: %s", error)
                else:
                    _tell(rows)
                await asyncio.sleep(EVERY_S)
        finally:
            self._thread.submit(clickhouse.close)


def _tell(sizes: Iterable[tuple[str, int, int]]) -> None:
    for table, rows, parts in sizes:
        # A materialized view's hidden table is named by an id of its own.
        if not table.startswith("."):
            LOADER_TABLE_ROWS.labels(table).set(rows)
            LOADER_TABLE_PARTS.labels(table).set(parts)
