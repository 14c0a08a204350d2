"""How a service serves HTTP: uvicorn, without what a port facing the world must not have."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import uvicorn

from mailwake.errors import UnavailableError

KEEP_ALIVE_S = 5
"""So long a connection is kept for its next request."""


@runtime_checkable
class Patient(Protocol):
    """A connection that is not kept waiting for ever."""

    def close_when_late(self, now: float) -> None:
        """Closes it when nothing whole has come for too long; `now` is the event loop's time."""


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to `mailwake.service` and closes slow connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none: `should_exit` is set by the one who runs the server."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Patient):
                    connection.close_when_late(now)
        return await super().on_tick(counter)


def configure(
    app: Any, protocol: type[asyncio.Protocol], *, answer_deadline_s: int
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
