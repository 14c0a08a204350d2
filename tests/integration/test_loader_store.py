"""A batch stored into the real engine, more than once as after an error."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import DISPLAY, EVENT
from mailwake.migrate import migrate
from mailwake_enricher.loader_batch import Batch, store
from mailwake_enricher.loader_sources import SOURCES, Source
from tests.forever import keep_forever
from tests.unit.loader.values import BEYOND_2100, NARROWER, display, event, message_id, record

BY_NAME: dict[str, Source[Any]] = {source.name: source for source in SOURCES}


@pytest.fixture
def client(clickhouse: str) -> Iterator[ClickHouse]:
    """A client whose database is its own and has the tables."""
    url = f"{clickhouse.rpartition('/')[0]}/t_{uuid.uuid4().hex[:12]}"
    migrate(url)
    keep_forever(url)
    made = ClickHouse(url)
    yield made
    made.close()


def batch_of(topic: str, *records: Any) -> Batch[Any]:
    batch = Batch(BY_NAME[topic])
    for each in records:
        batch.add(each, BY_NAME[topic].read(each))
    return batch


def shown(number: int, subject: str | None) -> Any:
    value = None if subject is None else DISPLAY.encode(display(number, subject))
    return record("displays", value, message_id(number).encode())


def test_the_values_that_are_refused_do_not_keep_their_neighbours(client: ClickHouse) -> None:
    client.execute(NARROWER)
    refused = {3, 4, 50, 99}
    events = [event(n, at=BEYOND_2100) if n in refused else event(n) for n in range(100)]
    whole = record("events", EVENT.encode_many(events), offset=7)
    batch = batch_of("events", whole)
    for _ in range(2):  # again, as after an answer that was lost: nothing is stored twice
        stored, rejects = store(client, batch, most_rows=40)
        assert stored == len(events) - len(refused)
        assert [EVENT.decode(reject.data).at for reject in rejects] == [BEYOND_2100] * 4
        assert all(reject.record is whole for reject in rejects)
        assert client.query("SELECT count() FROM events") == [(stored,)]


def test_a_row_that_came_after_its_tombstone_outlives_every_attempt(client: ClickHouse) -> None:
    store(client, batch_of("displays", shown(1, "a"), shown(2, "b")), most_rows=10)
    batch = batch_of("displays", shown(1, None), shown(1, "c"), shown(2, None), shown(3, None))
    for _ in range(2):
        assert store(client, batch, most_rows=10) == (1, [])
        assert client.query("SELECT subject FROM displays") == [("c",)]


def test_many_erasures_at_once(client: ClickHouse) -> None:
    count = 12_000
    store(client, batch_of("displays", *(shown(n, "a") for n in range(count))), most_rows=count)
    store(client, batch_of("displays", *(shown(n, None) for n in range(1, count))), most_rows=10)
    assert client.query("SELECT message_id FROM displays") == [(message_id(0),)]


def test_an_empty_batch_stores_nothing(client: ClickHouse) -> None:
    assert store(client, batch_of("events", record("events", b"[]")), most_rows=10) == (0, [])
