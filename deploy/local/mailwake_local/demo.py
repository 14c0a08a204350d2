"""`mailwake demo`: one mail from its sender to the alert, on the running system."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from importlib.resources import files

from aiokafka import AIOKafkaConsumer

from mailwake.clickhouse import ClickHouse, ClickHouseError
from mailwake.codec import InvalidError
from mailwake.contracts import ALERT, Kind
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.kafka import start_consumer, start_producer
from mailwake.keyring import read_keyring
from mailwake.publish import publish
from mailwake.settings import Settings, read_settings
from mailwake.tracker import tracker_of
from mailwake_local.board import Pen, State
from mailwake_local.home import TENANT, USER, Home
from mailwake_local.mail_program import fetch, references
from mailwake_local.outbox import Outbox, recipients_of

DEADLINE_S = 30.0
_POLL_S = 0.05
_TEXT_WIDTH = 62
_KINDS: tuple[Kind, ...] = ("open", "click")
_EVENTS = """
SELECT kind, verdict, link FROM consented_events(tenant = %(tenant)s, user = %(user)s)
WHERE message_id = %(message)s
"""
_HITS = "SELECT count() FROM hits FINAL WHERE message_id = %(message)s"
_WITHDRAWN_S = 1.0
"""How long a withdrawal and a hit are given to get where they have an effect; the promise is 5."""


def main(argv: list[str]) -> int:
    """Runs the demo; gives 0 when the open, the click and both alerts came, 1 when one did not.

    Raises MailwakeError when the system does not run or cannot be reached.
    """
    argparse.ArgumentParser(
        prog="mailwake demo",
        description="On the running system: sends a mail, opens and clicks it as a mail program "
        "would, and shows both events in ClickHouse and both alerts; then the recipient withdraws.",
    ).parse_args(argv)
    settings = read_settings()
    home = Home(settings.home)
    running = home.running()
    if running:
        settings = read_settings(running["settings"])
    return asyncio.run(Demo(settings, home, Pen(), local=running is not None).run())


@dataclass
class Wanted:
    """What must come after the hits: each has its place until it came."""

    missing: set[tuple[str, Kind]] = field(
        default_factory=lambda: {(what, kind) for what in ("alert", "event") for kind in _KINDS}
    )

    def waits(self, what: str) -> bool:
        """Whether something of that sort is still missing."""
        return any(missing[0] == what for missing in self.missing)

    def came(self, what: str, kind: Kind) -> bool:
        """Notes that it came; gives whether it is the first time."""
        if (what, kind) not in self.missing:
            return False
        self.missing.remove((what, kind))
        return True


class Demo:
    """One run, step by step; each step prints its line."""

    def __init__(self, settings: Settings, home: Home, pen: Pen, *, local: bool) -> None:
        self._settings = settings
        self._home = home
        self._pen = pen
        self._local = local
        self._outbox = Outbox(settings, home)
        self._hit_at: dict[Kind, float] = {}

    async def run(self) -> int:
        """The whole way; gives the exit status."""
        settings, pen = self._settings, self._pen
        where = "started by `mailwake up`" if self._local else "that the settings name"
        pen.line(f"On the system {where}: {settings.tracking_url}\n")
        clickhouse = ClickHouse(settings.clickhouse_url)
        try:
            clickhouse.query("SELECT 1")  # told before anything is sent
            alerts = await start_consumer(
                settings, "alerts", client_id="mailwake-demo", from_start=False
            )
        except UnavailableError as error:
            hint = "" if self._local else " (does `mailwake up` run? start it first)"
            raise UnavailableError(f"{error}{hint}") from None
        try:
            await alerts.seek_to_end()
            message, message_id = await (self._send() if self._local else self._instrument())
            await self._read(message)
            status = await self._wait(alerts, clickhouse, message_id)
            if status == 0 and self._local:
                status = await self._withdraw(message, clickhouse, message_id)
            return status
        finally:
            await alerts.stop()
            clickhouse.close()

    async def _send(self) -> tuple[bytes, str]:
        """Sends the mail through the relay, as a mail program would; gives it and its id."""
        mail = _mail()
        began = time.monotonic()
        [recipient] = recipients_of(mail)
        await asyncio.to_thread(self._outbox.consent, recipient)
        self._step("consent", "the recipient agrees to open and link tracking (HTTP API)", began)
        began = time.monotonic()
        message = await self._outbox.send(mail)
        images, links = references(message)
        base = self._settings.tracking_url
        links = [link for link in links if link.startswith(f"{base}/c/")]
        pixels = [image for image in images if image.startswith(f"{base}/o/")]
        told = f"through the relay: {len(pixels)} pixel and {len(links)} links are in it"
        self._step("mail", told, began)
        if not pixels:
            raise MailwakeError("the mail came out of the relay untracked; look at the relay's log")
        token = read_keyring(self._settings.keyring).open(pixels[0].rpartition("/")[2])
        return message, token.message_id

    async def _withdraw(self, message: bytes, clickhouse: ClickHouse, message_id: str) -> int:
        """The recipient withdraws, opens the mail again, and nothing of it is kept."""
        _, links = references(message)
        base = self._settings.withdrawal_url
        [page] = [link for link in links if link.startswith(f"{base}/w/")]
        self._pen.line("\n  and when the recipient withdraws:")
        began = time.monotonic()
        before = _count(clickhouse, message_id)
        await asyncio.to_thread(self._outbox.withdraw, page)
        self._step("withdraw", "the button of the recipient's page is pressed", began)
        await asyncio.sleep(_WITHDRAWN_S)
        await self._read(message)
        await asyncio.sleep(self._settings.loader_seconds + _WITHDRAWN_S)
        kept = _count(clickhouse, message_id) - before
        if kept:
            self._step("consent", f"{kept} hits were kept all the same", state="bad")
            return MailwakeError.exit_code
        self._step("consent", "the pixel and the link were answered, and nothing was kept")
        self._pen.line(f"\nThe recipient's page, to look at:\n  {page}")
        return 0

    async def _instrument(self) -> tuple[bytes, str]:
        """Instruments the mail and publishes its send and display; gives it and its id."""
        settings = self._settings
        began = time.monotonic()
        tracker = tracker_of(settings, read_keyring(settings.keyring))
        tracked = tracker.instrument(_mail(), tenant=TENANT, user=USER)
        links = len(tracked.send.links)
        self._step("mail", f"a pixel and {links} links put into: {tracked.display.subject}", began)
        began = time.monotonic()
        producer = await start_producer(settings, client_id="mailwake-demo")
        try:
            await publish(producer, settings, [tracked.send], [tracked.display])
        finally:
            await producer.stop()
        self._step("send", "published to Kafka, and its display", began)
        return tracked.message, tracked.send.message_id

    async def _read(self, message: bytes) -> None:
        """Opens the mail and follows its first link, as a mail program would."""
        base = self._settings.tracking_url + "/"
        images, links = references(message)
        for kind, found, what in (("open", images, "pixel"), ("click", links, "link")):
            urls = [url for url in found if url.startswith(base)]
            if not urls:
                raise MailwakeError(f"the instrumented mail has no {what} that leads to {base}")
            await self._hit("open" if kind == "open" else "click", urls[0])

    async def _hit(self, kind: Kind, url: str) -> None:
        began = time.monotonic()
        try:
            answer = await asyncio.to_thread(fetch, url)
        except OSError as error:
            raise UnavailableError(
                f"the edge does not answer at {self._settings.tracking_url} ({error}); does "
                "`mailwake up` run?"
            ) from None
        self._hit_at[kind] = time.monotonic()
        if kind == "open":
            told = f"pixel: {answer.status}, {answer.content_type} of {answer.length} bytes"
            good = answer.status == 200 and answer.content_type == "image/gif"
        else:
            told = f"link: {answer.status} to {answer.location}"
            good = answer.status == 302 and bool(answer.location)
        if not good:
            raise MailwakeError(f"the edge's answer is not right ({told})")
        self._step(kind, told, began)

    async def _wait(self, alerts: AIOKafkaConsumer, clickhouse: ClickHouse, message_id: str) -> int:
        """Shows the events and alerts of the message as they come; gives the exit status."""
        self._pen.line("\n  and, since the hit:")
        wanted = Wanted()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(
                    self._follow_alerts(alerts, wanted, message_id),
                    self._follow_events(clickhouse, wanted, message_id),
                )
        for kind in _KINDS:
            for what in ("alert", "event"):
                if (what, kind) in wanted.missing:
                    told = f"{kind} {what}: not there after {DEADLINE_S:.0f} s"
                    self._step("missing", told, state="bad")
        if wanted.missing:
            self._pen.line(f"\nLook at {self._suspects(wanted)}.")
            return MailwakeError.exit_code
        view = f"consented_events(tenant = '{TENANT}', user = '{USER}')"
        again = f"SELECT * FROM {view} WHERE message_id = '{message_id}'"  # noqa: S608
        self._pen.line("\nBoth events are in ClickHouse, and both alerts are out. Look again:")
        self._pen.line(f"  {again}")
        return 0

    def _suspects(self, wanted: Wanted) -> str:
        """Whose log to look at: what came tells that all before it works."""
        alerts, events = wanted.waits("alert"), wanted.waits("event")
        names = "edge and enricher" if alerts and events else "notifier" if alerts else "loader"
        where = f" in {self._home.logs}" if self._local else ""
        return f"the log of {names}{where}"

    async def _follow_alerts(
        self, alerts: AIOKafkaConsumer, wanted: Wanted, message_id: str
    ) -> None:
        while wanted.waits("alert"):
            batches = await alerts.getmany(timeout_ms=int(_POLL_S * 1000))
            for record in (record for records in batches.values() for record in records):
                with contextlib.suppress(InvalidError):
                    alert = ALERT.decode(record.value)
                    if alert.message_id == message_id and wanted.came("alert", alert.kind):
                        told = f"{alert.kind} alert for {alert.user} of {alert.tenant}"
                        self._step("alert", told, self._hit_at[alert.kind])

    async def _follow_events(self, clickhouse: ClickHouse, wanted: Wanted, message_id: str) -> None:
        params = {"tenant": TENANT, "user": USER, "message": message_id}
        while wanted.waits("event"):
            with contextlib.suppress(ClickHouseError):  # such as a table that comes only now
                rows = await asyncio.to_thread(clickhouse.query, _EVENTS, params)
                for kind, verdict, link in rows:
                    if wanted.came("event", kind):
                        of = f", link {link}" if kind == "click" else ""
                        told = f"{kind} in ClickHouse: {verdict}{of}"
                        self._step("event", told, self._hit_at[kind])
            await asyncio.sleep(_POLL_S)

    def _step(
        self, name: str, text: str, since: float | None = None, state: State = "good"
    ) -> None:
        took = "" if since is None else _took(time.monotonic() - since)
        if len(text) > _TEXT_WIDTH:
            text = text[: _TEXT_WIDTH - 1] + "…"
        took = self._pen.paint(f"{took:>8}", 2)
        line = f"  {self._pen.mark(state)} {name:8} {text:{_TEXT_WIDTH}} {took}"
        self._pen.line(line.rstrip())


def _mail() -> bytes:
    return files("mailwake").joinpath("data/demo.eml").read_bytes()


def _count(clickhouse: ClickHouse, message_id: str) -> int:
    """How many hits of a message are kept."""
    rows = clickhouse.query(_HITS, {"message": message_id})
    return int(rows[0][0])


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
