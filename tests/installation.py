"""Settings whose topics, and whose database, are a test's own."""

from __future__ import annotations

import uuid
from typing import Any

from mailwake.migrate import migrate
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from tests.forever import keep_forever


def own_settings(kafka: str, **more: Any) -> Settings:
    """Settings of topics that are not made yet."""
    values = {"kafka_bootstrap": kafka, "topic_prefix": f"t{uuid.uuid4().hex[:10]}."}
    return read_settings({}, **values | more)


async def own_topics(kafka: str, **more: Any) -> Settings:
    """Settings of topics that are made."""
    made = own_settings(kafka, **more)
    await apply_topics(made)
    return made


async def own_installation(kafka: str, clickhouse: str, **more: Any) -> Settings:
    """Settings of topics and of a database that are made; the loader inserts little and often."""
    url = f"{clickhouse.rpartition('/')[0]}/t_{uuid.uuid4().hex[:10]}"
    values = {"clickhouse_url": url, "loader_seconds": 0.1}
    made = await own_topics(kafka, **values | more)
    migrate(made.clickhouse_url)
    keep_forever(made.clickhouse_url)
    return made
