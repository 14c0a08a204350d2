"""A receiver of webhooks: a real HTTP server that answers in every wrong way as well."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answering = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def says(status: int, *fields: str, body: str = "") -> Answering:
    """An answer of that status."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields]
        writer.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        await writer.drain()

    return answer


async def hangs(_: Request, writer: asyncio.StreamWriter) -> None:
    """No answer ever."""
    await asyncio.sleep(3600)


async def resets(_: Request, writer: asyncio.StreamWriter) -> None:
    """The connection is cut off with an RST."""
    sock: Any = writer.get_extra_info("socket")
    sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closes(_: Request, writer: asyncio.StreamWriter) -> None:
    """The connection ends without an answer."""
    writer.close()


async def slow_head(_: Request, writer: asyncio.StreamWriter) -> None:
    """A head that comes letter by letter."""
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.05)


async def slow_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """200, and a body that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def huge_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """200, and a gigabyte."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _number in range(1024):
        writer.write(b"x" * 1048576)
        await writer.drain()


async def huge_head(_: Request, writer: asyncio.StreamWriter) -> None:
    """A head without end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 8000 + b"\r\n")
        await writer.drain()


async def no_http(_: Request, writer: asyncio.StreamWriter) -> None:
    """Something else."""
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()
    writer.close()


async def informs_for_ever(_: Request, writer: asyncio.StreamWriter) -> None:
    """Status 100 again and again."""
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


def first(*answers: Answering, then: Answering | None = None) -> Answering:
    """Of each message the first attempts get these answers, and those after them the last."""
    seen: dict[str, int] = {}

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        number = seen[request.id] = seen.get(request.id, 0) + 1
        chosen = answers[number - 1] if number <= len(answers) else then or says(204)
        await chosen(request, writer)

    return answer


class Receiver:
    """Answers by path; what it does not know gets 204.

    Attributes:
        got: the requests as they came.
        connections: how many there were.
    """

    def __init__(self, **answers: Answering) -> None:
        self.answers = answers
        self.got: list[Request] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def url(self, name: str, scheme: str = "http") -> str:
        return f"{scheme}://{HOST}:{self.port}/{name}"

    def of(self, name: str) -> list[Request]:
        """What came to one path."""
        return [each for each in self.got if each.path == f"/{name}"]

    def ids(self, name: str) -> set[str]:
        return {each.id for each in self.of(name)}

    @contextlib.asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._serve, HOST, 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first_line, *lines = head.decode().strip().split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines)
                raw = dict(line.split(": ", 1) for line in lines)
                headers = {name.lower(): value for name, value in raw.items()}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                request = Request(first_line.split()[1], headers, body)
                self.got.append(request)
                await self.answers.get(request.path[1:], says(204))(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
