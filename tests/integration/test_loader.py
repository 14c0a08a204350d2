"""The loader as its own process, between a real Kafka and the real ClickHouse engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import (
    CONSENT,
    DISPLAY,
    EVENT,
    HIT,
    SEND,
    Display,
    Event,
    Hit,
    Party,
    Send,
    new_consent,
)
from mailwake.ids import HitStream, event_id, new_message_id, now_ms, partitioner
from mailwake.kafka import start_producer
from mailwake.settings import Settings, read_settings
from mailwake.track import TRACK, Track, TrackedSend
from mailwake_local.clickhouse import LocalClickHouse
from tests.installation import own_installation
from tests.running import Service, wait_until
from tests.topics import lag, read_all, rewind
from tests.unit.loader.values import BEYOND_2100, NARROWER

TOPICS = ("sends", "displays", "hits", "events", "tracks", "consent_proofs")
PARTITIONS = 4
AT = 1_767_225_600_000
STREAM = HitStream()

partition_of = partitioner(PARTITIONS)


class Table:
    """Asks ClickHouse; one connection."""

    def __init__(self, settings: Settings) -> None:
        self._client = ClickHouse(settings.clickhouse_url)

    def __call__(self, sql: str) -> list[tuple[Any, ...]]:
        return self._client.query(sql)

    def count(self, table: str, *, final: bool = True) -> int:
        ((rows,),) = self(f"SELECT count() FROM {table}{' FINAL' if final else ''}")
        return int(rows)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
async def settings(kafka: str, clickhouse: str) -> Settings:
    return await own_installation(kafka, clickhouse, partitions=PARTITIONS)


@pytest.fixture
def table(settings: Settings) -> Iterator[Table]:
    made = Table(settings)
    yield made
    made.close()


@pytest.fixture
def loader(settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """Not started."""
    made = Service("loader", settings, tmp_path / "loader.log")
    yield made
    made.kill()


def send(number: int = 0) -> Send:
    return Send(
        message_id=new_message_id(AT + number),
        tenant="acme",
        user="anna",
        sent_at=AT + number,
        recipient_count=2,
        mode="anonymous",
        opens=True,
        clicks=True,
        links=["https://example.com/a", "https://example.com/b"],
    )


def event(number: int = 0, **more: Any) -> Event:
    hit_id = STREAM.next()
    made = Event(
        event_id=event_id(hit_id, "open"),
        revision=1,
        hit_id=hit_id,
        kind="open",
        at=AT + number * 60_000,
        tenant="acme",
        user=f"u-{number % 7}",
        message_id=new_message_id(AT),
        recipient=0,
        recipient_count=2,
        mode="anonymous",
        verdict="human",
        reasons=["browser"],
        first=True,
        sent_at=AT,
    )
    return structs.replace(made, **more)


def display(message_id: str, subject: str) -> Display:
    return Display(message_id, "acme", "anna", subject, [Party("bob@example.com", "Bob")])


async def publish(settings: Settings, topic: str, *records: tuple[str, bytes | None]) -> None:
    """Records, each with the message_id that is its key."""
    producer = await start_producer(settings, client_id="test", compression="zstd")
    try:
        for message_id, value in records:
            key = message_id.encode()
            partition = partition_of(key)
            await producer.send(settings.topic(topic), value, key=key, partition=partition)
    finally:
        await producer.stop()


def event_records(events: Sequence[Event], size: int = 50) -> list[tuple[str, bytes]]:
    """Batch records: events of one partition together."""
    by_partition: dict[int, list[Event]] = {}
    for each in events:
        by_partition.setdefault(partition_of(each.message_id.encode()), []).append(each)
    return [
        (some[0].message_id, EVENT.encode_many(some))
        for of_one in by_partition.values()
        for some in (of_one[at : at + size] for at in range(0, len(of_one), size))
    ]


async def all_loaded(settings: Settings, *topics: str) -> None:
    """Waits until everything in the topics is committed."""
    deadline = time.monotonic() + 60
    while left := await lag(settings, "loader", *(topics or TOPICS)):
        assert time.monotonic() < deadline, f"{left} records are not loaded"


def rows_of(table: Table, of: str) -> list[tuple[Any, ...]]:
    """All that was told; when it was loaded, which a display's row says, is no part of it."""
    told = "* EXCEPT loaded_at" if of == "displays" else "*"
    return table(f"SELECT {told} FROM {of} FINAL ORDER BY ALL")


