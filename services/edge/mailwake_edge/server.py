"""The edge's HTTP server: uvicorn, with the limits that a port facing the world needs."""

from __future__ import annotations

import asyncio
import socket
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mailwake import http_server
from mailwake.service import Status
from mailwake_edge.app import QUICK, Safe

MAX_REQUEST_BYTES = 64 * 1024
"""Most bytes of one request; our longest address has about 11 KiB."""
REQUEST_DEADLINE_S = 10.0
"""A connection that has brought no whole request head for so long is closed."""
ANSWER_DEADLINE_S = 5
"""At the end, answers under way have so long."""


class Turn(ServerState):
    """uvicorn's shared state, with the requests that wait to be answered in one go."""

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[RequestResponseCycle, Any]] = []
        self._held: dict[Safe, list[_Answering]] = {}
        self._new: list[Safe] = []

    def add(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Has a request answered in the next turn of the event loop."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._answer)
        self._due.append((cycle, app))

    def forget(self, cycle: RequestResponseCycle) -> None:
        """Leaves a request of this turn unanswered."""
        self._due = [each for each in self._due if each[0] is not cycle]

    def _answer(self) -> None:
        due, self._due = self._due, []
        for cycle, app in due:
            whole = cycle.transport = _Whole(cycle.transport)
            self._go_on((cycle.run_asgi(app), cycle, whole))
        while self._new:
            safe = self._new.pop()
            try:
                safe.make()
            finally:
                if safe.done():
                    self._release(safe)
                else:
                    safe.add_done_callback(self._release)

    def _go_on(self, answering: _Answering) -> None:
        """Runs an answer up to its end, or to what it waits for."""
        coroutine, cycle, whole = answering
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            whole.flush()
            return
        if isinstance(waits_for, Safe):
            waits_for._asyncio_future_blocking = False  # as a task does with what it waits for
            held = self._held.get(waits_for)
            if held is None:
                held = self._held[waits_for] = []
                self._new.append(waits_for)
            held.append(answering)
            return
        whole.flush()
        cycle.transport = whole.transport
        # The client does not read what it is sent.
        task = asyncio.ensure_future(_go_on(coroutine, waits_for))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _release(self, safe: Any) -> None:
        """Answers those that waited for this."""
        for answering in self._held.pop(safe):
            self._go_on(answering)


class _Whole(asyncio.Transport):
    """A transport for one answer: head and body leave in one write instead of two."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.parts.append(bytes(data))

    def flush(self) -> None:
        parts, self.parts = self.parts, []
        if parts:
            self.transport.write(b"".join(parts))

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def is_closing(self) -> bool:
        return self.transport.is_closing()


@types.coroutine
def _go_on(answering: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that ran up to where it waits for something."""
    while True:
        try:
            came = yield waits_for
        except BaseException as error:
            go_on = partial(answering.throw, error)
        else:
            go_on = partial(answering.send, came)
        try:
            waits_for = go_on()
        except StopIteration:
            return


_Answering = tuple[Coroutine[Any, Any, None], RequestResponseCycle, _Whole]
"""An answer under way: its coroutine, its request, and what it has written."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with two limits it lacks, and without a task for each pixel and link.

    The limits are the size of a request, and a deadline for it. A request is over when its head is
    whole, for nothing here reads a body or takes long. So neither a head nor a body can be dripped
    in or go on for ever.

    Pixels and links wait for nothing but their hits, so those that came in one turn of the event
    loop are answered one after the other, which is what tasks would do for a tenth more time.
    """

    _held_bytes = 0
    _held_after: object = None
    _seen: object = None
    _seen_at: float | None = None

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
        if cycle.scope["path"].startswith(QUICK) and isinstance(self.server_state, Turn):
            self.server_state.add(cycle, app)
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

    def close_when_late(self, now: float) -> None:
        """Closes the connection when no request has come for too long; called every second."""
        if self._seen is not self.cycle or self._seen_at is None:
            self._seen, self._seen_at = self.cycle, now
        elif now - self._seen_at > REQUEST_DEADLINE_S:
            self.transport.abort()


class Server(http_server.Server):
    """The server; it answers pixels and links turn by turn.

    `status` is ready while it takes requests, from when `settled` first says that nothing else is
    waited for.
    """

    def __init__(self, config: uvicorn.Config, status: Status, settled: Callable[[], bool]) -> None:
        super().__init__(config)
        self.server_state = Turn()
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
