"""An installation of its own for each test of the running services."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.keyring import new_keyring
from mailwake.migrate import migrate
from mailwake.settings import Settings
from mailwake.topics_apply import apply_topics
from mailwake_local.ports import free_port

PARTITIONS = 4


@pytest.fixture
def settings(kafka: str, clickhouse: str, tmp_path: Path) -> Iterator[Settings]:
    """An installation of its own on the shared Kafka and ClickHouse."""
    name = f"e2e_{uuid.uuid4().hex[:8]}"
    keyring = tmp_path / "keys.json"
    new_keyring().write(keyring)
    port = free_port()
    settings = Settings(
        kafka_bootstrap=kafka,
        clickhouse_url=clickhouse.rpartition("/")[0] + "/" + name,
        topic_prefix=f"{name}.",
        partitions=PARTITIONS,
        keyring=keyring,
        edge_port=port,
        tracking_url=f"http://127.0.0.1:{port}",
        loader_seconds=0.2,
        settle_s=0,
        settle_doubtful_s=0,
    )
    asyncio.run(apply_topics(settings))
    migrate(settings.clickhouse_url)
    yield settings
    server = ClickHouse(clickhouse)
    server.execute(f"DROP DATABASE {name}")
    server.close()
