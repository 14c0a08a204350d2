"""Somebody who asks for alerts, and somebody who listens to the stream of them."""

from __future__ import annotations

import asyncio
from typing import Any

from mailwake_api.app import make_app
from mailwake_api.bearer import Role
from mailwake_api.endpoints import ENDPOINTS
from tests.unit.api.asking import connect
from tests.unit.api.memory import Memory


class Client:
    """Somebody who calls."""

    def __init__(self, memory: Memory, sub: str, role: Role = "user", tenant: str = "acme") -> None:
        self._http = connect(memory, headers=memory.authorization(sub, role, tenant))

    async def listed(self, status: int = 200, **asked: Any) -> Any:
        answer = await self._http.get("/v1/alerts", params=asked)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def ids(self, **asked: Any) -> list[int]:
        """The alerts by the numbers that make their ids."""
        return [int(each["alert_id"], 16) for each in (await self.listed(**asked))["alerts"]]

    async def read(self, status: int = 200, **reading: Any) -> Any:
        answer = await self._http.post("/v1/alerts/read", json=reading)
        assert answer.status_code == status, answer.text
        return answer.json()


class Listener:
    """Somebody who listens; the answer's pieces are taken when `take` is called, and not before."""

    def __init__(self, memory: Memory, sub: str = "ben", last: str | None = None) -> None:
        headers = memory.authorization(sub) | ({"Last-Event-ID": last} if last else {})
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/alerts/stream",
            "query_string": b"",
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        }
        self._app = make_app(ENDPOINTS, memory.parts)
        self._pieces: asyncio.Queue[Any] = asyncio.Queue(1)
        self._taken: list[dict[str, str]] = []
        self.gone = asyncio.Event()

    async def _receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def waits(self) -> bool:
        """Whether the stream has a second piece, and waits for the first to be taken."""
        return bool(self._pieces._putters)  # type: ignore[attr-defined]

    async def take(self) -> dict[str, str]:
        """The next event; {} at the end."""
        while not self._taken:
            async with asyncio.timeout(5):
                message = await self._pieces.get()
            if message["type"] == "http.response.start":
                assert message["status"] == 200
                continue
            if not message["more_body"]:
                return {}
            blocks = message["body"].decode().split("\n\n")
            self._taken = [
                dict(line.split(": ", 1) for line in block.splitlines())
                for block in blocks
                if "event:" in block
            ]
        return self._taken.pop(0)

    async def __aenter__(self) -> Listener:
        self.task = asyncio.ensure_future(self._app(self._scope, self._receive, self._pieces.put))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gone.set()
        async with asyncio.timeout(5):
            await self.task
