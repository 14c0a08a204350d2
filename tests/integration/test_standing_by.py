"""More members of a group than partitions: whoever has none is ready all the same, or whatever
replaces one process after the other would wait for it for ever."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mailwake.settings import Settings
from mailwake_enricher.loader_sources import SOURCES
from tests.installation import own_installation
from tests.running import Service, running, wait_until


@pytest.fixture
async def settings(kafka: str, clickhouse: str) -> Settings:
    return await own_installation(kafka, clickhouse, partitions=1)


# Loaders share the topics of all tables, of one partition each.
@pytest.mark.parametrize(
    ("name", "members"), [("enricher", 2), ("loader", len(SOURCES) + 1), ("notifier", 2)]
)
async def test_who_has_no_partition_is_ready(
    settings: Settings, tmp_path: Path, name: str, members: int
) -> None:
    services = [
        Service(name, replace(settings, worker=f"w{number}"), tmp_path / f"{number}.log")
        for number in range(members)
    ]

    def all_say_yes(path: str) -> bool:
        return all(each.ask(path) for each in services)

    def look() -> None:
        with running(*services):
            wait_until("all are ready", partial(all_say_yes, "/ready"))
            wait_until("all are well", partial(all_say_yes, "/health"))

    await asyncio.to_thread(look)
