"""What is answered when ClickHouse does not give what is asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mailwake.clickhouse import ClickHouse, ClickHouseError
from mailwake.errors import ConfigError, UnavailableError
from mailwake_api.problems import Problem
from mailwake_api.reading import MOST_WAITING, THREADS, Reader

URL = "clickhouse://127.0.0.1:9/none"


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader(URL)
    yield made
    asyncio.run(made.stop())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnavailableError("gone from 10.0.0.1"), 503, "unavailable"),
        (ClickHouseError(159, "Timeout exceeded: secret"), 422, "too_much"),
        (ClickHouseError(396, "Limit for result exceeded: secret"), 422, "too_much"),
        (ClickHouseError(241, "Memory limit exceeded: secret"), 422, "too_much"),
        (ClickHouseError(60, "Unknown table secret"), 503, "unavailable"),
        (ClickHouseError(62, "Syntax error near secret"), 500, "fault"),
    ],
)
async def test_errors(
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(ClickHouse, "query", fail)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Problem) as told:
        await reader.rows("SELECT 1")
    assert (told.value.status, told.value.code) == (status, code)
    assert ("Retry-After" in told.value.headers) == (status == 503)
    assert "secret" not in told.value.detail + caplog.text
    assert "10.0.0.1" not in told.value.detail


async def test_too_many_at_once_are_told_to_come_again(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    threads: set[int] = set()

    def slow(*_: Any) -> list[Any]:
        threads.add(threading.get_ident())
        go.wait(10)
        return []

    monkeypatch.setattr(ClickHouse, "query", slow)
    under_way = [
        asyncio.create_task(reader.rows("SELECT 1")) for _ in range(THREADS + MOST_WAITING)
    ]
    async with asyncio.timeout(10):
        while len(threads) < THREADS:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
    with pytest.raises(Problem) as told:
        await reader.rows("SELECT 1")
    assert (told.value.status, told.value.code) == (503, "busy")
    go.set()
    assert await asyncio.gather(*under_way) == [[]] * len(under_way)
    assert await reader.rows("SELECT 1") == []
    assert len(threads) == THREADS
    assert threading.get_ident() not in threads


async def test_who_waits_too_long_is_told_so(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(ClickHouse, "query", lambda *_: go.wait(10))
    monkeypatch.setattr("mailwake_api.reading.DEADLINE_S", 0.05)
    told = await asyncio.gather(
        *(reader.rows("SELECT 1") for _ in range(9)), return_exceptions=True
    )
    problems = [(each.status, each.code) for each in told if isinstance(each, Problem)]
    assert problems == [(503, "busy")] * 9
    go.set()
    monkeypatch.undo()
    monkeypatch.setattr(ClickHouse, "query", lambda *_: [])
    assert await reader.rows("SELECT 1") == []


def test_a_url_that_cannot_be_used_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        Reader("clickhouse://127.0.0.1/default?connect_timeout=soon")
