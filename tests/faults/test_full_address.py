"""A reader's full address stands nowhere: not in a spool, a topic, a store or a log."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.ids import new_message_id, now_ms
from mailwake.kafka import start_producer
from mailwake.keyring import Keyring
from mailwake.migrate import migrate
from mailwake.publish import publish
from mailwake.settings import Settings
from mailwake.tokens import Token
from mailwake.topics import registry
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import asking, edge_settings
from tests.enriching import stored
from tests.running import Service, running, standing_still, wait_until
from tests.topics import lag, read_all
from tests.unit.enricher.values import send

ADDRESSES = {
    "203.0.113.77": "203.0.113.0/24",
    "198.51.100.201": "198.51.100.0/24",
    "2001:db8:1234:5678:9abc:def0:1357:2468": "2001:db8:1234::/48",
    "::ffff:192.0.2.143": "192.0.2.0/24",
}
TARGET = "https://example.com/offer"
SERVICES = ("edge", "enricher", "loader", "notifier")
TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%Tree'"
LOGS = [f"{name}.log" for name in SERVICES]


def forms(address: str) -> list[bytes]:
    """What an address may look like: its texts, its bytes."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    each = [parsed, mapped] if mapped else [parsed]
    texts = [address.encode(), *(str(one).encode() for one in each)]
    texts += [one.exploded.encode() for one in each]
    return [*texts, *(one.packed for one in each)]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What all files of a folder hold."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(folder)), file.read_bytes()


@pytest.mark.fault(35)
async def test_no_full_address_is_kept_anywhere(
    clickhouse: str, tmp_path: Path, keyring: Keyring, tally: Callable[..., None]
) -> None:
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(
        f"127.0.0.1:{local.port}",
        tmp_path,
        trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),),
        clickhouse_url=f"{clickhouse.rpartition('/')[0]}/t_{new_message_id()[:10]}",
        loader_seconds=0.1,
        log_level="debug",
    )
    places: list[tuple[str, bytes]] = []
    try:
        await asyncio.to_thread(local.start)
        await apply_topics(settings)
        migrate(settings.clickhouse_url)
        mail = send(message_id=new_message_id(), sent_at=now_ms() - 60_000)
        with running(*(service(name, settings, tmp_path) for name in SERVICES)):
            with standing_still(local.pid):
                await visit(settings, keyring, mail.tenant, mail.message_id)
                places += files(tmp_path / "edge.state")
            producer = await start_producer(settings, client_id="test")
            await publish(producer, settings, [mail])
            await producer.stop()
            await visit(settings, keyring, mail.tenant, mail.message_id)
            database = ClickHouse(settings.clickhouse_url)
            query = "SELECT uniqExact(network) FROM events"
            await asyncio.to_thread(
                wait_until,
                "the events are stored",
                lambda: database.query(query) == [(len(ADDRESSES),)],
            )
            await asyncio.to_thread(
                wait_until,
                "all is read",
                lambda: asyncio.run(lag(settings, "notifier", "events")) == 0,
            )
        for topic in registry():
            for record in await read_all(settings, topic):
                held = (record.key or b"") + b" " + (record.value or b"")
                places.append((f"topic {topic}", held))
        for (table,) in database.query(TABLES):
            rows = database.query(f"SELECT * FROM {table}")
            places.append((f"table {table}", repr(rows).encode()))
        database.close()
        tracks, _ = stored(tmp_path / "enricher.state")
        places += [("tracks", row) for row in tracks.values()]
        places += [(name, (tmp_path / name).read_bytes()) for name in LOGS]
    finally:
        local.stop()
    shown = {place for place, held in places if ADDRESSES["203.0.113.77"].encode() in held}
    assert {"topic hits", "topic events", "table hits", "table events", "tracks"} <= shown
    assert any(place.endswith(".hits") for place in shown), "the spool was seen"
    kept = [
        (place, address)
        for place, held in places
        for address in ADDRESSES
        if any(form in held for form in forms(address))
    ]
    tally(injected=len(ADDRESSES) * 4, answered=len(ADDRESSES) * 4, note=f"{len(places)} places")
    assert kept == []


def service(name: str, settings: Settings, folder: Path) -> Service:
    """One that keeps its state beside its log."""
    state = folder / f"{name}.state"
    return Service(name, replace(settings, state=state), folder / f"{name}.log")


async def visit(settings: Settings, keyring: Keyring, tenant: str, message_id: str) -> None:
    """From each address an open and a click."""
    pixel = Token("open", tenant, message_id, 1, "identified")
    link = Token("click", tenant, message_id, 1, "identified", 0, TARGET)
    paths = ["/o/" + keyring.seal(pixel), "/c/" + keyring.seal(link)]
    async with asking(settings) as client:
        for address in ADDRESSES:
            for path in paths:
                headers = {"X-Forwarded-For": address, "Forwarded": f"for={address}"}
                assert (await client.get(path, headers=headers)).status_code in (200, 302)
