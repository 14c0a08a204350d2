"""What the API reads of ClickHouse: a few threads with a client each, and limits.

Nothing of it needs Kafka, and nothing else of the API needs ClickHouse: while that is away, what
reads from it answers 503 and all the rest goes on.

Values reach a query in one way only, as named parameters, which clickhouse-driver escapes; the text
of a query is put together of constants.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mailwake.clickhouse import ClickHouse, ClickHouseError
from mailwake.errors import UnavailableError
from mailwake_api.problems import Problem, fault, not_set_up, unavailable

log = logging.getLogger("mailwake.api.reading")

Value = str | int | list[str]
"""What may be a parameter: what clickhouse-driver puts between quotes, or digits."""
Row = tuple[Any, ...]

THREADS = 4
MOST_WAITING = 64
"""As many queries wait for a thread at most; whoever comes then is told to come again."""
QUERY_S = 10
DEADLINE_S = 15.0
"""Whoever asks is answered within so long, also while ClickHouse is reached and says nothing."""
MOST_ROWS = 50_000
_SETTINGS = (
    f" SETTINGS max_execution_time = {QUERY_S}, max_result_rows = {MOST_ROWS + 1},"
    " output_format_json_quote_64bit_integers = 0"
)

_NOT_MIGRATED = frozenset({16, 46, 47, 60, 81})
"""No such column, function, identifier, table, database."""
_TOO_MUCH = frozenset({158, 159, 160, 241, 307, 396})
"""TOO_MANY_ROWS, TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT_EXCEEDED, TOO_MANY_BYTES,
TOO_MANY_ROWS_OR_BYTES."""


class Reader:
    """Runs queries. For one event loop."""

    def __init__(self, url: str) -> None:
        """`url` is the setting CLICKHOUSE_URL. Connects to nothing yet; raises ConfigError."""
        self._url = url
        ClickHouse(url).close()
        self._own = threading.local()
        self._clients: list[ClickHouse] = []
        self._pool = ThreadPoolExecutor(THREADS, "reading")
        self._waiting = 0

    async def rows(self, sql: str, **values: Value) -> list[Row]:
        """The rows of a SELECT; `%(name)s` in it takes a value, any other `%` is written twice.

        Raises Problem: 503 while ClickHouse is away or too many wait, 422 for what takes longer
        than `QUERY_S` or gives more than `MOST_ROWS` rows.
        """
        if self._waiting >= THREADS + MOST_WAITING:
            raise unavailable("too many ask at the same time; try again in a few seconds", "busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.get_running_loop().run_in_executor(
                    self._pool, self._query, sql, values
                )
        except TimeoutError:
            raise unavailable(
                "this takes too long now; try again in a few seconds", "busy"
            ) from None
        except UnavailableError as error:
            log.warning("%s", error)
            raise unavailable(
                "what happened to mails cannot be read while ClickHouse does not answer; try again "
                "in a few seconds"
            ) from None
        except ClickHouseError as error:
            raise _problem(error) from None
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        """Waits for queries under way, and closes the connections."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        for client in self._clients:
            client.close()

    def _query(self, sql: str, values: dict[str, Value]) -> list[Row]:
        client: ClickHouse | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = ClickHouse(self._url, timeout_s=QUERY_S + 2)
            self._clients.append(client)
        return client.query(sql + _SETTINGS, values)


def _problem(error: ClickHouseError) -> Problem:
    """An answer without ClickHouse's own words, which may hold values."""
    if error.code in _TOO_MUCH:
        return Problem(
            422, "too_much", "this asks for too much at once; narrow it with `since` and `until`"
        )
    log.error("ClickHouse answers with error %d", error.code)
    if error.code in _NOT_MIGRATED:
        log.error("`mailwake migrate` brings the tables up to date")
        return not_set_up()
    return fault()
