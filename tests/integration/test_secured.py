"""With TLS, a user for each service and only the rights that we print, the whole way works; and a
service that lacks one of them says which, loses nothing, and goes on when it has it again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import Send
from mailwake.errors import DeniedError, UnavailableError
from mailwake.ids import new_message_id, now_ms
from mailwake.kafka import start_admin, start_producer
from mailwake.keyring import Keyring, read_keyring
from mailwake.migrate import migrate
from mailwake.publish import publish
from mailwake.rights import render_commands, rights
from mailwake.settings import Settings
from mailwake.tokens import Token
from mailwake.topics_apply import apply_topics
from mailwake_local.certificate import make_certificate
from mailwake_local.ports import free_port
from tests.api import Api, json, new_keys
from tests.forever import keep_forever
from tests.installation import own_settings
from tests.running import Service, running, wait_until
from tests.secured import SecuredKafka, acl
from tests.topics import read_all

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.1.0"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    made = SecuredKafka(tmp_path_factory.mktemp("secured"))
    with made.local:
        yield made


@pytest.fixture
async def settings(secured: SecuredKafka, clickhouse: str, tmp_path: Path) -> Settings:
    """An installation whose rights are given and whose topics were made by the user `setup`."""
    made = own_settings(
        secured.local.bootstrap,
        partitions=2,
        clickhouse_url=clickhouse,
        loader_seconds=0.1,
        settle_s=0.0,
        settle_doubtful_s=0.0,
        edge_port=free_port(),
        **new_keys(tmp_path),
    )
    database = f"{clickhouse.rpartition('/')[0]}/{made.topic_prefix.rstrip('.')}"
    made = replace(made, clickhouse_url=database)
    await secured.grant(made)
    await apply_topics(replace(made, **secured.of("mailwake-setup")))
    migrate(made.clickhouse_url)
    keep_forever(made.clickhouse_url)
    return made


class Installation:
    """The services of an installation, each as its own user."""

    def __init__(self, settings: Settings, secured: SecuredKafka, folder: Path) -> None:
        self.settings = settings
        self._secured = secured
        self._folder = folder
        self._keyring: Keyring = read_keyring(settings.keyring)

    def of(self, service: str, **more: Any) -> Settings:
        """The settings as a service is given them."""
        return replace(self.settings, **self._secured.of(f"mailwake-{service}") | more)

    def service(self, name: str, **more: Any) -> Service:
        """A service, not yet started; its log goes on where it was."""
        return Service(name, self.of(name, **more), self._folder / f"{name}.log")

    def api(self) -> Api:
        return Api(self.of("api"), self._folder)

    async def send(self) -> Send:
        """Publishes a send as a sending platform does."""
        made = Send(
            message_id=new_message_id(),
            tenant="acme",
            user="ben",
            sent_at=now_ms() - 60_000,
            mode="identified",
            recipients=["a" * 32],
            recipient_count=1,
            opens=True,
            clicks=True,
        )
        settings = self.of("sending-platforms")
        producer = await start_producer(settings, client_id="test")
        try:
            await publish(producer, settings, [made])
        finally:
            await producer.stop()
        return made

    async def open(self, send: Send) -> None:
        """Opens a mail through the edge."""
        token = self._keyring.seal(Token("open", send.tenant, send.message_id, 1, "identified"))
        url = f"http://127.0.0.1:{self.settings.edge_port}/o/{token}"
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(url, headers={"User-Agent": BROWSER})
        assert answer.status_code == 200

    async def held(self, topic: str) -> list[bytes]:
        """What a topic holds."""
        return [each.value or b"" for each in await read_all(self.as_admin, topic)]

    @property
    def as_admin(self) -> Settings:
        return replace(self.settings, **self._secured.of("admin"))

    async def wait_held(self, topic: str, count: int) -> None:
        """Waits until a topic holds so many records."""
        for _ in range(120):
            if len(await self.held(topic)) >= count:
                return
            await asyncio.sleep(0.5)
        raise AssertionError(f"{topic} holds {len(await self.held(topic))} records, not {count}")


@pytest.fixture
def installed(settings: Settings, secured: SecuredKafka, tmp_path: Path) -> Installation:
    return Installation(settings, secured, tmp_path)


async def test_a_hit_becomes_an_alert_and_a_row(installed: Installation) -> None:
    send = await installed.send()
    api = installed.api()
    services = [installed.service(name) for name in ("edge", "enricher", "loader", "notifier")]

    def told() -> list[dict[str, Any]]:
        with api.client("ben") as client:
            alerts: list[dict[str, Any]] = json(client.get("/v1/alerts"))["alerts"]
            return alerts

    def loaded() -> bool:
        store = ClickHouse(installed.settings.clickhouse_url)
        try:
            rows = store.query("SELECT message_id FROM events FINAL")
        finally:
            store.close()
        return rows == [(send.message_id,)]

    def go() -> None:
        with running(*services, api):
            asyncio.run(installed.open(send))
            wait_until("the alert is told", lambda: len(told()) == 1)
            wait_until("the event is loaded", loaded)
            assert told()[0]["message_id"] == send.message_id

    await asyncio.to_thread(go)
    for each in (*services, api):
        log = each.log.read_text()
        assert "does not let" not in log, log
        assert "Traceback" not in log, log


async def ended(service: Service, patience_s: float = 60) -> int:
    """The exit status of a service that ends by itself."""
    assert service.process is not None
    return await asyncio.to_thread(service.process.wait, patience_s)


@pytest.mark.parametrize(
    ("service", "kind", "name", "operation", "when"),
    [
        ("notifier", "topic", "events", "Read", "before"),
        ("notifier", "topic", "events", "Read", "after"),
        ("notifier", "topic", "alerts", "Write", "after"),
        ("notifier", "group", "notifier", "Read", "before"),
        ("enricher", "topic", "hits", "Read", "after"),
        ("enricher", "topic", "events", "Write", "before"),
        ("enricher", "topic", "events", "Write", "after"),
        ("enricher", "group", "enricher", "Read", "before"),
        ("enricher", "group", "enricher", "Read", "after"),
    ],
)
async def test_a_right_that_is_missing_is_named_and_nothing_is_lost(
    installed: Installation,
    secured: SecuredKafka,
    service: str,
    kind: str,
    name: str,
    operation: str,
    when: str,
) -> None:
    """Missing when the service starts, or taken away while it works."""
    right = [acl(service, kind, installed.settings.topic(name), operation)]
    output = {"notifier": "alerts", "enricher": "events"}[service]
    before = [each for each in ("edge", "enricher") if service != each]
    lacking = installed.service(service)
    others = [installed.service(each) for each in before]

    async def work() -> None:
        await installed.open(await installed.send())

    try:
        for each in others:
            await asyncio.to_thread(each.start)
        if when == "before":
            await secured.take(right)
            await work()
            lacking.start(wait=False)
        else:
            await asyncio.to_thread(lacking.start)
            await work()
            await installed.wait_held(output, 1)
            await secured.take(right)
            await work()
        assert await ended(lacking) == UnavailableError.exit_code
        said = lacking.log.read_text()
        line = said.splitlines()[-1]
        what = f"{kind} {installed.settings.topic(name)}"
        assert line.startswith(f"mailwake {service}: Kafka at "), said
        assert f"does not let mailwake-{service} " in line
        assert what in line
        assert "mailwake acls render" in line
        if service != "enricher":  # Faust tells its own story before ours ends it
            assert "Traceback" not in said, said
        await secured.give(right)
        await asyncio.to_thread(lacking.start)
        await installed.wait_held(output, 1 if when == "before" else 2)
    finally:
        for each in (*others, lacking):
            each.kill()


async def test_an_edge_that_may_not_write_answers_says_so_and_loses_nothing(
    installed: Installation, secured: SecuredKafka
) -> None:
    right = [acl("edge", "topic", installed.settings.topic("hits"), "Write")]
    sends = [await installed.send() for _ in range(3)]
    edge = installed.service("edge")
    try:
        await asyncio.to_thread(edge.start)
        await installed.open(sends[0])
        await installed.wait_held("hits", 1)
        await secured.take(right)
        for send in sends[1:]:
            await installed.open(send)
        told = f"write the topic {installed.settings.topic('hits')}"
        await asyncio.to_thread(wait_until, "it is said", lambda: told in edge.log.read_text())
        assert edge.process is not None
        assert edge.process.poll() is None
        await secured.give(right)
        await asyncio.to_thread(
            wait_until, "all comes", lambda: edge.metric("mailwake_edge_produced_total") == 3
        )
        assert edge.metric("mailwake_edge_not_kept_total") == 0
        assert "Traceback" not in edge.log.read_text()
    finally:
        edge.kill()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kafka_password_file": "edge"}, "does not take the user mailwake-notifier with the"),
        ({"kafka_user": "mailwake-nobody"}, "does not take the user mailwake-nobody with the"),
        ({"kafka_ca": None}, "certificate that is not vouched for by the system's (KAFKA_CA)"),
        ({"kafka_ca": "other"}, "certificate that is not vouched for by KAFKA_CA"),
        ({"kafka_mechanism": "PLAIN"}, "does not know PLAIN; put right KAFKA_MECHANISM"),
        ({"kafka_security": "plaintext"}, "and KAFKA_SECURITY to how"),
        ({"kafka_password_file": "/no/such"}, "/no/such: cannot read the password of KAFKA_USER"),
        ({"kafka_ca": "/no/such"}, "KAFKA_CA /no/such: cannot be read (No such file"),
    ],
)
def test_who_is_not_let_in_ends_with_one_line(
    secured: SecuredKafka,
    tmp_path_factory: pytest.TempPathFactory,
    changed: dict[str, Any],
    told: str,
) -> None:
    other, _ = make_certificate(tmp_path_factory.mktemp("other"))
    named = {"edge": secured.password_file("mailwake-edge"), "other": other}
    more: dict[str, Any] = {
        field: named.get(value, Path(value) if value and value.startswith("/") else value)
        for field, value in changed.items()
    }
    service = Service(
        "notifier",
        replace(Settings(**secured.of("mailwake-notifier")), **more),
        tmp_path_factory.mktemp("log") / "notifier.log",
    )
    try:
        service.start(wait=False)
        assert service.process is not None
        assert service.process.wait(60) in (2, 3)
        line = service.log.read_text().splitlines()[-1]
        assert line.startswith("mailwake notifier: ")
        assert told in line
        assert "Traceback" not in service.log.read_text()
    finally:
        service.kill()


async def test_an_edge_that_is_not_let_in_answers_and_says_so(
    installed: Installation, tmp_path: Path
) -> None:
    """Its readers are not made to wait for a password; their hits wait in its spool."""
    wrong, send = tmp_path / "wrong", await installed.send()
    wrong.write_text("wrong\n")
    edge = installed.service("edge", kafka_password_file=wrong)
    told = "does not take the user mailwake-edge with the password"
    try:
        await asyncio.to_thread(edge.start)
        await installed.open(send)
        await asyncio.to_thread(wait_until, "it is said", lambda: told in edge.log.read_text())
    finally:
        edge.kill()
    again = installed.service("edge")
    try:
        await asyncio.to_thread(again.start)
        await installed.wait_held("hits", 1)
    finally:
        again.kill()


_ACL = re.compile(
    r"\(principal=(?P<who>\S+), host=\*, operation=(?P<operation>\w+), permissionType=ALLOW\)"
)
_OF = re.compile(r"resourceType=(?P<kind>\w+), name=(?P<name>\S+), patternType=LITERAL")


def test_kafkas_own_tool_takes_the_printed_lines(secured: SecuredKafka) -> None:
    """And what it then lists is what we give over the protocol. Of two users, for it takes a second
    or two a line: the enricher has all there is of rights, the setup the many operations."""
    settings = own_settings(secured.local.bootstrap)
    users = ["User:mailwake-enricher", "User:mailwake-setup"]
    lines = [
        line.split()[1:]
        for line in render_commands(settings).splitlines()
        if any(f" {user} " in line for user in users)
    ]
    assert len(lines) > 3
    admin = str(secured.admin_config())
    for line in lines:
        secured.kafka_acls(*(admin if word == "ADMIN" else word for word in line))
    server = ("--bootstrap-server", settings.kafka_bootstrap, "--command-config", admin)
    listed: set[tuple[str, str, str, str]] = set()
    kind = name = ""
    for said in secured.kafka_acls(*server, "--list").splitlines():
        if of := _OF.search(said):
            kind, name = of["kind"].lower(), of["name"]
        if (told := _ACL.search(said)) and name.startswith(settings.topic_prefix):
            listed.add((told["who"], kind, name, told["operation"].replace("_", "").lower()))
    assert listed == {
        (f"User:mailwake-{user}", right.kind, right.name, operation.lower())
        for user, given in rights(settings).items()
        if f"User:mailwake-{user}" in users
        for right in given
        for operation in right.operations
    }


async def test_an_admin_is_told_too(installed: Installation, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    with pytest.raises(DeniedError, match="does not take the user"):
        await start_admin(replace(installed.of("edge"), kafka_password_file=wrong))
