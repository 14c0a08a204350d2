"""A ClickHouse database of a test's own with mails in it, and an API that reads from it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from msgspec import structs

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import (
    PERSON,
    Consent,
    ConsentState,
    Display,
    Event,
    Kind,
    Party,
    Purpose,
    Send,
    Verdict,
    new_consent,
)
from mailwake.ids import event_id
from mailwake.migrate import migrate
from mailwake.track import Track, TrackedSend
from mailwake_api.app import make_app
from mailwake_api.bearer import Role
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.reading import Reader
from mailwake_api.withheld import Denials
from mailwake_enricher.rows import (
    Columns,
    display_columns,
    event_columns,
    proof_columns,
    send_columns,
    track_columns,
)
from tests import openapi
from tests.forever import keep_forever
from tests.unit.api.memory import Memory

AT = 1_767_225_600_000
"""The first of January 2026, a Thursday, at midnight UTC."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def noon() -> str:
    """A zone in which it is about noon, so that a test is over on the day that it began."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "UTC"


def identity(name: str) -> str:
    """The recipient_id of somebody in these tests."""
    return name.encode().hex().ljust(32, "0")[:32]


class Mailbox:
    """The tables, filled the way the loader fills them; with `forever` nothing goes by itself."""

    def __init__(
        self, clickhouse: str, database: str | None = None, *, forever: bool = True
    ) -> None:
        database = database or f"t_{uuid.uuid4().hex[:12]}"
        self.url = f"{clickhouse.rpartition('/')[0]}/{database}"
        migrate(self.url)
        if forever:
            keep_forever(self.url)
        self.client = ClickHouse(self.url)
        self._hits = 0

    def insert(self, table: str, columns: Columns) -> None:
        """Some rows, as one part."""
        self.client.insert(table, list(columns), list(columns.values()), token=uuid.uuid4().hex)

    def send(
        self,
        number: int,
        *names: str,
        subject: str = "An offer",
        displayed: bool = True,
        **more: Any,
    ) -> Send:
        """A mail to some people: its send and, if it is `displayed`, its display."""
        anonymous = more.get("mode") == "anonymous"
        fields: dict[str, Any] = {
            "message_id": f"{number:032x}",
            "tenant": "acme",
            "user": "ben",
            "sent_at": AT + number * HOUR,
            "recipient_count": len(names),
            "mode": "identified",
            "opens": True,
            "clicks": True,
            "recipients": [] if anonymous else [identity(name) for name in names],
            "links": ["https://shop.example/", "https://shop.example/terms"],
        }
        send = Send(**fields | more)
        self.insert("sends", send_columns([send]))
        if displayed:
            parties = [Party(f"{name}@example.com", name.title()) for name in names]
            display = Display(
                send.message_id, send.tenant, send.user, subject, parties, ["Our offer", "Terms"]
            )
            self.insert("displays", display_columns([display]))
        return send

    def event(
        self, send: Send, kind: Kind, after: int, verdict: Verdict = "human", **more: Any
    ) -> Event:
        """An open or a click so many milliseconds after the send; it is stored by `happen`."""
        self._hits += 1
        alone = send.recipient_count == 1 and send.mode == "identified"
        fields: dict[str, Any] = {
            "event_id": event_id(f"{self._hits:032x}", kind),
            "revision": 1,
            "hit_id": f"{self._hits:032x}",
            "kind": kind,
            "at": send.sent_at + after,
            "tenant": send.tenant,
            "user": send.user,
            "message_id": send.message_id,
            "recipient": 1 if alone else 0,
            "recipient_count": send.recipient_count,
            "mode": send.mode,
            "verdict": verdict,
            "reasons": ["no_machine_sign"],
            "first": False,
            "sent_at": send.sent_at,
            "recipient_id": send.recipients[0] if alone else None,
            "link": 0 if kind == "click" else None,
            "target": send.links[0] if kind == "click" else None,
            "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0",
            "tag": send.tag,
            "score": 60,
            "retention_days": send.retention_days,
        }
        return Event(**fields | more)

    def happen(self, send: Send, *events: Event, revision: int = 1) -> Track:
        """Stores events and the track that they come to."""
        if events:
            self.insert("events", event_columns(events))
        track = track_of(send, events, revision)
        self.insert("tracks", track_columns([(send.message_id, track)]))
        return track

    def say(
        self, name: str, purpose: Purpose, state: ConsentState, at: int = AT, **more: Any
    ) -> Consent:
        """What a recipient says."""
        said = {"method": "withdrawal_page", "tenant": "acme"} | more
        consent = new_consent(
            recipient_id=identity(name), purpose=purpose, state=state, at=at, **said
        )
        self.insert("consent_proofs", proof_columns([consent]))
        return consent


def track_of(send: Send, events: Sequence[Event], revision: int = 1) -> Track:
    """What the events of a mail come to, as the enricher counts them."""
    track = Track(
        revision=revision,
        send=TrackedSend(
            send.tenant,
            send.user,
            send.recipient_count,
            send.recipients[0] if len(send.recipients) == 1 else None,
            send.mode,
            send.opens,
            send.clicks,
            send.sent_at,
            send.tag,
            retention_days=send.retention_days,
        ),
    )
    for event in sorted(events, key=lambda each: each.at):
        person = event.verdict in PERSON
        if event.repeat:
            track.repeats += 1
        elif event.forward:
            track.forwards += 1
        elif event.kind == "open" and person:
            track.opens += 1
            track.open_score = max(track.open_score, event.score)
            track.first_open_at = track.first_open_at or event.at
            track.last_open_at = event.at
        elif event.kind == "click" and person:
            track.clicks += 1
            track.click_score = max(track.click_score, event.score)
            track.first_click_at = track.first_click_at or event.at
            track.last_click_at = event.at
        elif event.kind == "open":
            track.machine_opens += 1
        else:
            track.machine_clicks += 1
    track.readers_about = track.readers_least = 1 if track.opens + track.clicks else 0
    return structs.replace(track)


class ReadingApi:
    """The API in this process, on a real ClickHouse; every answer is checked with its document."""

    def __init__(self, folder: Path, url: str) -> None:
        self.memory = Memory(folder)
        self.reader = Reader(url)
        parts = replace(self.memory.parts, reader=self.reader, denials=Denials(self.reader))
        self._app = make_app(ENDPOINTS, parts)

    def client(self, sub: str = "ben", role: Role = "user", tenant: str = "acme") -> Asking:
        """Calls as somebody."""
        return Asking(self._app, self.memory.authorization(sub, role, tenant))


class Asking(httpx.AsyncClient):
    """A client that looks at every answer."""

    def __init__(self, app: Any, headers: dict[str, str]) -> None:
        super().__init__(
            transport=httpx.ASGITransport(app),
            base_url="http://api.example",
            headers=headers,
            event_hooks={"response": [self._look]},
        )

    async def json(self, path: str, status: int = 200, **params: Any) -> Any:
        """The body of an answer that must have this status."""
        answer = await self.get(path, params=params)
        assert answer.status_code == status, answer.text
        return answer.json()

    @staticmethod
    async def _look(answer: httpx.Response) -> None:
        await answer.aread()
        openapi.check(answer)


def numbers(found: dict[str, Any]) -> list[int]:
    """The numbers of the messages that were found, in their order."""
    return [int(each["message_id"], 16) for each in found["messages"]]


async def rows(asking: Asking, name: str, **asked: Any) -> list[dict[str, Any]]:
    """The rows of a report, all of them."""
    found = await asking.json(f"/v1/reports/{name}", **asked)
    assert not found["more"]
    return list(found["rows"])