@pytest.mark.fault(18)
async def test_everything_arrives_and_a_replay_changes_nothing(
    settings: Settings, loader: Service, table: Table
) -> None:
    sends = [send(number) for number in range(20)]
    first, now = sends[0].message_id, now_ms()
    hits = [
        Hit(
            hit_id=STREAM.next(),
            kind="click" if number % 2 else "open",
            at=now,  # an old one would not stay
            tenant="acme",
            message_id=each.message_id,
            recipient=0,
            mode="anonymous",
            link=0 if number % 2 else None,
            target="https://example.com/a" if number % 2 else None,
            asn=4_200_000_000,
        )
        for number, each in enumerate(sends)
    ]
    events = [event(number) for number in range(500)]
    known = TrackedSend("acme", "anna", 2, None, "anonymous", True, True, AT, "spring")
    tracks = [
        Track(revision=number, send=known, opens=number, forwards=number, readers_about=9)
        for number in range(1, 4)
    ]
    await publish(settings, "sends", *((each.message_id, SEND.encode(each)) for each in sends))
    await publish(settings, "displays", (first, DISPLAY.encode(display(first, "Offer"))))
    await publish(settings, "hits", *((each.message_id, HIT.encode(each)) for each in hits))
    await publish(settings, "events", *event_records(events), *event_records(events[:100]))
    await publish(settings, "tracks", *((first, TRACK.encode(each)) for each in tracks))
    await publish(settings, "tracks", (sends[1].message_id, TRACK.encode(Track(revision=1))))
    proofs = [new_consent("acme", first, "opens", "denied", AT + n, "import") for n in range(5)]
    told_again = [*proofs, *proofs[:2]]
    await publish(
        settings, "consent_proofs", *((first, CONSENT.encode(each)) for each in told_again)
    )
    await publish(settings, "consent_proofs", (first, b"no"))
    loader.start()
    await all_loaded(settings)

    expected = dict(zip(TOPICS, (20, 1, 20, 500, 1, 5), strict=True))
    assert {name: table.count(name) for name in TOPICS} == expected
    stood = {name: rows_of(table, name) for name in TOPICS}
    assert table(
        "SELECT revision, opens, tag, first_open_at, forwards, readers_about FROM tracks FINAL"
    ) == [(3, 3, "spring", None, 3, 9)]
    assert table(
        "SELECT subject, recipient_names[1], links[1], dateDiff('ms', toDateTime64(0, 3), sent_at) "
        f"FROM displays JOIN sends USING message_id WHERE message_id = '{first}'"
    ) == [("Offer", "Bob", "", AT)]
    assert table("SELECT countIf(link = 0), countIf(link IS NULL), any(asn) FROM hits FINAL") == [
        (10, 10, 4_200_000_000)
    ]

    assert loader.stop() == 0
    await rewind(settings, "loader", *TOPICS)
    loader.start()
    await all_loaded(settings)
    assert {name: rows_of(table, name) for name in TOPICS} == stood


async def test_a_later_revision_replaces_and_an_earlier_does_not(
    settings: Settings, loader: Service, table: Table
) -> None:
    one = event()
    revised = structs.replace(
        one,
        revision=2,
        verdict="scanner",
        reasons=["burst"],
        score=95,
        rules_version=7,
        repeat=True,
    )
    loader.start()
    for each in (revised, one):
        await publish(settings, "events", (each.message_id, EVENT.encode(each)))
        await all_loaded(settings, "events")
    assert table(
        "SELECT revision, verdict, reasons, score, rules_version, repeat FROM events FINAL"
    ) == [(2, "scanner", ["burst"], 95, 7, True)]


