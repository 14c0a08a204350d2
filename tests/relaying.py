"""A relay as its own process, and what a test says to it and finds out about it."""

from __future__ import annotations

import asyncio
import re
import smtplib
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mailwake.contracts import DISPLAY, POLICY, SEND, Display, LawfulBasis, Policy, Send
from mailwake.kafka import start_producer
from mailwake.keyring import Keyring, new_keyring
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake.tracker import Tracker
from mailwake_local.ports import free_port
from mailwake_relay.users import new_login, write_users
from tests.running import Service, wait_until
from tests.smtp_host import SmtpHost
from tests.topics import read_all

NAME, PASSWORD = "ben@example.com", "a pass word"
TENANT, USER = "acme", "ben"
SENDER = "ben@example.com"


def mail(number: int = 1, *, to: str = "Anna <anna@example.org>", more: str = "") -> bytes:
    """A mail with one link; no two numbers give the same."""
    return (
        f"From: Ben <{SENDER}>\r\nTo: {to}\r\nSubject: Offer {number}\r\n"
        f"Message-ID: <{number}@example.com>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n{more}"
        "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        f'<html><body><p>Number {number}: <a href="https://example.com/{number}">look</a></p>\r\n'
        "..\r\n.dots\r\n</body></html>\r\n"
    ).encode()


class Relay:
    """A relay in front of an SmtpHost, with one user whose tenant may track; not yet started."""

    def __init__(self, kafka: str, folder: Path, host: SmtpHost, **more: object) -> None:
        self.folder = folder
        self.host = host
        self.keyring: Keyring = new_keyring()
        self.keyring.write(folder / "keys.json")
        write_users(folder / "users.json", {NAME: new_login(TENANT, USER, PASSWORD.encode())})
        values = {
            "kafka_bootstrap": kafka,
            "topic_prefix": f"r{uuid.uuid4().hex[:8]}.",
            "partitions": 4,
            "keyring": folder / "keys.json",
            "relay_users": folder / "users.json",
            "relay_port": free_port(),
            "relay_next": f"smtp://127.0.0.1:{host.port}",
            "relay_next_timeout_s": 3.0,
            "state": folder / "state",
            "tracking_url": "https://t.example.com",
            "withdrawal_url": "https://w.example.com",
        }
        self.settings: Settings = read_settings({}, **values | more)
        self.service = Service("relay", self.settings, folder / "relay.log")
        self.tracker = Tracker(
            self.keyring,
            self.settings.tracking_url,
            withdrawal_url=self.settings.withdrawal_url,
        )

    async def prepare(self, basis: LawfulBasis = "legitimate_interests") -> None:
        """Makes the topics and the tenant's policy."""
        await apply_topics(self.settings)
        producer = await start_producer(self.settings, client_id="test")
        policy = Policy(TENANT, at=1, basis=basis, retention_days=90)
        await producer.send_and_wait(
            self.settings.topic("policies"), POLICY.encode(policy), key=TENANT.encode()
        )
        await producer.stop()

    def wait_tracks(self, tracks: bool = True) -> None:
        """Waits until the relay says that it can track."""
        wanted = f"mailwake_relay_tracks {1 if tracks else 0}.0"
        wait_until("the relay tracks", lambda: wanted in self.metrics())

    def metrics(self) -> str:
        """What it tells Prometheus."""
        return "\n".join(self.service.metrics())

    def count(self, outcome: str) -> int:
        """How many mails had an outcome."""
        return int(self.service.metric(f'mailwake_relay_mails_total{{outcome="{outcome}"}}'))

    def connect(self, timeout: float = 60) -> smtplib.SMTP:
        """A client that has logged in."""
        client = smtplib.SMTP("127.0.0.1", self.settings.relay_port, timeout=timeout)
        client.login(NAME, PASSWORD)
        return client

    def send(
        self,
        message: bytes,
        recipients: Sequence[str] = ("anna@example.org",),
        timeout: float = 60,
        options: Sequence[str] = (),
    ) -> dict[str, tuple[int, bytes]]:
        """Sends as smtplib does; the refused recipients. Raises what smtplib raises."""
        with self.connect(timeout) as client:
            return client.sendmail(SENDER, list(recipients), message, list(options))

    async def asend(self, *given: object, **more: object) -> dict[str, tuple[int, bytes]]:
        """`send` in a thread."""
        return await asyncio.to_thread(self.send, *given, **more)  # type: ignore[arg-type]

    async def sends(self) -> dict[str, Send]:
        """The last send of each message id."""
        found: dict[str, Send] = {}
        records = await read_all(self.settings, "sends")
        for record in sorted(records, key=lambda record: record.offset):
            assert record.value is not None
            good, bad = SEND.read(record.value)
            assert not bad
            found |= {send.message_id: send for send in good}
        return found

    def tracked_ids(self, message: bytes) -> set[str]:
        """The message ids that the tokens in a mail speak of."""
        tokens = re.findall(rb"https://t\.example\.com/[oc]/([A-Za-z0-9_-]+)", message)
        return {self.keyring.open(token.decode()).message_id for token in tokens}

    async def displays(self) -> dict[str, Display]:
        """The displays by message id."""
        records = await read_all(self.settings, "displays")
        decoded = [DISPLAY.decode(record.value) for record in records if record.value]
        return {display.message_id: display for display in decoded}

    def second(self, **more: object) -> Service:
        """Another process with the same settings but those."""
        settings = replace(self.settings, **more)  # type: ignore[arg-type]
        return Service("relay", settings, self.folder / "second.log")
