"""More hits than the edge and Kafka can take: what is answered is accounted for, memory stays."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwake.ids import new_message_id
from mailwake.keyring import Keyring, new_keyring
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import all_hits, edge_settings, pixel
from tests.running import Service, standing_still, wait_until

READERS = 3
"""Processes that ask without a pause, 16 connections each: together they ask for several times what
one edge answers beside them."""

READER = """
import http.client, sys, threading
port, paths = int(sys.argv[1]), sys.argv[2:]
answered, over = [0] * 16, threading.Event()
def read(number):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not over.is_set():
        connection.request("GET", paths[answered[number] % len(paths)])
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        answered[number] += 1
readers = [threading.Thread(target=read, args=(number,)) for number in range(16)]
for reader in readers: reader.start()
sys.stdin.read()
over.set()
for reader in readers: reader.join()
print(sum(answered))
"""


@pytest.mark.alone
@pytest.mark.fault(9)
async def test_three_times_the_load_is_answered_and_accounted_for(
    tmp_path: Path, keyring: Keyring, long: bool, tally: Callable[..., None]
) -> None:
    """Kafka stands still until the spool, which holds a few seconds' worth, is full and some time
    has gone; then it goes on, and so does the load."""
    seconds = 30 if long else 4
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(
        f"127.0.0.1:{local.port}", tmp_path, edge_queue_hits=5000, edge_spool_mb=1
    )
    paths = [pixel(keyring, new_message_id()) for _ in range(50)]
    paths.append(pixel(new_keyring(), new_message_id()))  # forged: refused, and answered alike
    try:
        await asyncio.to_thread(local.start)
        await apply_topics(settings)
        with Service("edge", settings, tmp_path / "edge.log") as edge:
            arguments = [sys.executable, "-c", READER, str(settings.edge_port)]
            readers = [
                await asyncio.create_subprocess_exec(
                    *arguments,
                    *paths,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                for _ in range(READERS)
            ]
            memory: list[int] = []
            with standing_still(local.pid):
                while len(memory) < seconds or not edge.metric("mailwake_edge_not_kept_total"):
                    assert len(memory) < 120, "there was no more than it can take"
                    await asyncio.sleep(1)
                    memory.append(edge.memory())
            for _ in range(seconds):
                await asyncio.sleep(1)
                memory.append(edge.memory())
            for reader in readers:
                assert reader.stdin is not None
                reader.stdin.close()
            answered = 0
            for reader in readers:
                told, _ = await asyncio.wait_for(reader.communicate(), 60)
                assert reader.returncode == 0
                answered += int(told)

            def held() -> float:
                return edge.metric("mailwake_edge_queued_hits")

            await asyncio.to_thread(wait_until, "Kafka has what is kept", lambda: held() == 0, 120)
            hits = int(edge.metric("mailwake_edge_hits_total"))
            refused = int(edge.metric("mailwake_edge_refused_total"))
            produced = int(edge.metric("mailwake_edge_produced_total"))
            missing = int(edge.metric("mailwake_edge_not_kept_total"))
            assert await asyncio.to_thread(edge.stop) == 0
        in_kafka = len(await all_hits(settings))
    finally:
        local.stop()
    grown = (max(memory) - memory[0]) // 1024
    tally(
        injected=1,
        answered=answered,
        lost=max(0, hits - in_kafka - missing),
        doubled=max(0, in_kafka - produced),
        note=f"{missing:,} not kept, and counted; memory grew by {grown} MiB",
    )
    assert answered == hits + refused
    assert hits == produced + missing
    assert in_kafka == produced
    assert refused > 0
    assert missing > 0
    assert grown < 100
