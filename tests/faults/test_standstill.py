"""An edge that stands still for a while, as when its machine is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwake.http_server import HEAD_DEADLINE_TICKS, KEEP_ALIVE_S
from mailwake.keyring import Keyring
from mailwake.topics_apply import apply_topics
from tests.edges import edge_settings
from tests.load import Load, found
from tests.running import Service, standing_still


@pytest.mark.fault(38)
async def test_an_edge_that_stands_still_answers_all_that_asked_meanwhile(
    kafka: str, tmp_path: Path, keyring: Keyring, long: bool, tally: Callable[..., None]
) -> None:
    """Longer than connections are kept unused, and than it waits for a request."""
    settings = edge_settings(kafka, tmp_path)
    await apply_topics(settings)
    load = Load(settings, keyring)
    still = (KEEP_ALIVE_S + 2, HEAD_DEADLINE_TICKS + 3) * (5 if long else 1)
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        assert edge.process is not None
        async with load.running():
            for seconds in still:
                await load.go_on(500)
                with standing_still(edge.process.pid):
                    await asyncio.sleep(seconds)
            await load.go_on(500)
        hits = await found(settings, load)
    fate = load.fate(hits)
    tally(injected=len(still), **fate)
    assert not load.unanswered
    assert (fate["lost"], fate["doubled"]) == (0, 0)
