"""The listener: accepts clients, and stops without cutting off what they run."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from mailwake.errors import UnavailableError

from .connection import ClientConnection
from .engine import Engine

_STOP_WITHIN = 5.0
"""Seconds that running queries have to finish when the listener stops; then they are ended."""

_ENDED_WITHIN = 5.0

log = logging.getLogger(__name__)


class Listener:
    """Serves one data folder on one address.

    Attributes:
        host: the address it listens on.
        port: the port it listens on, chosen by the system when 0 was asked for.
    """

    def __init__(
        self,
        data: Path,
        host: str,
        port: int,
        password: str,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """With `tls` it speaks TLS and nothing else."""
        self.port = port
        self._tls = tls
        self._data = data
        self.host = host
        self._password = password
        self._connections: dict[ClientConnection, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Open the engine and begin to listen.

        Raises:
            ConfigError: the data folder's name cannot be used.
            UnavailableError: the data folder or the port is taken.
        """
        self._engine = Engine(self._data)
        try:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, ssl=self._tls
            )
        except OSError as error:
            self._engine.close()
            raise UnavailableError(
                f"cannot listen on {self.host}:{self.port}: {error.strerror or error}; "
                "choose another port, or 0 for any"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ClientConnection(self._engine, self._password, reader, writer)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._connections[connection] = task
        try:
            await connection.serve()
        except asyncio.CancelledError:
            pass  # the listener stops
        finally:
            del self._connections[connection]

    async def stop(self) -> bool:
        """Refuse new clients, let running queries finish within a bound, close the engine.

        Returns:
            Whether all queries have ended; otherwise the engine is left as it is.
        """
        self._server.close()
        for connection, task in self._connections.items():
            connection.stopping = True
            if not connection.busy:
                task.cancel()
        if tasks := set(self._connections.values()):
            await asyncio.wait(tasks, timeout=_STOP_WITHIN)
        if tasks := set(self._connections.values()):
            log.warning("ending %d queries that are still running", len(tasks))
            for connection, task in list(self._connections.items()):
                connection.kill()
                task.cancel()
            await asyncio.wait(tasks, timeout=_ENDED_WITHIN)
        if self._connections:
            return False
        self._engine.close()
        return True
