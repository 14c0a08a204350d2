"""A connection that was lost a moment ago, on uvloop."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
import uvloop
from aiokafka import conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from mailwake.kafka_security import client_arguments
from mailwake.settings import Settings

ABRUPT = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection, as the end of a process may."""


def test_what_is_sent_before_the_loss_is_known_fails_as_a_broken_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client_arguments(Settings())  # as every client is made
    uvloop.run(_lose(monkeypatch))


async def _lose(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def no_lookup(connection: Any) -> None:
            connection._versions = {3: (0, 5)}

        monkeypatch.setattr(conn.AIOKafkaConnection, "_do_version_lookup", no_lookup)
        host, port = server.getsockname()
        made: Any = conn.AIOKafkaConnection(host, port, request_timeout_ms=1000)
        await made.connect()
        theirs, _ = server.accept()
        sent: asyncio.Future[Exception | None] = loop.create_future()
        lost = made._protocol.connection_lost

        def send() -> None:
            assert made._writer is not None, "it is known already"
            try:
                made.send(MetadataRequest([]))
            except Exception as error:
                sent.set_result(error)
            else:
                sent.set_result(None)

        def connection_lost(error: Exception | None) -> None:
            lost(error)
            loop.call_soon(send)

        made._protocol.connection_lost = connection_lost
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
        theirs.close()
        error = await asyncio.wait_for(sent, 5)
        assert isinstance(error, KafkaConnectionError), error
        assert not made.connected()
