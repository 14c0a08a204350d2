"""aiokafka's connection, on uvloop.

aiokafka hears one turn of the event loop late that a connection was lost, and may send something
meanwhile. asyncio lets such a write pass; uvloop raises RuntimeError (`UVStream.write`, uvloop
0.23), which aiokafka 0.14 expects nowhere. Its task that asks for metadata ends of it, unseen, and
whoever wants to know a partition's leader waits for that task for ever, long after Kafka is back.
Here it is the error that aiokafka has for a connection that broke.

`client_arguments` imports this, so it holds for every client of ours and for Faust's.
"""

from __future__ import annotations

from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection whose loss is told as one."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """As aiokafka's. Raises KafkaConnectionError."""
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            raise self._lost(error) from error

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:
        try:
            return super()._send_sasl_token(payload, expect_response)
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> KafkaConnectionError:
        self.close(reason=conn.CloseReason.CONNECTION_BROKEN, exc=error)
        return KafkaConnectionError(f"Connection at {self.host}:{self.port} is lost")


conn.AIOKafkaConnection = Connection
