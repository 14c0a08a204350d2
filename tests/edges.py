"""What tests of the edge's process share: its settings, who asks it, and what Kafka has of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from mailwake.contracts import HIT, Hit
from mailwake.ids import partitioner, split_hit_id
from mailwake.keyring import Keyring
from mailwake.settings import Settings
from mailwake.tokens import Token
from mailwake_local.ports import free_port
from tests.installation import own_settings
from tests.topics import read_all

PARTITIONS = 4


def edge_settings(kafka: str, folder: Path, **more: Any) -> Settings:
    """Settings of topics that are not made yet, with the `keyring` of the test in `folder`."""
    values = {
        "partitions": PARTITIONS,
        "keyring": folder / "keys.json",
        "edge_port": free_port(),
    }
    return own_settings(kafka, **values | more)


@contextlib.asynccontextmanager
async def asking(settings: Settings, host: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    """A client of the edge; it outlasts a standstill."""
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{settings.edge_port}", limits=limits, timeout=30
    ) as client:
        yield client


def pixel(keyring: Keyring, message_id: str) -> str:
    """The path of a mail's pixel."""
    return "/o/" + keyring.seal(Token("open", "acme", message_id, 1, "identified"))


async def all_hits(settings: Settings) -> list[Hit]:
    """All hits in the topic; asserts that each record is as the contract of the topic says.

    Of each message and stream the first occurrences come in ascending numbers, which the enricher's
    deduplication rests on.
    """
    partition_of = partitioner(settings.partitions)
    seen: dict[str, Hit] = {}
    last: Counter[tuple[int, str]] = Counter()
    for record in sorted(await read_all(settings, "hits"), key=lambda record: record.offset):
        assert record.value is not None
        assert record.value.startswith(b"[")
        hits, bad = HIT.read(record.value)
        assert not bad
        assert 0 < len(hits) <= settings.edge_batch_hits
        assert record.key == hits[0].message_id.encode()
        for hit in hits:
            assert partition_of(hit.message_id.encode()) == record.partition
            if hit.hit_id not in seen:
                seen[hit.hit_id] = hit
                stream, number = split_hit_id(hit.hit_id)
                assert number > last[record.partition, stream]
                last[record.partition, stream] = number
    return list(seen.values())
