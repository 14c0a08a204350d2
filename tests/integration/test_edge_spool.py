"""What the edge has answered is not lost: real processes, killed, on disks that fail."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from mailwake.ids import new_message_id
from mailwake.keyring import Keyring
from mailwake.settings import Settings
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import all_hits, asking, edge_settings, pixel
from tests.running import Service, wait_until

READERS = 16


class Load:
    """Readers that open mails one after the other, and count the answers."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self._settings, self._keyring = settings, keyring
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They read inside; those whose edge is gone try again."""
        async with asking(self._settings) as client:
            readers = [asyncio.create_task(self._read(client)) for _ in range(READERS)]
            yield
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def go_on(self, answers: int) -> None:
        """Waits until so many more are answered."""
        until = self.answered.total() + answers
        what = f"{answers} more answers"
        await asyncio.to_thread(wait_until, what, lambda: self.answered.total() >= until, 60)

    async def _read(self, client: httpx.AsyncClient) -> None:
        mail = new_message_id()
        path = pixel(self._keyring, mail)
        while True:
            self.asked[mail] += 1
            try:
                answer = await client.get(path)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                assert answer.status_code == 200
                self.answered[mail] += 1


async def found(settings: Settings, load: Load) -> Counter[str]:
    """The hits in Kafka by mail, once there are as many as answers, or after a minute."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        hits = Counter(hit.message_id for hit in await all_hits(settings))
        late = asyncio.get_running_loop().time() > deadline
        if late or all(hits[mail] >= count for mail, count in load.answered.items()):
            return hits
        await asyncio.sleep(0.5)


@pytest.mark.parametrize(
    ("durability", "away"), [("strict", False), ("strict", True), ("relaxed", True)]
)
async def test_killed_under_load_again_and_again_nothing_answered_is_lost(
    kafka: str, tmp_path: Path, keyring: Keyring, durability: str, away: bool
) -> None:
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
        for _ in range(3):
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
    for mail, count in load.answered.items():
        assert count <= hits[mail] <= load.asked[mail]
    assert not list((tmp_path / "next.state").glob("spool/*.hits"))


async def test_a_disk_without_room_and_no_kafka_everything_is_answered_and_counted(
    tmp_path: Path, keyring: Keyring
) -> None:
    """The system refuses to write on (as at the end of a disk); memory takes a thousand."""
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(f"127.0.0.1:{local.port}", tmp_path, edge_queue_hits=1000)
    load = Load(settings, keyring)
    try:
        with Service("edge", settings, tmp_path / "edge.log") as edge:
            assert edge.process is not None
            async with load.running():
                await load.go_on(2000)
                file = max((tmp_path / "edge.state").glob("spool/*.hits"))
                size = file.stat().st_size + 5000
                resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (size, -1))
                await load.go_on(1500)
                resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
                await asyncio.sleep(1.5)
            await asyncio.to_thread(local.start)
            await apply_topics(settings)
            missing = int(edge.metric("mailwake_edge_not_kept_total"))
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
    assert missing > 100, "the disk was not full"
    assert load.answered.total() <= len(hits) + missing <= load.asked.total()
    assert "the spool cannot be written" in (tmp_path / "edge.log").read_text()


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
