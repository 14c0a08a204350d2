"""One attempt: a POST that follows no redirect, reads no body to speak of, and ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import certifi
import httpcore

from mailwake.guard import RefusedError, Target
from mailwake.webhook import Outcome
from mailwake_webhooks.resolve import Resolver

MOST_BODY_BYTES = 16 * 1024
"""So much of an answer's body is read and thrown away, to use the connection again; a longer or
slower one costs its connection."""

_BODY_S = 0.5
_CONNECT_S = 5.0
_MOST_ADDRESSES = 4
_KEPT_S = 5.0

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """What came of a POST.

    Attributes:
        status: 0 where there was none.
        retry_after_s: how long the receiver asks to be left alone (429 and 503); 0 unless it does.
    """

    outcome: Outcome
    status: int = 0
    retry_after_s: float = 0.0


class Poster:
    """Posts. Use it within one event loop; `stop` closes its connections."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        timeout_s: float,
        most_connections: int,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout_s` is for all of an attempt, from the name's look-up to the status."""
        self._timeout_s = timeout_s
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context or public_context(),
            max_connections=most_connections,
            max_keepalive_connections=most_connections // 4,
            keepalive_expiry=_KEPT_S,
            network_backend=_Pinned(resolver),
        )

    async def stop(self) -> None:
        """Closes all connections."""
        await self._pool.aclose()

    async def post(self, target: Target, headers: Headers, body: bytes) -> Answer:
        """Posts once. Never raises for what the other side does."""
        answer: Answer | None = None
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._pool.stream(
                    "POST",
                    target.url,
                    headers=headers,
                    content=body,
                    extensions={"timeout": {"connect": _CONNECT_S, "pool": self._timeout_s}},
                ) as response,
            ):
                answer = answer_of(response.status, response.headers)
                await _throw_away(response)
        except (Exception, TimeoutError) as error:
            # With a status it has been answered, whatever becomes of the connection.
            return answer or Answer(_outcome_of(error))
        return answer


def public_context() -> ssl.SSLContext:
    """TLS that believes the authorities of the system and of certifi; SSL_CERT_FILE adds others."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def answer_of(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Answer:
    """What an answer's head says."""
    if 200 <= status < 300:
        return Answer("delivered", status)
    if 300 <= status < 400:
        return Answer("redirect", status)
    if status == 410:
        return Answer("gone", status)
    if status in (429, 503):
        said = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
        return Answer("busy", status, retry_after(said.decode("latin-1"), time.time()))
    return Answer("status", status)


def retry_after(text: str, now: float) -> float:
    """The seconds that a Retry-After asks for (RFC 9110, 10.2.3); 0 for what is none."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now, 0.0)


def _outcome_of(error: Exception) -> Outcome:
    match error:
        case RefusedError():
            return "refused"
        case _NoName():
            return "dns"
        case TimeoutError() | httpcore.TimeoutException():
            return "timeout"
        case httpcore.ConnectError():
            return "tls" if _is_of_tls(error) else "connect"
        case _:
            return "broken"


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether TLS is what an error comes from; anyio and httpcore wrap what it was."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


async def _throw_away(response: httpcore.Response) -> None:
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BODY_S):
            async for piece in response.aiter_stream():
                size += len(piece)
                if size > MOST_BODY_BYTES:
                    return


class _NoName(Exception):
    """The name is not known."""


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that is closed when its handshake is given up: httpcore closes it when that
    fails, and leaves it open when the attempt's time is over."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes."""
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Writes all."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Closes it."""
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of it."""
        return self._inner.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The connection with TLS."""
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._inner.aclose()
            raise


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else: the name is looked up here and
    not again, so that it cannot stand for another address a moment later."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address of the name that answers."""
        try:
            addresses = await self._resolver.addresses(host.strip("[]"), port)
        except OSError as error:
            raise _NoName from error
        failed: Exception | None = None
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                return _Stream(
                    await self._inner.connect_tcp(
                        address, port, timeout, local_address, socket_options
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None  # noqa: S101 (there was an address)
        raise failed

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Nothing."""
        raise RefusedError("webhooks go to no socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Between attempts of httpcore's own, which there are none of."""
        await self._inner.sleep(seconds)
