"""A recipient is exported and erased, on real Kafka and ClickHouse, with all services running."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import CONSENT, DISPLAY, EVENT, HIT, NOBODY, Hit
from mailwake.ids import HitStream, now_ms
from mailwake.kafka import start_producer
from mailwake.keyring import read_keyring
from mailwake.settings import Settings
from mailwake.track import TRACK
from mailwake_local.ports import free_port
from tests.api import Api, json, new_keys
from tests.installation import own_installation
from tests.running import Service, running, wait_until
from tests.topics import lag, read_all, rewind

ANNA, CARL, DORA = "anna@people.example", "carl@people.example", "dora@people.example"
TABLES = ("sends", "displays", "hits", "events", "tracks")
STREAM = HitStream()
HTML = '<body><a href="https://shop.example/">offer</a></body>'
MAIL = """\
From: Ben <ben@acme.example>\r
To: {to}\r
Subject: An offer\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body><p>See <a href="https://shop.example/">our offer</a>.</p></body></html>\r
"""


class World:
    """All services, and who asks them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.api = Api(settings, folder)
        self.edge = Service("edge", settings, folder / "edge.log")
        self.enricher = Service("enricher", settings, folder / "enricher.log")
        self.loader = Service("loader", settings, folder / "loader.log")
        self.clickhouse = ClickHouse(settings.clickhouse_url)
        self.reader = httpx.Client(
            base_url=f"http://127.0.0.1:{settings.edge_port}",
            headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"},
        )

    def id_of(self, address: str, tenant: str = "acme") -> str:
        return read_keyring(self.settings.keyring).recipient_id(tenant, address)

    def policy(self, tenant: str) -> None:
        with self.api.client("ada", "admin", tenant) as ada:
            json(ada.put("/v1/policy", json={"ceiling": "identified", "basis": "contract"}))

    def send(self, *to: str, tenant: str = "acme", **more: str) -> tuple[str, str]:
        """Sends one body to some; gives its message_id and the instrumented mail."""
        shown = ", ".join(f"{each.partition('@')[0].title()} Person <{each}>" for each in to)
        body = {"message": base64.b64encode(MAIL.format(to=shown).encode()).decode(), **more}
        with self.api.client("ben", tenant=tenant) as ben:
            told = json(ben.post("/v1/sends", json=body))
        assert told["tracked"]["opens"], told
        return told["message_id"], base64.b64decode(told["message"]).decode()

    def open(self, mail: str) -> None:
        """Fetches the pixel of a mail and follows its link."""
        mail = mail.replace("=\r\n", "")
        for kind, status in (("o", 200), ("c", 302)):
            found = re.search(rf"/{kind}/[A-Za-z0-9_-]+", mail)
            assert found is not None
            assert self.reader.get(found[0]).status_code == status

    def settle(self) -> None:
        """Waits until enricher and loader have taken everything."""
        queued = "mailwake_edge_queued_hits"
        wait_until("the edge has published all", lambda: self.edge.metric(queued) == 0)
        for group, topics in (
            ("enricher", ("sends", "hits", "removals")),
            ("loader", (*TABLES, "consent_proofs")),
        ):
            wait_until(
                f"{group} has read all",
                lambda group=group, topics=topics: (  # type: ignore[misc]
                    asyncio.run(lag(self.settings, group, *topics)) == 0
                ),
            )

    def erase(self, tenant: str = "acme", **whom: str) -> Any:
        """Erases, and waits for the receipt."""
        with self.api.client("ada", "admin", tenant) as ada:
            answer = ada.post("/v1/privacy/erase", json=whom)
            assert answer.status_code in (200, 202), answer.text
            told: Any = answer.json()

            def done() -> bool:
                nonlocal told
                told = ada.get(f"/v1/privacy/erasures/{told['erasure_id']}").json()
                return bool(told["state"] == "done")

            wait_until("the erasure is done", done)
            return told

    def export(self, tenant: str = "acme", **whom: str) -> Any:
        with self.api.client("ada", "admin", tenant) as ada:
            return json(ada.post("/v1/privacy/export", json=whom))

    def rows(self, table: str, message_id: str, final: str = "") -> int:
        ((count,),) = self.clickhouse.query(
            f"SELECT count() FROM {table} {final} WHERE message_id = %(id)s", {"id": message_id}
        )
        return int(count)

    def acts(self, message_id: str) -> list[int]:
        return [self.rows(table, message_id, "FINAL") for table in ("hits", "events", "tracks")]

    def tables_with(self, text: str, tenant: str = "acme") -> set[str]:
        """The tables in which any row of a tenant holds a text in any of its columns."""
        names = self.clickhouse.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() "
            "AND engine LIKE '%MergeTree%' AND has_own_data AND name != 'migrations'"
        )
        assert {name for (name,) in names} >= {*TABLES, "consent_proofs"}
        found: set[str] = set()
        for (name,) in names:
            columns = self.clickhouse.query(
                "SELECT name FROM system.columns WHERE database = currentDatabase() "
                "AND table = %(table)s",
                {"table": name},
            )
            if ("tenant",) not in columns:
                continue
            ((count,),) = self.clickhouse.query(
                f"SELECT count() FROM {name} WHERE tenant = %(tenant)s "
                "AND positionCaseInsensitive(toString(tuple(*)), %(text)s) > 0",
                {"tenant": tenant, "text": text},
            )
            if count:
                found.add(name)
        return found

    def state_of(self, topic: str) -> dict[bytes, bytes]:
        """What compaction leaves of a topic."""
        last: dict[bytes, bytes | None] = {}
        for record in asyncio.run(read_all(self.settings, topic)):
            last[record.key or b""] = record.value
        return {key: value for key, value in last.items() if value is not None}

    def put_hit(self, message_id: str, tenant: str = "acme") -> None:
        """Publishes a hit as an edge does that held it for long."""
        hit = Hit(
            hit_id=STREAM.next(),
            kind="open",
            at=now_ms(),
            tenant=tenant,
            message_id=message_id,
            recipient=1,
            mode="identified",
            network="192.0.2.0/24",
        )

        async def put() -> None:
            producer = await start_producer(self.settings, client_id="test")
            await producer.send_and_wait(
                self.settings.topic("hits"), HIT.encode(hit), key=message_id.encode()
            )
            await producer.stop()

        asyncio.run(put())


