"""A next SMTP host for tests, which keeps what it takes and misbehaves where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailwake_local.ports import HOST, free_port

Step = Literal["connect", "mail", "rcpt", "data", "middle", "dot"]
"""Where it misbehaves: at the greeting, at a command, in the midst of a mail, after its end."""
FOREVER = 10**9


@dataclass(frozen=True)
class Taken:
    """A mail it has taken."""

    sender: str
    recipients: tuple[str, ...]
    message: bytes
    options: tuple[str, ...] = ()


@dataclass
class Fault:
    """What it does at a step: answers so, hangs, or dies; `taken`: but takes the mail first.

    `only` names a recipient, the only one it happens to; `times` is how often it happens.
    """

    step: Step
    does: str
    only: str = ""
    taken: bool = False
    times: int = FOREVER
    seconds: float = 3600


class SmtpHost:
    """Runs in a thread of its own; a context manager. `port` stays over `stop` and `start`."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        utf8: bool = True,
        most_bytes: int = 50_000_000,
        delay_s: float = 0,
    ) -> None:
        self.port = free_port()
        self.tls = tls
        self.login = login
        self.utf8 = utf8
        self.most_bytes = most_bytes
        self.delay_s = delay_s
        self.taken: list[Taken] = []
        self.faults: list[Fault] = []
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[_Smtp] = set()

    def __enter__(self) -> SmtpHost:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Behaves, and forgets what it has taken."""
        self.faults, self.taken = [], []

    def start(self) -> None:
        """Listens."""

        async def start() -> None:
            self._server = await self._loop.create_server(lambda: _Smtp(self), HOST, self.port)

        self._do(start())

    def stop(self) -> None:
        """Listens no more, and cuts all connections off."""

        async def stop() -> None:
            if self._server is not None:
                self._server.close()
            for session in list(self._open):
                session.die()
            while self._open:  # noqa: ASYNC110 - for a moment
                await asyncio.sleep(0.01)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._do(stop())

    def fault(self, step: Step, address: str = "") -> Fault | None:
        """What is to go wrong now."""
        for fault in self.faults:
            if fault.step == step and fault.times > 0 and fault.only in ("", address):
                fault.times -= 1
                return fault
        return None

    def _do(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)


class _Smtp(SMTP):
    line_length_limit = 1024 * 1024

    def __init__(self, host: SmtpHost) -> None:
        self._host = host
        self._in_data = False
        super().__init__(
            self,
            hostname="next.example",
            enable_SMTPUTF8=host.utf8,
            data_size_limit=host.most_bytes,
            tls_context=host.tls,
            require_starttls=host.tls is not None,
            auth_required=host.login is not None,
            authenticator=self._check if host.login else None,
            loop=host._loop,
        )

    def _check(self, *given: Any) -> AuthResult:
        data = given[-1]
        assert isinstance(data, LoginPassword)
        right = (data.login.decode(), data.password.decode()) == self._host.login
        return AuthResult(success=right, handled=False)

    def die(self) -> None:
        if self.transport is not None:
            self.transport.abort()  # type: ignore[attr-defined]

    def connection_made(self, transport: Any) -> None:
        self._host.connections += 1
        self._host._open.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._host._open.discard(self)
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        with contextlib.suppress(ConnectionError):
            answer = await self._misbehave("connect")
            if answer:
                await self.push(answer)
                self.die()
                return
            await super()._handle_client()

    def data_received(self, data: bytes) -> None:
        if self._in_data:
            fault = self._host.fault("middle")
            if fault is not None:
                self.die()
                return
        super().data_received(data)

    async def _misbehave(self, step: Step, address: str = "") -> str | None:
        fault = self._host.fault(step, address)
        if fault is None:
            return None
        if fault.does == "hang":
            await asyncio.sleep(fault.seconds)
            return None
        if fault.does == "die":
            self.die()
            raise ConnectionResetError
        return fault.does

    async def handle_MAIL(
        self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = await self._misbehave("mail")
        if answer:
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = await self._misbehave("rcpt", address)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def smtp_DATA(self, argument: str | None) -> None:
        answer = await self._misbehave("data")
        if answer:
            await self.push(answer)
            return
        self._in_data = True
        await super().smtp_DATA(argument or "")
        self._in_data = False

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:
        if self._host.delay_s:
            await asyncio.sleep(self._host.delay_s)
        content = envelope.content
        assert isinstance(content, bytes)
        mail = Taken(
            str(envelope.mail_from),
            tuple(envelope.rcpt_tos),
            content,
            tuple(envelope.mail_options),
        )
        address = envelope.rcpt_tos[0]
        takes = next(
            (
                fault.taken
                for fault in self._host.faults
                if fault.step == "dot" and fault.times > 0 and fault.only in ("", address)
            ),
            True,
        )
        if takes:
            self._host.taken.append(mail)
        answer = await self._misbehave("dot", address)
        return answer or f"250 2.0.0 queued as {len(self._host.taken)}"
