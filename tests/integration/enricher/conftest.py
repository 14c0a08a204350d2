"""Topics of a test's own, and who writes to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from mailwake.kafka import start_producer
from mailwake.settings import Settings
from tests.enriching import PARTITIONS
from tests.installation import own_topics


@pytest.fixture
async def settings(kafka: str, tmp_path: Path) -> Settings:
    return await own_topics(kafka, partitions=PARTITIONS, state=tmp_path / "state")


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    made = await start_producer(settings, client_id="test")
    yield made
    await made.stop()
