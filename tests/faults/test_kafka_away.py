"""A Kafka that goes away under load, or stays and does not answer: readers do not notice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mailwake.keyring import Keyring
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import edge_settings
from tests.load import Load, found
from tests.running import Service, standing_still, wait_until


@contextlib.asynccontextmanager
async def away(kafka: LocalKafka, how: str) -> AsyncIterator[None]:
    """Inside, it refuses connections, or hangs."""
    if how == "refuses":
        await asyncio.to_thread(kafka.stop)
        yield
        await asyncio.to_thread(kafka.start)
    else:
        with standing_still(kafka.pid):
            yield


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("refuses", marks=pytest.mark.fault(1)),
        pytest.param("hangs", marks=pytest.mark.fault(2)),
    ],
)
async def test_readers_are_answered_and_their_hits_come_later(
    how: str, tmp_path: Path, keyring: Keyring, long: bool, tally: Callable[..., None]
) -> None:
    away_s = 60 if long else 5
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(f"127.0.0.1:{local.port}", tmp_path)
    load = Load(settings, keyring)
    log = tmp_path / "edge.log"
    try:
        await asyncio.to_thread(local.start)
        await apply_topics(settings)
        with Service("edge", settings, log) as edge:
            async with load.running():
                await load.go_on(1000)
                before = load.answered.total()
                async with away(local, how):
                    load.seconds.clear()
                    await asyncio.sleep(away_s)
                    meanwhile = load.answered.total() - before
                    p99 = load.p99_ms()
                    assert edge.ask("/ready"), "it takes requests"
                await load.go_on(1000)
            hits = await found(settings, load)
            await asyncio.to_thread(
                wait_until,
                "the spool is empty",
                lambda: edge.metric("mailwake_edge_queued_hits") == 0,
            )
            assert edge.metric("mailwake_edge_not_kept_total") == 0
            assert await asyncio.to_thread(edge.stop) == 0
    finally:
        local.stop()
    fate = load.fate(hits)
    tally(
        injected=1, **fate, note=f"away {away_s} s, p99 of its {meanwhile:,} answers {p99:.1f} ms"
    )
    assert meanwhile > 100
    assert not load.unanswered
    assert (fate["lost"], fate["doubled"]) == (0, 0)
    assert "Traceback" not in log.read_text()
