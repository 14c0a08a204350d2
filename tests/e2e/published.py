"""What the services of a test have published."""

from __future__ import annotations

import asyncio

from mailwake.contracts import HIT, Hit
from mailwake.settings import Settings
from tests.topics import read_all


def hits(settings: Settings) -> list[Hit]:
    """All hits, in the order of their partitions."""
    found: list[Hit] = []
    for record in asyncio.run(read_all(settings, "hits")):
        found += HIT.read(record.value)[0]
    return found
