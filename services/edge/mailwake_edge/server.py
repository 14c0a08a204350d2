"""The edge's HTTP server: uvicorn, with the limits that a port facing the world needs."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from typing import Protocol as Interface

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from mailwake import http_server
from mailwake.http_server import Connection, configure
from mailwake.service import Status
from mailwake_edge.answers import Answer, fields
from mailwake_edge.app import QUICK, Edge, Safe

log = logging.getLogger("mailwake.edge")

MAX_REQUEST_BYTES = 64 * 1024
"""Most bytes of one request; our longest address has about 11 KiB."""
ANSWER_DEADLINE_S = 5
"""At the end, answers under way have so long."""


class Answers(Interface):
    """What answers pixels and links: the edge's application."""

    def answer(self, scope: Any) -> tuple[Answer, Safe | None]:
        """The answer to a request (an ASGI scope), and what it has to wait for."""


class Turn(ServerState):
    """uvicorn's shared state, with the requests that wait to be answered in one go.

    uvicorn reads requests and looks after connections; answers are written as they are, without the
    coroutine and the two messages that ASGI has for each.
    """

    def __init__(self, app: Answers) -> None:
        super().__init__()
        self.app = app
        self._due: list[RequestResponseCycle] = []
        self._defaults: list[tuple[bytes, bytes]] = []
        self._more = b""

    def add(self, cycle: RequestResponseCycle) -> None:
        """Has a request answered in the next turn of the event loop."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._answer)
        self._due.append(cycle)

    def forget(self, cycle: RequestResponseCycle) -> None:
        """Leaves a request of this turn unanswered."""
        self._due = [each for each in self._due if each is not cycle]

    def _answer(self) -> None:
        due, self._due = self._due, []
        waiting: dict[Safe, list[_Answered]] = {}
        for cycle in due:
            try:
                answer, safe = self.app.answer(cycle.scope)
            except Exception:
                log.exception("a request could not be answered")
                self._start(cycle.send_500_response())
                continue
            if safe is None:
                self._write(cycle, answer)
            else:
                waiting.setdefault(safe, []).append((cycle, answer))
        for safe, answered in waiting.items():
            try:
                safe.make()
            finally:
                if safe.done():
                    self._release(answered)
                else:
                    safe.add_done_callback(partial(self._release, answered))

    def _release(self, answered: list[_Answered], _: object = None) -> None:
        for cycle, answer in answered:
            self._write(cycle, answer)

    def _write(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """Writes an answer, as `RequestResponseCycle.send` does with the messages of one."""
        if cycle.disconnected:
            return
        if cycle.flow.write_paused:
            self._start(self._write_later(cycle, answer))
            return
        if cycle.default_headers is not self._defaults:  # uvicorn renews them with the time
            self._defaults = cycle.default_headers
            self._more = fields(self._defaults)
        more = self._more if cycle.keep_alive else self._more + b"connection: close\r\n"
        cycle.transport.write(answer.wire(more, head=cycle.scope["method"] == "HEAD"))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing  # else it and its connection would hold each other

    async def _write_later(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """Writes an answer when the client reads what it is sent."""
        await cycle.flow.drain()
        self._write(cycle, answer)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _nothing() -> None:
    pass


_Answered = tuple[RequestResponseCycle, Answer]


class Protocol(Connection):
    """A connection whose requests have a limit of size, and no task for each pixel and link.

    A request is over when its head is whole, for nothing here reads a body or takes long. So
    neither a head nor a body can be dripped in or go on for ever.

    Pixels and links wait for nothing but their hits, so those that came in one turn of the event
    loop are answered one after the other (`Turn`).
    """

    _held_bytes = 0
    _held_after: object = None

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is before:  # no head ended in them, which is rare
            self._hold(len(data))
        elif self._held_bytes + len(data) > MAX_REQUEST_BYTES:
            self._refuse_large(self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Should uvicorn come to call this otherwise, requests have tasks again and nothing breaks.
        turn = self.server_state
        path = cycle.scope["path"]
        if isinstance(turn, Turn) and app is turn.app and path.startswith(QUICK):
            turn.add(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _hold(self, size: int) -> None:
        if self._held_after is not self.cycle:
            self._held_after, self._held_bytes = self.cycle, 0
        self._held_bytes += size
        if self._held_bytes > MAX_REQUEST_BYTES:
            self.transport.close()

    def _refuse_large(self, cycle: RequestResponseCycle) -> None:
        """Closes the connection when the head, though it came in few pieces, is too large."""
        scope = cycle.scope
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > MAX_REQUEST_BYTES and isinstance(self.server_state, Turn):
            self.server_state.forget(cycle)
            self.transport.close()


class Server(http_server.Server):
    """The server; it answers pixels and links turn by turn.

    `status` is ready while it takes requests, from when `settled` first says that nothing else is
    waited for.
    """

    def __init__(self, app: Edge, status: Status, settled: Callable[[], bool]) -> None:
        super().__init__(configure(app, Protocol, answer_deadline_s=ANSWER_DEADLINE_S))
        self.server_state = Turn(app)
        self._status = status
        self._settled = settled

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes requests from now on."""
        await super().startup(sockets)
        self._status.ready = self._settled()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more connections, and finishes the answers under way."""
        self._status.ready = False
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        self._status.ready = self._status.ready or self._settled()
        return await super().on_tick(counter)
