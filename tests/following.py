"""Writes into compacted topics and looks what stands in them, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from mailwake.kafka import start_producer
from mailwake.settings import Settings
from tests.topics import read_all


async def put(
    settings: Settings, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]
) -> None:
    """Writes records (key, value), and returns when Kafka has them."""
    producer = await start_producer(settings, client_id="test-writer", linger_ms=0)
    try:
        name = settings.topic(topic)
        sent = [await producer.send(name, value, key=key) for key, value in records]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def standing(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """What compaction would leave of a topic: the last value of each key."""
    found: dict[bytes, bytes] = {}
    for record in await read_all(settings, topic):
        assert record.key is not None
        found.pop(record.key, None)
        if record.value is not None:
            found[record.key] = record.value
    return found


async def until(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Waits, with the event loop going on, until something holds; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)
