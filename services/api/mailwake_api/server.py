"""The API's HTTP server: uvicorn, with the limits that a port facing the world needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mailwake.errors import UnavailableError

MAX_HEAD_BYTES = 64 * 1024
HEAD_DEADLINE_S = 10.0
"""A connection that has brought no whole request head for so long is closed."""
KEEP_ALIVE_S = 5
ANSWER_DEADLINE_S = 15
"""At the end, answers under way have so long."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with the two limits it lacks: the size of a head, and a deadline for it.
    The application limits bodies."""

    _head_bytes = 0
    _since: float | None = None
    _done: object = None

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self._in_body():
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    def close_when_late(self, now: float) -> None:
        """Closes the connection when no head has come for too long; called every second."""
        if self._in_body() or self._done is not self.cycle or self._since is None:
            self._done, self._since = self.cycle, now
        elif now - self._since > HEAD_DEADLINE_S:
            self.transport.abort()

    def _in_body(self) -> bool:
        """Whether a request is under way: its body, or its answer, is not whole."""
        cycle = self.cycle
        return cycle is not None and (cycle.more_body or not cycle.response_complete)


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to `mailwake.service`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none: `should_exit` is set by the one who runs the server."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.close_when_late(now)
        return await super().on_tick(counter)


def configure(app: Any) -> uvicorn.Config:
    """uvicorn's configuration: no access log (ours holds no address), no word of who serves."""
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="none",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=ANSWER_DEADLINE_S,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `::` takes IPv4 too. Raises UnavailableError when it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(
            address, family=family, backlog=2048, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        lookup = isinstance(error, socket.gaierror)
        why = error.strerror if lookup or not error.errno else os.strerror(error.errno)
        raise UnavailableError(
            f"The API cannot listen on port {port} of {host} ({why}); free it, or set "
            "MAILWAKE_API_HOST and MAILWAKE_API_PORT"
        ) from None
