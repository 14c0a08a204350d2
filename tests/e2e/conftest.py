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
from mailwake.rights import SETUP
from mailwake.settings import Settings
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka_users import ADMIN
from mailwake_local.ports import free_port
from tests.e2e import up
from tests.running import as_user
from tests.secured import SecuredKafka

PARTITIONS = 4


def pytest_configure(config: pytest.Config) -> None:
    """What `mailwake up` is started with."""
    up.SECURED = config.getoption("--secured")


@pytest.fixture(scope="session")
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredKafka | None]:
    """A Kafka that asks who comes, with `--secured`."""
    if not request.config.getoption("--secured"):
        yield None
        return
    made = SecuredKafka(tmp_path_factory.mktemp("secured"))
    with made.local:
        yield made


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, secured: SecuredKafka | None, clickhouse: str, tmp_path: Path
) -> Iterator[Settings]:
    """An installation of its own on the shared Kafka and ClickHouse. With `--secured` these are the
    admin's; each `Service` comes as itself, and whoever publishes as `as_user` says."""
    name = f"e2e_{uuid.uuid4().hex[:8]}"
    keyring = tmp_path / "keys.json"
    new_keyring().write(keyring)
    port = free_port()
    settings = Settings(
        **(secured.of(ADMIN) if secured else {"kafka_bootstrap": request.getfixturevalue("kafka")}),
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
    if secured:
        asyncio.run(secured.grant(settings))
    asyncio.run(apply_topics(as_user(settings, SETUP)))
    migrate(settings.clickhouse_url)
    yield settings
    server = ClickHouse(clickhouse)
    server.execute(f"DROP DATABASE {name}")
    server.close()
