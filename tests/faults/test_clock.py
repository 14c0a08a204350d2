"""A clock that jumps while hits come in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwake.ids import now_ms
from mailwake.keyring import Keyring
from mailwake.topics_apply import apply_topics
from tests.edges import all_hits, edge_settings
from tests.load import Load, found
from tests.running import Service, wait_until

HOUR_MS = 3_600_000


def faketime() -> str | None:
    """The library that gives a process another time (Debian's package `faketime`)."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


@pytest.mark.fault(8)
@pytest.mark.skipif(sys.platform != "linux", reason="the clock is set by a library of Linux")
async def test_hits_are_kept_once_however_the_clock_jumps(
    kafka: str, tmp_path: Path, keyring: Keyring, tally: Callable[..., None]
) -> None:
    """An hour forward, two back, and right again, with a kill in between."""
    library = faketime()
    if library is None:
        pytest.skip("libfaketime is missing: sudo apt-get install faketime")
    settings = edge_settings(kafka, tmp_path)
    await apply_topics(settings)
    load = Load(settings, keyring)
    shift = tmp_path / "shift"
    shift.write_text("+0")
    clock = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    jumps = ["+3600", "-3600", "+0"]
    edge = Service("edge", settings, tmp_path / "edge.log", clock)
    with edge:
        async with load.running():
            await load.go_on(300)
            for jump in jumps:
                shift.write_text(jump)
                await asyncio.sleep(1.5)
                await load.go_on(300)
                if jump == jumps[1]:
                    edge.kill()
                    await asyncio.to_thread(edge.start)
                    await load.go_on(300)
        hits = await found(settings, load)
        await asyncio.to_thread(
            wait_until, "Kafka has all", lambda: edge.metric("mailwake_edge_queued_hits") == 0
        )
        assert await asyncio.to_thread(edge.stop) == 0
    fate = load.fate(hits)
    tally(injected=len(jumps), **fate)
    assert (fate["lost"], fate["doubled"]) == (0, 0)
    apart = {round((hit.at - now_ms()) / HOUR_MS) for hit in await all_hits(settings)}
    assert apart == {-1, 0, 1}, "the clock has jumped"
