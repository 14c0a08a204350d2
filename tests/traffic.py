"""Steady traffic on a whole installation behind load balancers, and what must have come of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import smtplib
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx
import msgspec

from mailwake import ids
from mailwake.clickhouse import ClickHouse
from mailwake.contracts import ALERT, Alert
from mailwake.keyring import Keyring
from mailwake.settings import Settings
from mailwake_edge.answers import PIXEL_GIF
from tests.balancer import Balancer
from tests.running import wait_until
from tests.smtp_host import SmtpHost
from tests.topics import lag, read_all

TENANT, USER = "acme", "ben"
LOGIN = ("ben@example.com", "a pass word")
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.1.0"
TARGETS = ("https://shop.example/offer?a=1", "https://shop.example/prices")
HTML = "<html><body>" + "".join(f'<p><a href="{each}">see</a></p>' for each in TARGETS)
PATIENCE_S = 60
"""So long an answer may take; that it comes is what counts."""

GROUPS = {
    "enricher": ("sends", "hits"),
    "loader": ("sends", "displays", "hits", "events", "tracks"),
    "notifier": ("events",),
}

Act = tuple[str, int | None]
"""An open of a mail (None), or a click of a link: message_id and link."""

Work = Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]


@dataclass
class Mail:
    """A mail that has been sent, and what its reader is still to do: paths and links."""

    message_id: str
    to_do: deque[tuple[str, int | None]] = field(default_factory=deque)


class Traffic:
    """Mails go out through API and relay, and are read bit by bit; users look at what came of them.

    A mail is opened, a link of it clicked, it is opened again, and the other link clicked: not so
    much that it could be a machine.

    Attributes:
        acts: what readers did and were answered.
        sent: the message_ids of the mails that were taken, by the way they went.
        looks: how many answers users got from the API.
        failures: each call that was not answered as it must be.
    """

    def __init__(
        self,
        balancers: Mapping[str, Balancer],
        host: SmtpHost,
        keyring: Keyring,
        token: str,
    ) -> None:
        self._balancers, self._host, self._keyring = balancers, host, keyring
        self._headers = {"Authorization": f"Bearer {token}"}
        self._unread: deque[Mail] = deque()
        self.acts: Counter[Act] = Counter()
        self.sent: dict[str, list[str]] = {"api": [], "relay": []}
        self.looks = 0
        self.failures: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It goes on inside: about twenty acts a second."""
        # A connection is let go before the server ends it, as a balancer in front does.
        limits = httpx.Limits(keepalive_expiry=2)
        tasks = (
            *((self._read, 0.1) for _ in range(4)),
            *((self._send_by_api, 0.4), (self._send_by_relay, 0.4), (self._look, 0.2)),
        )
        stop = asyncio.Event()

        async def repeat(work: Work, pause_s: float) -> None:
            while not stop.is_set():
                await work(client)
                await asyncio.sleep(pause_s)

        async with (
            httpx.AsyncClient(timeout=PATIENCE_S, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            for work, pause_s in tasks:
                group.create_task(repeat(work, pause_s))
            try:
                yield
            finally:
                stop.set()  # what is under way is done to its end

    async def go_on(self, acts: int = 20, looks: int = 3) -> None:
        """Waits until so much more was done; fails as soon as a call has."""
        acts += self.acts.total()
        looks += self.looks
        deadline = asyncio.get_running_loop().time() + 120
        while self.acts.total() < acts or self.looks < looks:
            assert not self.failures, self.failures
            assert asyncio.get_running_loop().time() < deadline, (self.acts.total(), self.looks)
            await asyncio.sleep(0.05)

    async def _call(
        self, client: httpx.AsyncClient, kind: str, method: str, path: str, status: int, **more: Any
    ) -> httpx.Response | None:
        """An answer; None, and a failure, when it is not the one that must come."""
        what = f"{kind}: {method} {path[:12]}"
        with self._balancers[kind].call() as address:
            try:
                answer = await client.request(method, f"http://{address}{path}", **more)
            except httpx.TransportError as error:
                self.failures.append(f"{what} of {address}: {error!r}")
                return None
        if answer.status_code != status:
            self.failures.append(f"{what} of {address}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer

    async def _read(self, client: httpx.AsyncClient) -> None:
        """One act on the mail that has waited longest."""
        if not self._unread:
            return
        mail = self._unread.popleft()
        path, link = mail.to_do.popleft()
        headers = {"User-Agent": AGENT}
        status = 200 if link is None else 302
        answer = await self._call(client, "edge", "GET", path, status, headers=headers)
        if answer is None:
            return
        assert link is not None or answer.content == PIXEL_GIF
        assert link is None or answer.headers["Location"] == TARGETS[link]
        self.acts[mail.message_id, link] += 1
        if mail.to_do:
            self._unread.append(mail)

    async def _send_by_api(self, client: httpx.AsyncClient) -> None:
        body = {"html": HTML, "recipients": ["anna@example.org"], "subject": "An offer"}
        answer = await self._call(
            client, "api", "POST", "/v1/sends", 200, json=body, headers=self._headers
        )
        if answer is not None:
            self._goes_out("api", answer.json()["html"])

    async def _send_by_relay(self, _: httpx.AsyncClient) -> None:
        name = f"<{uuid.uuid4().hex}@example.com>"
        message = (
            f"From: Ben <{LOGIN[0]}>\r\nTo: anna@example.org\r\nSubject: An offer\r\n"
            f"Message-ID: {name}\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
            f"Content-Type: text/html; charset=utf-8\r\n\r\n{HTML}\r\n"
        ).encode()

        def send(address: str) -> None:
            host, _, port = address.partition(":")
            with smtplib.SMTP(host, int(port), timeout=PATIENCE_S) as client:
                client.login(*LOGIN)
                client.sendmail(LOGIN[0], ["anna@example.org"], message)

        with self._balancers["relay"].call() as address:
            try:
                await asyncio.to_thread(send, address)
            except (smtplib.SMTPException, OSError) as error:
                self.failures.append(f"relay: a mail to {address}: {error!r}")
                return
        (taken,) = [each.message for each in self._host.taken if name.encode() in each.message]
        self._goes_out("relay", taken.decode().replace("=\r\n", "").replace("=3D", "="))

    async def _look(self, client: httpx.AsyncClient) -> None:
        paths = ("/v1/messages", "/v1/alerts", "/v1/preferences", "/v1/reports/overview")
        path = paths[self.looks % len(paths)]
        answer = await self._call(client, "api", "GET", path, 200, headers=self._headers)
        self.looks += answer is not None

    def _goes_out(self, way: str, body: str) -> None:
        """Has a mail read, its pixel and its links in turn."""
        (pixel,) = _paths(body, "o")
        links = _paths(body, "c")
        assert len(links) == len(TARGETS), body
        message_id = self._keyring.open(pixel.rpartition("/")[2]).message_id
        self.sent[way].append(message_id)
        to_do = deque([(pixel, None), (links[0], 0), (pixel, None), (links[1], 1)])
        self._unread.append(Mail(message_id, to_do))


def _paths(body: str, kind: str) -> list[str]:
    """The paths of the tokens of a kind, in their order."""
    return re.findall(rf"/{kind}/[A-Za-z0-9_-]+", unescape(body))


def wait_until_read(settings: Settings) -> None:
    """Until every group has read and committed all there is, twice in a row."""

    def all_read() -> bool:
        return not any(
            asyncio.run(lag(settings, group, *topics)) for group, topics in GROUPS.items()
        )

    wait_until("all groups at the end of their topics", lambda: all_read() and all_read(), 120)


def check(settings: Settings, traffic: Traffic, tell: Callable[..., None]) -> None:
    """Asserts that all that was answered, and nothing else, stands in ClickHouse and in alerts, of
    the tenant whose traffic it was.

    Each act is one hit and one event; each mail and each clicked link has one alert, which counts
    what was done of it. What was found is told first, for the table of faults.
    """
    acts = traffic.acts
    client = ClickHouse(settings.clickhouse_url)

    def ours(columns: str, table: str, where: str = "") -> list[tuple[Any, ...]]:
        sql = f"SELECT {columns} FROM {table} FINAL WHERE tenant = '{TENANT}' {where}"
        return client.query(sql)

    try:
        hits = ours("hit_id, message_id, link", "hits")
        events = ours(
            "event_id, hit_id, message_id, link, verdict, repeat", "events", "AND NOT implied"
        )
        tracks = ours("message_id, opens, clicks, repeats", "tracks")
        sends = ours("message_id", "sends")
        displays = ours("message_id", "displays")
    finally:
        client.close()
    found = Counter((message, link) for _, message, link in hits)
    tell(
        answered=acts.total(),
        lost=(acts - found).total(),
        doubled=(found - acts).total(),
        note=f"{sum(map(len, traffic.sent.values()))} mails, {traffic.looks} looks at the API",
    )
    assert found == acts
    assert Counter((message, link) for _, _, message, link, *_ in events) == acts
    assert {event for event, *_ in events} == {
        ids.event_id(hit, "open" if link is None else "click") for hit, _, link in hits
    }
    assert {verdict for *_, verdict, _ in events} == {"human"}
    assert not any(repeat for *_, repeat in events)
    sent = [message for way in traffic.sent.values() for message in way]
    assert Counter(sent) == Counter(message for (message,) in sends)
    assert Counter(sent) == Counter(message for (message,) in displays)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for (message, link), count in acts.items():
        counts[message][link is not None] += count
    assert {message: each for message, *each in tracks if any(each)} == dict(counts)
    _check_alerts(
        settings, acts, {event: (message, link) for event, _, message, link, *_ in events}
    )


def _check_alerts(settings: Settings, acts: Counter[Act], events: Mapping[str, Act]) -> None:
    """One alert for each mail that was opened and each link that was clicked."""
    last: dict[str, Alert] = {}
    for record in asyncio.run(read_all(settings, "alerts")):
        alert = ALERT.decode(record.value or b"")
        before = last.get(alert.alert_id)
        if before is None or alert.revision > before.revision:
            last[alert.alert_id] = alert
    told = [alert for alert in last.values() if not alert.withdrawn]
    for alert in told:
        assert alert.alert_id == ids.alert_id(alert.event_id, alert.tenant, alert.user)
        assert events[alert.event_id] == (alert.message_id, alert.link)
    assert len({(alert.message_id, alert.link) for alert in told}) == len(told)
    assert {(alert.message_id, alert.link): alert.count for alert in told} == acts


def written_by(settings: Settings, topic: str, mark: bytes) -> tuple[int, int]:
    """How many values of a topic hold a mark, and how many do not."""
    values: list[bytes] = []
    for record in asyncio.run(read_all(settings, topic)):
        if not record.value:
            continue
        if record.value.startswith(b"["):  # several, packed into one record
            values += map(bytes, msgspec.json.decode(record.value, type=list[msgspec.Raw]))
        else:
            values.append(record.value)
    marked = sum(mark in value for value in values)
    return marked, len(values) - marked