@pytest.fixture(scope="module")
def world(kafka: str, clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("privacy")
    port = free_port()
    settings = asyncio.run(
        own_installation(
            kafka,
            clickhouse,
            **new_keys(folder),
            partitions=2,
            edge_port=port,
            tracking_url=f"http://127.0.0.1:{port}",
            edge_linger_ms=5,
            join_wait_s=600,
        )
    )
    made = World(settings, folder)
    services = (made.api, made.edge, made.enricher, made.loader)
    with running(*services):
        for tenant in ("acme", "beta"):
            made.policy(tenant)
        yield made
    made.clickhouse.close()
    made.reader.close()
    for each in services:
        log = each.log.read_text()
        assert "Traceback" not in log
        assert "people.example" not in log


@pytest.mark.fault(36)
def test_a_recipient_is_exported_and_erased_and_leaves_nothing(world: World) -> None:
    anna, carl = world.id_of(ANNA), world.id_of(CARL)
    with world.api.client("crm", "platform") as crm:
        said = {
            "address": ANNA,
            "purposes": ["opens"],
            "state": "granted",
            "method": "signup_form",
            "wording": "I agree.",
        }
        json(crm.post("/v1/consents", json=said))
    own, own_mail = world.send(ANNA)
    spelled, spelled_mail = world.send(ANNA.upper())
    hidden, hidden_mail = world.send(ANNA, mode="anonymous")
    shared, shared_mail = world.send(ANNA, CARL, DORA)
    crowd, _ = world.send(ANNA, CARL, mode="anonymous")
    others, others_mail = world.send(CARL)
    beta, beta_mail = world.send(ANNA, tenant="beta")
    for mail in (own_mail, spelled_mail, hidden_mail, shared_mail, others_mail, beta_mail):
        world.open(mail)
    world.settle()
    mine = {own, spelled, hidden}
    assert all(world.rows(table, each) for table in TABLES for each in mine)

    # The copy.
    copy = world.export(address=ANNA)
    by_id = {mail["message_id"]: mail for mail in copy["mails"]}
    assert by_id.keys() == mine | {shared, crowd}
    for each in mine:
        assert [hit["kind"] for hit in by_id[each]["hits"]] == ["open", "click"]
        assert {event["kind"] for event in by_id[each]["events"]} == {"open", "click"}
        assert by_id[each]["track"]["clicks"] == 1
        assert not by_id[each]["shared"]
    assert by_id[own]["send"]["recipients"] == [anna]
    assert by_id[shared].keys() == {"message_id", "shared", "send", "display"}
    assert by_id[shared]["send"]["recipient_indexes"] == [1]
    assert by_id[shared]["display"]["recipient_addresses"] == [ANNA]
    told = msgspec.json.encode(copy).decode()
    assert "carl" not in told.lower()
    assert carl not in told
    assert copy["consents"]["opens"]["state"] == "granted"
    assert [proof["wording"] for proof in copy["consent_proofs"]] == ["I agree."]
    assert world.export(recipient_id=anna)["mails"] == copy["mails"]

    # Gone.
    receipt = world.erase(address=ANNA)
    assert (receipt["mails"], receipt["shared"]) == (3, 2)
    assert receipt["rows"] == {"hits": 6, "events": 6, "tracks": 3, "displays": 5, "sends": 4}
    assert "people.example" not in msgspec.json.encode(receipt).decode()
    expires = {each["topic"]: each["at"] for each in receipt["expires"]}
    assert {"sends", "hits", "events", "tracks", "displays", "hits.unmatched"} <= expires.keys()
    assert expires["events"] == receipt["done_at"] + 14 * 86_400_000
    assert expires["displays"] == receipt["done_at"] + 2 * 86_400_000
    check_gone(world, mine)

    # What is others' is there.
    ((recipients,),) = world.clickhouse.query(
        "SELECT recipients FROM sends FINAL WHERE message_id = %(id)s", {"id": shared}
    )
    assert list(recipients) == [NOBODY, carl, world.id_of(DORA)]
    ((addresses, names),) = world.clickhouse.query(
        "SELECT recipient_addresses, recipient_names FROM displays FINAL WHERE message_id = %(id)s",
        {"id": shared},
    )
    assert (list(addresses), list(names)) == (
        ["", CARL, DORA],
        ["", "Carl Person", "Dora Person"],
    )
    assert world.acts(shared) == [2, 2, 1]
    assert all(world.rows(table, others) for table in TABLES)
    assert {mail["message_id"] for mail in world.export(address=CARL)["mails"]} == {
        shared,
        crowd,
        others,
    }
    assert all(world.rows(table, beta) for table in TABLES)
    # Hidden as it was by her denial: nobody knows who did it.
    ((shown,),) = world.clickhouse.query(
        "SELECT count() FROM consented_events(tenant = 'acme', user = 'ben') "
        "WHERE message_id = %(id)s",
        {"id": shared},
    )
    assert shown == 0

    # Late requests: at the edge, and held back by one.
    world.open(own_mail)
    world.open(shared_mail)
    world.put_hit(own)
    world.settle()
    check_gone(world, mine)
    assert world.acts(shared) == [2, 2, 1]

    # Everything comes once more from Kafka, which keeps it for a week.
    world.loader.stop()
    wait_until("the loader left", lambda: not world.loader.ask("/health"))
    asyncio.run(rewind(world.settings, "loader", *TABLES, "consent_proofs"))
    world.loader.start()
    world.settle()
    check_gone(world, mine)
    assert any(
        own.encode() in record.value for record in asyncio.run(read_all(world.settings, "hits"))
    )

    # Once more finds nothing; the copy tells of the receipts and the proofs.
    again = world.erase(recipient_id=anna)
    assert again["erasure_id"] != receipt["erasure_id"]
    assert (again["mails"], again["shared"], again["rows"]) == (0, 0, {})
    copy = world.export(address=ANNA)
    assert copy["mails"] == []
    assert [each["erasure_id"] for each in copy["erasures"]] == [
        receipt["erasure_id"],
        again["erasure_id"],
    ]
    assert [copy["consents"][purpose]["state"] for purpose in ("opens", "clicks")] == ["denied"] * 2

    # Carl, from what is left of the shared mails, of which one becomes nobody's.
    receipt = world.erase(address=CARL)
    assert (receipt["mails"], receipt["shared"]) == (2, 1)
    assert world.tables_with("carl") == set()
    assert world.rows("displays", crowd) == 0
    world.erase(address=DORA)
    assert all(not world.rows(table, shared) for table in TABLES)


def check_gone(world: World, mine: set[str]) -> None:
    """Nothing in any table, and nothing in what compaction leaves."""
    anna = world.id_of(ANNA)
    assert world.tables_with("anna") == set()
    assert world.tables_with(anna) <= {"consent_proofs"}
    assert world.tables_with("192.0.2.0/24") == set()
    assert all(not world.rows(table, each) for table in TABLES for each in mine)
    displays, tracks = world.state_of("displays"), world.state_of("tracks")
    assert not {each.encode() for each in mine} & displays.keys()
    for value in displays.values():
        if DISPLAY.decode(value).tenant == "acme":
            assert b"anna" not in value.lower()
    for message_id in mine:
        track = TRACK.decode(tracks[message_id.encode()])
        assert track.erased
        assert replace_erased(track) == replace_erased(TRACK.decode(b"[1]"))
    assert all(anna.encode() not in value for value in tracks.values())
    said = [CONSENT.decode(value) for value in world.state_of("consents").values()]
    assert {each.state for each in said if each.recipient_id == anna} == {"denied"}
    # No event is told any more of a mail that was erased.
    for record in asyncio.run(read_all(world.settings, "events")):
        for event in EVENT.read(record.value or b"")[0]:
            assert event.network != "192.0.2.0/24"


def replace_erased(track: Any) -> Any:
    return msgspec.structs.replace(track, erased=0, revision=0)


def test_another_tenant_gets_and_erases_nothing(world: World) -> None:
    eve = "eve@people.example"
    message_id, mail = world.send(eve)
    world.open(mail)
    world.settle()
    assert world.export("beta", address=eve)["mails"] == []
    assert world.export("beta", recipient_id=world.id_of(eve))["mails"] == []
    theirs = world.erase("beta", recipient_id=world.id_of(eve))
    assert (theirs["mails"], theirs["rows"]) == (0, {})
    assert all(world.rows(table, message_id) for table in TABLES)
    own = world.erase("acme", address=eve)
    with world.api.client("bea", "admin", "beta") as bea:
        assert bea.get(f"/v1/privacy/erasures/{own['erasure_id']}").status_code == 404
        assert bea.get(f"/v1/privacy/erasures/{theirs['erasure_id']}").status_code == 200


def test_an_erasure_goes_on_where_a_crash_left_it(world: World) -> None:
    """The API is killed while the loader stands still, when the names are out of Kafka already."""
    fay = "fay@people.example"
    own, mail = world.send(fay, mode="anonymous")
    world.open(mail)
    world.settle()
    world.loader.stop()
    with world.api.client("ada", "admin") as ada:
        answer = ada.post("/v1/privacy/erase", json={"address": fay}, timeout=60)
        begun = json(answer, 202)
        assert answer.headers["location"] == f"/v1/privacy/erasures/{begun['erasure_id']}"
        assert begun["state"] == "under_way"
        assert json(ada.post("/v1/privacy/erase", json={"address": fay}, timeout=60), 202) == begun
    world.api.kill()
    world.api.start()
    with world.api.client("ada", "admin") as ada:
        path = f"/v1/privacy/erasures/{begun['erasure_id']}"
        assert json(ada.get(path), 202)["state"] == "under_way"
        world.loader.start()
        wait_until("it is done", lambda: bool(ada.get(path).json()["state"] == "done"))
        assert ada.get(path).json()["mails"] == 1
    assert all(not world.rows(table, own) for table in TABLES)