async def test_a_tombstone_erases_and_what_comes_after_stays(
    settings: Settings, loader: Service, table: Table
) -> None:
    one, two, three = (new_message_id(AT + number) for number in range(3))
    rows = [(each, DISPLAY.encode(display(each, "Secret"))) for each in (one, two, three)]
    known = TrackedSend("acme", "anna", 2, None, "anonymous", True, True, AT, None)
    states = [(each, TRACK.encode(Track(revision=9, send=known))) for each in (one, two)]
    loader.start()
    await publish(settings, "displays", *rows)
    await publish(settings, "tracks", *states)
    await all_loaded(settings, "displays", "tracks")
    assert (table.count("displays"), table.count("tracks")) == (3, 2)

    again = DISPLAY.encode(display(two, "Again"))
    await publish(settings, "displays", (one, None), (two, None), (two, again))
    began_anew = TRACK.encode(Track(revision=1, send=known, opens=7))
    await publish(settings, "tracks", (one, None), (two, None), (two, began_anew))
    await all_loaded(settings, "displays", "tracks")
    # Without FINAL: it is gone, not hidden.
    assert table("SELECT message_id, subject FROM displays ORDER BY ALL") == [
        (two, "Again"),
        (three, "Secret"),
    ]
    assert table("SELECT message_id, revision, opens FROM tracks") == [(two, 1, 7)]


async def test_bad_values_are_put_aside_and_the_rest_goes_on(
    settings: Settings, loader: Service, table: Table
) -> None:
    good = [event(number) for number in range(40)]
    table(NARROWER)  # the contract lets it pass; the table does not
    far = event(41, at=BEYOND_2100)
    bad = EVENT.encode(event(42)).replace(b'"acme"', b'"A c m e"')
    array = b"[%s]" % b", ".join([EVENT.encode(good[0]), bad, EVENT.encode(far), b"7"])
    keyed = display(new_message_id(AT), "Offer")
    loader.start()
    await publish(settings, "events", (good[0].message_id, array), (good[1].message_id, b"no"))
    await publish(settings, "events", *event_records(good[1:]))
    await publish(settings, "displays", (new_message_id(AT), DISPLAY.encode(keyed)))
    await publish(settings, "displays", (keyed.message_id, DISPLAY.encode(keyed)))
    await publish(settings, "hits", (good[0].message_id, b"no"))
    await publish(settings, "sends", (good[0].message_id, b'[{"v": 1}]'))
    await all_loaded(settings)

    assert table.count("events") == len(good)
    assert table.count("displays") == 1
    rejected = await read_all(settings, "events.rejected")
    assert sorted((each.value or b"").decode() for each in rejected) == sorted(
        each.decode() for each in (bad, EVENT.encode(far), b"7", b"no")
    )
    told = {each.value: dict(each.headers) for each in rejected}
    assert told[b"no"]["mailwake-reason"] == b"not_json"
    assert told[bad]["mailwake-reason"] == b"contract"
    assert b"code 469" in told[EVENT.encode(far)]["mailwake-error"]
    assert told[bad]["mailwake-source"].startswith(b"events/")
    (mistaken,) = await read_all(settings, "displays.rejected")
    assert mistaken.value == DISPLAY.encode(keyed)
    for topic in ("sends", "hits"):  # the enricher rejects these
        assert await read_all(settings, f"{topic}.rejected") == []


async def test_sigterm_stores_and_commits_what_was_read(
    kafka: str, clickhouse: str, tmp_path: Path
) -> None:
    settings = await own_installation(kafka, clickhouse, partitions=PARTITIONS, loader_seconds=60)
    loader, table = Service("loader", settings, tmp_path / "log"), Table(settings)
    try:
        loader.start()
        await publish(settings, "events", *event_records([event(n) for n in range(30)]))
        await asyncio.sleep(2)
        assert table.count("events") == 0
        assert loader.stop() == 0
        assert table.count("events") == 30
        assert await lag(settings, "loader", *TOPICS) == 0
    finally:
        loader.kill()
        table.close()


@pytest.fixture
async def own(kafka: str, tmp_path: Path) -> AsyncIterator[tuple[LocalClickHouse, Settings]]:
    """A ClickHouse that a test may kill, and settings with small inserts."""
    with LocalClickHouse(tmp_path / "clickhouse") as local:
        more = {"partitions": PARTITIONS, "loader_rows": 1000}
        yield local, await own_installation(kafka, local.url, **more)


