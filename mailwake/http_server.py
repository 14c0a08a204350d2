"""How a service serves HTTP: uvicorn, without what a port facing the world must not have."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mailwake.errors import UnavailableError

KEEP_ALIVE_S = 5
"""So long a connection is kept for its next request."""
HEAD_DEADLINE_TICKS = 10
"""A connection that has brought no whole request head in so many seconds is closed."""
LAST_LOOK_S = 1.0
"""A connection that was not used long enough is looked at once more, so much later."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a deadline for a request's head, fair to those whom we kept waiting.

    A process that stands still for a while (its machine is moved, its disk blocks) finds both its
    timers due and requests that came meanwhile, and uvicorn would close their connections.
    """

    _ticks = 0
    _before: object = None

    def tick(self) -> None:
        """Closes the connection when nothing whole has come for too long; called every second, by
        a clock that stands still when the process does."""
        if self.is_under_way or self._before is not self.cycle:
            self._before, self._ticks = self.cycle, 0
        elif self._ticks >= HEAD_DEADLINE_TICKS:
            self.transport.abort()
        self._ticks += 1

    @property
    def is_under_way(self) -> bool:
        """Whether a request's body, or its answer, is not whole yet."""
        return False

    def timeout_keep_alive_handler(self) -> None:
        """No request has come for long; one may stand in the socket, and cancels this when read."""
        self.timeout_keep_alive_task = self.loop.call_later(
            LAST_LOOK_S, super().timeout_keep_alive_handler
        )


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to `mailwake.service` and closes slow connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none: `should_exit` is set by the one who runs the server."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.tick()
        return await super().on_tick(counter)


def configure(
    app: Any, protocol: type[HttpToolsProtocol], *, answer_deadline_s: int
) -> uvicorn.Config:
    """uvicorn's configuration for an ASGI application.

    No access log (a path may hold a token), no X-Forwarded-For by uvicorn (it would believe what we
    must check), no WebSocket, no word of who serves. The event loop is the caller's. At the end,
    answers under way have `answer_deadline_s` seconds.
    """
    return uvicorn.Config(
        app,
        http=protocol,
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
        timeout_graceful_shutdown=answer_deadline_s,
    )


def listen(name: str, host: str, port: int) -> socket.socket:
    """A listening socket for a service; `::` takes IPv4 too.

    `name` is the service's, as in its settings `MAILWAKE_<NAME>_HOST` and `_PORT`. Raises
    UnavailableError when the port cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(
            address, family=family, backlog=2048, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        # create_server adds to the text of the system, and numbers of getaddrinfo are its own.
        lookup = isinstance(error, socket.gaierror)
        why = error.strerror if lookup or not error.errno else os.strerror(error.errno)
        raise UnavailableError(
            f"The {name} cannot listen on port {port} of {host} ({why}); free it, or set "
            f"MAILWAKE_{name.upper()}_HOST and MAILWAKE_{name.upper()}_PORT"
        ) from None
