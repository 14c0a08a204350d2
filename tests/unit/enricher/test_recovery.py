"""What is fetched of a changelog goes into the store, once and in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from mailwake.settings import Settings, read_settings
from mailwake_enricher.app import make_app, make_table
from mailwake_enricher.recovery import Recovery
from mailwake_enricher.table import Tracks
from mailwake_enricher.transport import _Consumer

CHANGELOG, HITS = "tracks", "hits"
ACTIVE, COPY, FOREIGN = TP(CHANGELOG, 0), TP(CHANGELOG, 1), TP(CHANGELOG, 2)


def record(offset: int, key: bytes, value: bytes | None) -> Any:
    return SimpleNamespace(offset=offset, key=key, value=value)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({}, state=tmp_path)


@pytest.fixture
def app(settings: Settings) -> faust.App:
    return make_app(settings)


@pytest.fixture
def table(app: faust.App, settings: Settings) -> Iterator[Tracks]:
    made = make_table(app, settings)
    yield made
    for database in made._rocksdb()._dbs.values():
        database.close()


@pytest.fixture
def recovery(app: faust.App, table: Tracks) -> Recovery:
    made: Any = app.tables.recovery  # type: ignore[attr-defined]
    assert isinstance(made, Recovery)
    made.add_active(table, ACTIVE)
    made.add_standby(table, COPY)
    return made


@pytest.mark.parametrize("place", [ACTIVE, COPY])
def test_rows_are_stored_with_the_offset_that_they_reach(
    recovery: Recovery, table: Tracks, place: TP
) -> None:
    recovery.take(place, [record(3, b"a", b"1"), record(4, b"b", b"2"), record(9, b"a", b"3")])
    assert table.read(place.partition, [b"a", b"b", b"c"]) == [b"3", b"2", None]
    assert table.persisted_offset(place) == 9
    recovery.take(place, [record(10, b"b", None)])
    assert table.read(place.partition, [b"a", b"b"]) == [b"3", None]
    assert table.persisted_offset(place) == 10


def test_what_is_stored_already_is_passed_over(recovery: Recovery, table: Tracks) -> None:
    recovery.take(ACTIVE, [record(3, b"a", b"1"), record(4, b"a", b"2")])
    recovery.take(ACTIVE, [record(3, b"a", b"1"), record(4, b"a", b"old")])
    assert table.read(0, [b"a"]) == [b"2"]
    recovery.take(ACTIVE, [record(4, b"a", b"old"), record(5, b"b", b"3")])
    assert table.read(0, [b"a", b"b"]) == [b"2", b"3"]
    assert table.persisted_offset(ACTIVE) == 5


def test_what_was_taken_away_meanwhile_is_not_stored(recovery: Recovery, table: Tracks) -> None:
    recovery.take(FOREIGN, [record(3, b"a", b"1")])
    assert table.persisted_offset(FOREIGN) is None


def test_it_is_complete_at_the_last_record(recovery: Recovery) -> None:
    recovery.active_offsets[ACTIVE], recovery.active_highwaters[ACTIVE] = -1, 4
    assert recovery.need_recovery()
    recovery.take(ACTIVE, [record(3, b"a", b"1")])
    assert recovery.need_recovery()
    recovery.take(ACTIVE, [record(4, b"a", b"2")])
    assert not recovery.need_recovery()


@pytest.mark.parametrize("meanwhile", ["nothing", "shared out anew", "stopped"])
async def test_changelogs_leave_before_the_streams(
    app: faust.App,
    recovery: Recovery,
    table: Tracks,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
) -> None:
    hits = [record(7, b"m", b"hit")]

    async def fetch(consumer: Any, timeout: float) -> tuple[Any, Any]:
        if meanwhile == "shared out anew":
            app.consumer_generation_id += 1
        consumer.flow_active = meanwhile != "stopped"
        return {TP(HITS, 0): hits, ACTIVE: [record(3, b"a", b"1")]}, {ACTIVE}

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", fetch)
    consumer = object.__new__(_Consumer)
    consumer.app = app
    assert await consumer._wait_next_records(1.0) == ({TP(HITS, 0): hits}, {ACTIVE})
    stored = table.read(0, [b"a"])
    assert stored == [b"1" if meanwhile == "nothing" else None]


async def test_nothing_fetched_is_nothing(
    app: faust.App, recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(consumer: Any, timeout: float) -> tuple[Any, Any]:
        return None, None

    monkeypatch.setattr(driver.Consumer, "_wait_next_records", fetch)
    consumer = object.__new__(_Consumer)
    consumer.app = app
    assert await consumer._wait_next_records(1.0) == ({}, None)
