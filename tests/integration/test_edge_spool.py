"""What the edge has answered is not lost: real processes, killed, on disks that fail."""

from __future__ import annotations

import asyncio
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwake.keyring import Keyring
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import all_hits, edge_settings
from tests.load import READERS, Load, found
from tests.running import Service, wait_until


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("durability", "away"), [("strict", False), ("strict", True), ("relaxed", True)]
)
async def test_killed_under_load_again_and_again_nothing_answered_is_lost(
    kafka: str,
    tmp_path: Path,
    keyring: Keyring,
    durability: str,
    away: bool,
    long: bool,
    tally: Callable[..., None],
) -> None:
    kills = 20 if long else 3
    nowhere = f"127.0.0.1:{free_port()}"
    settings = edge_settings(kafka, tmp_path, edge_durability=durability)
    await apply_topics(settings)
    load = Load(settings, keyring)
    first = edge_settings(
        nowhere if away else kafka,
        tmp_path,
        edge_durability=durability,
        edge_port=settings.edge_port,
        topic_prefix=settings.topic_prefix,
        edge_queue_hits=1000,
    )
    edge = Service("edge", first, tmp_path / "edge.log")
    async with load.running():
        for _ in range(kills):
            await asyncio.to_thread(edge.start, wait=False)
            await load.go_on(1500)
            edge.kill()
    assert list((tmp_path / "edge.state").glob("spool/*.hits"))
    # Another process goes on with what they left.
    (tmp_path / "edge.state").rename(tmp_path / "next.state")
    with Service("edge", settings, tmp_path / "next.log") as after:
        hits = await found(settings, load)
        assert after.metric("mailwake_edge_not_kept_total") == 0
        assert await asyncio.to_thread(after.stop) == 0
    fate = load.fate(hits)
    tally(injected=kills, **fate)
    assert (fate["lost"], fate["doubled"]) == (0, 0)
    assert not list((tmp_path / "next.state").glob("spool/*.hits"))


@pytest.mark.fault(5)
async def test_a_disk_without_room_and_no_kafka_everything_is_answered_and_counted(
    tmp_path: Path, keyring: Keyring, tally: Callable[..., None]
) -> None:
    """The system refuses to write on (as at the end of a disk); memory takes a thousand."""
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(f"127.0.0.1:{local.port}", tmp_path, edge_queue_hits=1000)
    load = Load(settings, keyring)
    try:
        with Service("edge", settings, tmp_path / "edge.log") as edge:
            assert edge.process is not None

            def not_kept() -> float:
                return edge.metric("mailwake_edge_not_kept_total")

            async with load.running():
                await load.go_on(2000)
                file = max((tmp_path / "edge.state").glob("spool/*.hits"))
                size = file.stat().st_size + 5000
                resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (size, -1))
                await asyncio.to_thread(
                    wait_until, "disk and memory are full", lambda: not_kept() > 100
                )
                resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
                await asyncio.sleep(1.5)
            await asyncio.to_thread(local.start)
            await apply_topics(settings)
            missing = int(not_kept())
            kept = load.asked.total() - missing
            await asyncio.to_thread(
                wait_until,
                "what was kept comes",
                lambda: edge.metric("mailwake_edge_produced_total") >= kept - READERS,
                60,
            )
            assert await asyncio.to_thread(edge.stop) == 0
            hits = await all_hits(settings)
    finally:
        local.stop()
    answered = load.answered.total()
    uncounted = max(0, answered - len(hits) - missing)
    tally(injected=1, answered=answered, lost=uncounted, note=f"{missing:,} not kept, and counted")
    assert answered <= len(hits) + missing <= load.asked.total()
    assert not load.unanswered
    assert "the spool cannot be written" in (tmp_path / "edge.log").read_text()


@pytest.mark.fault(7)
async def test_two_edges_do_not_share_a_spool(tmp_path: Path, keyring: Keyring) -> None:
    settings = edge_settings(f"127.0.0.1:{free_port()}", tmp_path)
    other = edge_settings(f"127.0.0.1:{free_port()}", tmp_path)
    with Service("edge", settings, tmp_path / "edge.log"):
        second = Service("edge", other, tmp_path / "edge.log")
        second.start(wait=False)
        assert second.process is not None
        assert await asyncio.to_thread(second.process.wait, 30) == 2
    assert "another edge uses the spool" in (tmp_path / "edge.log").read_text()
    shutil.rmtree(tmp_path / "edge.state")
