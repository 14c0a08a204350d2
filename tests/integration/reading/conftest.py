"""A ClickHouse with mails in it, and who asks the API for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.mailbox import Asking, Mailbox, ReadingApi


@pytest.fixture
def mailbox(clickhouse: str) -> Iterator[Mailbox]:
    made = Mailbox(clickhouse)
    yield made
    made.client.close()


@pytest.fixture
async def api(mailbox: Mailbox, tmp_path: Path) -> AsyncIterator[ReadingApi]:
    made = ReadingApi(tmp_path, mailbox.url)
    yield made
    await made.reader.stop()


@pytest.fixture
async def ben(api: ReadingApi) -> AsyncIterator[Asking]:
    async with api.client() as client:
        yield client
