"""Asks an ASGI application as a server would, without one; an edge that is asked so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import REGISTRY

from mailwake.contracts import ConsentState, Hit, Purpose, new_consent
from mailwake.ids import HitStream, new_message_id
from mailwake.keyring import new_keyring
from mailwake.service import Status
from mailwake.setting_values import networks
from mailwake.settings import read_settings
from mailwake.tokens import Token
from mailwake_edge.app import Edge, rest
from mailwake_edge.client import Clients
from mailwake_edge.withdrawn import Withdrawn


@dataclass
class Answer:
    """The messages of one answer."""

    messages: list[Any] = field(default_factory=list)

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    client: tuple[str, int] | None = ("203.0.113.77", 4711),
) -> Answer:
    """One request, and the turn of the event loop after it, in which its hit is made."""
    answer = Answer()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query,
        "root_path": "",
        "headers": headers or [],
        "client": client,
        "server": ("127.0.0.1", 8025),
        "state": {},
    }

    async def send(message: Any) -> None:
        answer.messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(scope, receive, send)
    await asyncio.sleep(0)
    return answer


KEYRING = new_keyring()
MESSAGE = new_message_id()
TARGET = "https://example.com/offer?a=1&b=%20#top"
OPEN = Token("open", "acme", MESSAGE, 3, "identified")
CLICK = Token("click", "acme", MESSAGE, 3, "identified", 5, TARGET)
AT = 1_795_507_707_070
DOMAINS = {"t.acme.example": "acme", "t.globex.example": "globex"}
ASNS = {"203.0.113.77": 64_500, "198.51.100.1": 64_501, "192.0.2.9": 64_502}


class Asked:
    """An edge whose hits are collected."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.answers = True
        self.answer: Callable[[], None] = lambda: None
        self.status = Status()
        self.stream = HitStream()
        self.withdrawn = Withdrawn(read_settings({}))
        self.withdrawn.follower.caught_up.set()
        self.app = Edge(
            KEYRING.open,
            self.put,
            Clients(networks("10.0.0.0/8"), lambda address: ASNS.get(address, 0)),
            self.withdrawn,
            rest(self.status),
            domains=DOMAINS,
            stream=self.stream,
            clock=lambda: AT,
        )

    def put(self, hits: list[Hit], answer: Callable[[], None]) -> None:
        self.hits += hits
        self.answer = answer
        if self.answers:
            answer()

    def say(self, recipient_id: str, purpose: Purpose, state: ConsentState, at: int) -> None:
        """A recipient says something, and the edge hears of it."""
        said = new_consent("acme", recipient_id, purpose, state, at, "withdrawal_page")
        self.withdrawn.take(b"", said)

    async def __call__(self, path: str, **more: Any) -> Answer:
        return await ask(self.app, path, **more)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"mailwake_edge_{name}_total", labels) or 0.0