@pytest.mark.fault(16)
async def test_clickhouse_killed_and_started_again_costs_nothing(
    own: tuple[LocalClickHouse, Settings], tmp_path: Path
) -> None:
    local, settings = own
    events = [event(number) for number in range(30_000)]
    await publish(settings, "events", *event_records(events))
    with Service("loader", settings, tmp_path / "log") as loader:
        table = Table(settings)
        wait_until("some rows are stored", lambda: table.count("events", final=False) > 2000)
        table.close()
        local.kill()
        wait_until("the loader is not ready", lambda: not loader.ask("/ready"))
        assert loader.ask("/health")
        assert await lag(settings, "loader", "events") > 0
        local.start()
        loader.wait_ready()
        await all_loaded(settings, "events")
        table = Table(settings)
        assert table.count("events") == len(events)
        ((ids,),) = table("SELECT uniqExact(event_id) FROM events FINAL")
        assert ids == len(events)
        table.close()
    assert local.password not in loader.log.read_text()


@pytest.mark.fault(17)
async def test_the_loader_killed_again_and_again_costs_nothing(
    own: tuple[LocalClickHouse, Settings], tmp_path: Path
) -> None:
    _, settings = own
    events = [event(number) for number in range(30_000)]
    await publish(settings, "events", *event_records(events))
    table = Table(settings)
    loader = Service("loader", settings, tmp_path / "log")
    try:
        for more in (2000, 12_000):
            loader.start(wait=False)
            wait_until(
                f"{more} rows are stored",
                lambda: table.count("events") >= more,  # noqa: B023
            )
            loader.kill()
        loader.start()
        await all_loaded(settings, "events")
        assert table.count("events") == len(events)
    finally:
        loader.kill()
        table.close()


async def test_two_loaders_share_the_work(
    own: tuple[LocalClickHouse, Settings], tmp_path: Path
) -> None:
    _, settings = own
    events = [event(number) for number in range(20_000)]
    first = Service("loader", settings, tmp_path / "first.log")
    second = Service("loader", settings, tmp_path / "second.log")
    table = Table(settings)
    with first:
        await publish(settings, "events", *event_records(events[:10_000]))
        with second:
            await publish(settings, "events", *event_records(events[10_000:]))
            await all_loaded(settings, "events")
            assert second.stop() == 0
        await publish(settings, "events", *event_records(events[:1000]))
        await all_loaded(settings, "events")
        assert table.count("events") == len(events)
    table.close()


@pytest.mark.fault(16)
async def test_without_clickhouse_it_waits(kafka: str, clickhouse: str, tmp_path: Path) -> None:
    settings = await own_installation(kafka, clickhouse, partitions=PARTITIONS)
    away = replace(settings, clickhouse_url="clickhouse://u:hunter2@127.0.0.1:1/none")
    await publish(settings, "events", *event_records([event()]))
    loader = Service("loader", away, tmp_path / "log")
    try:
        loader.start(wait=False)
        wait_until("it waits", lambda: "waiting to insert" in loader.log.read_text())
        assert loader.ask("/health")
        wait_until("it is not ready", lambda: not loader.ask("/ready"))
        assert "hunter2" not in loader.log.read_text()
        begun = time.monotonic()
        assert loader.stop() == 0
        assert time.monotonic() - begun < 15
    finally:
        loader.kill()
    assert await lag(settings, "loader", "events") == 1


def test_without_kafka_it_says_so(clickhouse: str, tmp_path: Path) -> None:
    settings = read_settings({}, kafka_bootstrap="127.0.0.1:1", clickhouse_url=clickhouse)
    loader = Service("loader", settings, tmp_path / "log")
    loader.start(wait=False)
    assert loader.process is not None
    assert loader.process.wait(30) == 3
    assert "mailwake loader: Kafka does not answer at 127.0.0.1:1" in loader.log.read_text()
    assert "Traceback" not in loader.log.read_text()
