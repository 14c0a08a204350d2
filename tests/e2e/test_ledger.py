"""The whole way of the data against a ledger: nothing lost, nothing doubled, also after kill -9."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from mailwake import ids
from mailwake.clickhouse import ClickHouse
from mailwake.contracts import ALERT, HIT, Alert, Hit, Send
from mailwake.kafka import start_producer
from mailwake.keyring import read_keyring
from mailwake.publish import publish
from mailwake.settings import Settings
from mailwake.tokens import Token
from mailwake_local.parts import PLATFORM
from tests.e2e.conftest import PARTITIONS
from tests.e2e.ledger import LINKS, Ledger, make_ledger
from tests.running import Service, as_user, running, wait_until
from tests.topics import lag, read_all, rewind

GROUPS = {
    "enricher": ("sends", "hits"),
    "loader": ("sends", "displays", "hits", "events", "tracks"),
    "notifier": ("events",),
}
DEEP = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
POISON = {
    "sends": [b"{", b'{"v":1}', DEEP, b"\xff\xfe", b""],
    "hits": [b"no json", b'{"hit_id":7}', DEEP, b"null"],
}


@pytest.mark.fault(15)
@pytest.mark.fault(18)
def test_the_whole_way_equals_the_ledger(settings: Settings, tmp_path: Path) -> None:
    ledger = make_ledger(seed=20, sends=1000, hits=5000)
    through_edge = make_ledger(seed=21, sends=40, hits=0).sends

    def service(name: str, **changes: Any) -> Service:
        log = tmp_path / f"{name}-{changes.get('worker', 0)}.log"
        return Service(name, replace(settings, **changes), log)

    workers = [
        service("enricher", worker=str(number), state=tmp_path / f"state-{number}")
        for number in range(2)
    ]
    edge, loader, notifier = service("edge"), service("loader"), service("notifier")
    with running(edge, loader, notifier, *workers):
        asyncio.run(_publish_sends(settings, ledger.early))
        half = len(ledger.hits) // 2
        asyncio.run(_publish_hits(settings, ledger.hits[:half]))
        workers[0].kill()
        asyncio.run(_publish_hits(settings, ledger.hits[half:]))
        asyncio.run(_publish_sends(settings, ledger.late + through_edge))
        poisoned = asyncio.run(_publish_poison(settings, ledger))
        workers[0].start()
        opened, clicked = _visit_edge(settings, through_edge)
        _wait_until_read(settings)

        expected_events = len(ledger.events) + opened + clicked
        _compare(settings, ledger, expected_events)
        alerts = _compare_alerts(settings, ledger)
        assert len(alerts) == len(ledger.alerts) + opened + clicked
        _compare_rejects(settings, poisoned)

        # everything from offset 0 once more, into the same tables and the same state
        for stopped in (*workers, loader, notifier):
            stopped.stop()
        for group, topics in GROUPS.items():
            _rewind_when_empty(settings, group, topics)
        for again in (*workers, loader, notifier):
            again.start(wait=False)
        for again in (*workers, loader, notifier):
            again.wait_ready()
        _wait_until_read(settings)
        _compare(settings, ledger, expected_events)
        assert _compare_alerts(settings, ledger) == alerts
        assert edge.stop() == 0


async def _publish_sends(settings: Settings, sends: Sequence[Send]) -> None:
    settings = as_user(settings, PLATFORM)
    producer = await start_producer(settings, client_id="test")
    try:
        await publish(producer, settings, sends)
    finally:
        await producer.stop()


async def _publish_hits(settings: Settings, hits: Sequence[Hit]) -> None:
    """Hits in their order, in records of up to 40 of one partition, as edges send them."""
    settings = as_user(settings, "edge")
    partition_of = ids.partitioner(PARTITIONS)
    gathered: dict[int, list[Hit]] = {}
    producer = await start_producer(settings, client_id="test")
    try:
        for hit in hits:
            batch = gathered.setdefault(partition_of(hit.message_id.encode()), [])
            batch.append(hit)
            if len(batch) == 40:
                await _send_batch(producer, settings, batch, partition_of)
        for batch in filter(None, gathered.values()):
            await _send_batch(producer, settings, batch, partition_of)
    finally:
        await producer.stop()


async def _send_batch(
    producer: AIOKafkaProducer,
    settings: Settings,
    batch: list[Hit],
    partition_of: Callable[[bytes], int],
) -> None:
    key = batch[0].message_id.encode()
    value = HIT.encode_many(batch)
    batch.clear()
    await producer.send_and_wait(
        settings.topic("hits"), value, key=key, partition=partition_of(key)
    )


async def _publish_poison(settings: Settings, ledger: Ledger) -> Counter[tuple[str, bytes]]:
    """Poison of every kind; gives what must stand in the reject topics: (topic, value)."""
    expected: Counter[tuple[str, bytes]] = Counter()
    partition_of = ids.partitioner(PARTITIONS)
    send = next(send for send in ledger.early if send.opens)
    stranger = Hit(
        hit_id=ids.HitStream().next(),
        kind="open",
        at=ids.now_ms(),
        tenant="initech",
        message_id=send.message_id,
        recipient=0,
        mode="identified",
    )
    astray = msgspec.structs.replace(stranger, tenant=send.tenant)
    producer = await start_producer(settings, client_id="test")
    try:
        for topic, values in POISON.items():
            for value in values:
                await producer.send_and_wait(settings.topic(topic), value, key=b"poison")
                expected[topic, value] += 1
        await producer.send_and_wait(settings.topic("hits"), b"[[]]", key=b"poison")
        expected["hits", b"[]"] += 1  # of an array, the part that is bad
        right = partition_of(send.message_id.encode())
        mixed = b"[" + HIT.encode(stranger) + b',{"broken":true}]'
        await producer.send_and_wait(settings.topic("hits"), mixed, partition=right)
        await producer.send_and_wait(
            settings.topic("hits"), HIT.encode(astray), partition=(right + 1) % PARTITIONS
        )
        expected["hits", HIT.encode(stranger)] += 1
        expected["hits", b'{"broken":true}'] += 1
        expected["hits", HIT.encode(astray)] += 1
    finally:
        await producer.stop()
    return expected


def _visit_edge(settings: Settings, sends: Sequence[Send]) -> tuple[int, int]:
    """Opens and clicks each send through the edge, with forged tokens between; gives the counts."""
    rng = random.Random(3)
    keyring = read_keyring(settings.keyring)
    opened = clicked = 0
    pixels: set[bytes] = set()
    for send in sends:
        recipient = 1 if send.recipient_count == 1 else 0
        common = (send.tenant, send.message_id, recipient, send.mode)
        pixel = keyring.seal(Token("open", *common))
        click = keyring.seal(Token("click", *common, link=0, target=LINKS[0]))
        pixels.add(_get(settings, "o", pixel)[1])
        status, _, location = _get(settings, "c", click)
        assert (status, location) == (302, LINKS[0])
        opened += send.opens
        clicked += send.clicks
        for forged in (_mutated(rng, pixel), _mutated(rng, click)):
            pixels.add(_get(settings, "o", forged)[1])
            status, _, location = _get(settings, "c", forged)
            assert (status, location) == (404, None)
    assert len(pixels) == 1, "the pixel differs between good and forged tokens"
    return opened, clicked


def _mutated(rng: random.Random, token: str) -> str:
    at = rng.randrange(len(token))
    other = rng.choice([letter for letter in "ABCdef019-_" if letter != token[at]])
    return token[:at] + other + token[at + 1 :]


def _get(settings: Settings, path: str, token: str) -> tuple[int, bytes, str | None]:
    answer = httpx.get(
        f"{settings.tracking_url}/{path}/{token}", headers={"User-Agent": "Thunderbird/140.1.0"}
    )
    return answer.status_code, answer.content, answer.headers.get("Location")


def _wait_until_read(settings: Settings) -> None:
    """Until every group has read and committed all there is, twice in a row."""

    def all_read() -> bool:
        return not any(
            asyncio.run(lag(settings, group, *topics)) for group, topics in GROUPS.items()
        )

    wait_until("all groups at the end of their topics", lambda: all_read() and all_read(), 120)


def _rewind_when_empty(settings: Settings, group: str, topics: Sequence[str]) -> None:
    """A static member is gone only when its session has timed out; then the group is rewound."""

    def rewound() -> bool:
        try:
            asyncio.run(rewind(settings, group, *topics))
        except KafkaError:
            return False
        return True

    wait_until(f"group {group} is empty", rewound, 90)


def _compare(settings: Settings, ledger: Ledger, expected_events: int) -> None:
    clickhouse = ClickHouse(settings.clickhouse_url)
    rows = clickhouse.query(
        "SELECT event_id, hit_id, kind,"
        " toUnixTimestamp64Milli(at), message_id, link, verdict, first, implied, forward"
        " FROM events FINAL WHERE NOT repeat"
    )
    events = {row[0]: row[1:] for row in rows}
    assert len(events) == len(rows) == expected_events
    for event in ledger.events.values():
        assert events[event.event_id] == astuple(event)[1:]
    tracks = clickhouse.query(
        "SELECT message_id, opens, clicks, machine_opens, machine_clicks, repeats, forwards,"
        " toUnixTimestamp64Milli(first_open_at), toUnixTimestamp64Milli(last_open_at),"
        " toUnixTimestamp64Milli(first_click_at), toUnixTimestamp64Milli(last_click_at), clicked"
        " FROM tracks FINAL"
    )
    for message_id, *counts in tracks:
        if message_id in ledger.tracks:
            told = ledger.tracks[message_id]
            assert [value or 0 for value in counts[:-1]] == list(astuple(told))[:-1]
            assert counts[-1] == told.clicked
    assert set(ledger.tracks) <= {message_id for message_id, *_ in tracks}
    for table, count in (
        ("sends", len(ledger.sends)),
        ("hits", len({h.hit_id for h in ledger.hits})),
    ):
        ((found,),) = clickhouse.query(f"SELECT count() FROM {table} FINAL")
        assert found >= count, table
    clickhouse.close()


def _compare_alerts(settings: Settings, ledger: Ledger) -> set[str]:
    records = asyncio.run(read_all(settings, "alerts"))
    alerts: dict[tuple[str, int], Alert] = {}
    for record in records:
        alert = ALERT.decode(record.value)
        assert record.key == f"{alert.tenant}/{alert.user}".encode()
        same = alerts.setdefault((alert.alert_id, alert.revision), alert)
        assert alert == same, "one alert_id and revision, two alerts"
    told = {alert_id for alert_id, _ in alerts}
    assert ledger.alerts <= told
    return told


def _compare_rejects(settings: Settings, expected: Counter[tuple[str, bytes]]) -> None:
    """Each poison stands in its reject topic, once for each place it was read at."""
    found: Counter[tuple[str, bytes]] = Counter()
    sources: set[tuple[bytes, bytes]] = set()
    for topic in ("sends", "hits"):
        for record in asyncio.run(read_all(settings, f"{topic}.rejected")):
            source = dict(record.headers)["mailwake-source"]
            if (source, record.value) not in sources:
                sources.add((source, record.value))
                found[topic, record.value] += 1
    assert found == expected
