"""The next SMTP host: connections to it, and one mail at a time on each.

A transaction is opened when our client names its sender, so that the client hears the next host's
own answer for each recipient. What goes wrong on the way is an answer too (`Reply`), never an
exception: 451, with a flag that says whether the mail may have arrived.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPConnectResponseError,
    SMTPException,
    SMTPHeloError,
)

from mailwake.settings import Settings

log = logging.getLogger("mailwake.relay")

IDLE_S = 15.0
"""So long a connection is kept for the next mail."""
_IDLE_MOST = 20
DOT_TIMES = 10
"""The answer to a whole mail may take so many times as long as any other: 10 minutes of RFC 5321,
4.5.3.2.6, where a minute is set. Who gives up early and sends again sends twice."""
_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the next host, or of ours for it.

    Attributes:
        text: begins with an enhanced status code, nearly always; may have several lines.
        lost: there was no answer, or the connection is no longer good.
        unknown: the mail was given away whole, and may or may not have been taken.
    """

    code: int
    text: str
    lost: bool = False
    unknown: bool = False

    @property
    def good(self) -> bool:
        """Whether it was taken."""
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """Whether it is of no use to try again."""
        return 500 <= self.code < 600

    @property
    def line(self) -> str:
        """The answer on one line."""
        return f"{self.code} {' '.join(self.text.encode('utf-8', 'replace').decode().split())}"

    def __str__(self) -> str:
        lines = self.text.encode("utf-8", "replace").decode().splitlines() or [""]
        return "\r\n".join(
            f"{self.code}{' ' if last == len(lines) else '-'}{line}"
            for last, line in enumerate(lines, 1)
        )


def _lost(text: str = "4.4.2 the next host does not answer", unknown: bool = False) -> Reply:
    return Reply(451, f"{text}; try again later", lost=True, unknown=unknown)


class Transaction:
    """One mail on its way to the next host; ends with `data` or `abandon`.

    Attributes:
        sender: of the envelope, empty for none.
        utf8: whether it may speak of addresses and headers beyond ASCII.
        recipients: those the next host has taken, in their order.
        eight_bit: whether the next host takes bytes above 127.
        most_bytes: the largest mail the next host takes; None where it does not say.
    """

    def __init__(self, host: NextHost, client: SMTP, sender: str, utf8: bool) -> None:
        self._host = host
        self._client = client
        self.sender = sender
        self.utf8 = utf8
        self.recipients: list[str] = []
        self.eight_bit = client.supports_extension("8bitmime")
        size = client.esmtp_extensions.get("size", "").strip()
        self.most_bytes = int(size) if size.isdecimal() and int(size) else None

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as we know."""
        return self._client.is_connected

    async def recipient(self, address: str) -> Reply:
        """Names a recipient."""
        reply = await self._host.ask(self._client, b"RCPT", b"TO:" + _path(address))
        if reply.good:
            self.recipients.append(address)
        return reply

    async def data(self, message: bytes) -> Reply:
        """Gives the mail, whose line ends are CRLF; the transaction is over then."""
        client = self._client
        reply = await self._host.ask(client, b"DATA")
        if reply.code != 354:
            self.abandon()
            return _lost("4.5.0 the next host breaks the protocol") if reply.good else reply
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        if not stuffed.endswith(b"\r\n"):  # else the dot that ends it would be none
            stuffed += b"\r\n"
        protocol = client.protocol
        try:
            if protocol is None:
                return _lost()
            protocol.write(stuffed + b".\r\n")
            response = await protocol.read_response(timeout=self._host.timeout_s * DOT_TIMES)
        except (SMTPException, OSError):
            client.close()
            return _lost(unknown=True)
        except BaseException:
            client.close()
            raise
        reply = _reply(response.code, response.message)
        if reply.code < 400 and not reply.good:
            reply = _lost("4.5.0 the next host breaks the protocol", unknown=True)
        if reply.lost:
            client.close()
        else:
            self._host.release(client)
        return reply

    def abandon(self) -> None:
        """Gives up what was not given with `data`."""
        self._host.release(self._client, begun=True)


class NextHost:
    """Connections to the host that `settings.relay_next` names."""

    def __init__(self, settings: Settings, name: str) -> None:
        """`name` is what we call ourselves."""
        url = urlsplit(settings.relay_next)
        self._url = url
        self._name = name
        self.timeout_s = settings.relay_next_timeout_s
        self._idle: list[tuple[SMTP, float, bool]] = []
        if url.scheme == "smtp" and url.username and url.hostname not in ("127.0.0.1", "localhost"):
            log.warning(
                "MAILWAKE_RELAY_NEXT has a password and does not insist on TLS; use smtp+tls"
            )

    async def begin(
        self, sender: str, *, utf8: bool, size: int | None = None, fresh: bool = False
    ) -> Transaction | Reply:
        """A transaction whose sender the next host has taken, or why there is none.

        `size` is what the client said of the mail's. A connection that was kept and turns out to
        be gone is replaced; `fresh` takes none that was kept.
        """
        while True:
            client, kept = None if fresh else await self._kept(), True
            if client is None:
                opened = await self._connect()
                if isinstance(opened, Reply):
                    return opened
                client, kept = opened, False
            options = [b"FROM:" + _path(sender)]
            if client.supports_extension("size") and size:
                options.append(b"SIZE=%d" % size)
            if client.supports_extension("8bitmime"):
                options.append(b"BODY=8BITMIME")
            if utf8:
                if not client.supports_extension("smtputf8"):
                    self.release(client)
                    return Reply(550, "5.6.7 the next host takes no addresses beyond ASCII")
                options.append(b"SMTPUTF8")
            reply = await self.ask(client, b"MAIL", *options)
            if reply.good:
                return Transaction(self, client, sender, utf8)
            if reply.lost or (kept and not reply.permanent):
                client.close()  # some hosts take so many mails on a connection and no more
                if kept:
                    continue
            else:
                self.release(client, begun=True)
            if reply.code in (530, 535, 538):
                return self._no_login(reply.code)
            return reply

    async def deliver(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes,
        *,
        utf8: bool,
        opened: Transaction | None = None,
    ) -> dict[str, Reply]:
        """Gives one mail to some recipients; what became of it for each.

        `opened` is used when it is for these very recipients. A connection that is lost before the
        mail was given is replaced once.
        """
        if opened is not None and opened.alive and opened.recipients == list(recipients):
            reply = await opened.data(message)
            if not reply.lost or reply.unknown:
                return dict.fromkeys(recipients, reply)
        elif opened is not None:
            opened.abandon()
        begun = await self.begin(sender, utf8=utf8, size=len(message), fresh=opened is not None)
        if isinstance(begun, Reply):
            return dict.fromkeys(recipients, begun)
        replies: dict[str, Reply] = {}
        for address in recipients:
            replies[address] = await begun.recipient(address) if begun.alive else _lost()
        if begun.recipients:
            reply = await begun.data(message)
            replies |= dict.fromkeys(begun.recipients, reply)
        else:
            begun.abandon()
        return replies

    async def ask(self, client: SMTP, *command: bytes) -> Reply:
        """The answer to a command; the connection is closed when there is none."""
        try:
            response = await client.execute_command(*command, timeout=self.timeout_s)
        except (SMTPException, OSError, ValueError):
            client.close()
            return _lost()
        except BaseException:  # cancelled: what is asked and answered would no longer match
            client.close()
            raise
        reply = _reply(response.code, response.message)
        if 300 <= reply.code < 400 and command != (b"DATA",):
            reply = _lost("4.5.0 the next host breaks the protocol")
        if reply.lost:
            client.close()
        return reply

    def release(self, client: SMTP, *, begun: bool = False) -> None:
        """Keeps a connection for the next mail; `begun`: a transaction stands open on it."""
        if not client.is_connected or len(self._idle) >= _IDLE_MOST:
            client.close()
        else:
            self._idle.append((client, time.monotonic(), begun))

    def close(self) -> None:
        """Closes what is kept."""
        while self._idle:
            self._idle.pop()[0].close()

    async def _kept(self) -> SMTP | None:
        now = time.monotonic()
        while self._idle and now - self._idle[0][1] > IDLE_S:
            self._idle.pop(0)[0].close()
        while self._idle:
            client, _, begun = self._idle.pop()
            if client.is_connected and (not begun or (await self.ask(client, b"RSET")).good):
                return client
            client.close()
        return None

    async def _connect(self) -> SMTP | Reply:
        url = self._url
        client = SMTP(
            hostname=url.hostname,
            port=url.port or _PORTS[url.scheme],
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password or "") if url.username else None,
            local_hostname=self._name,
            timeout=self.timeout_s,
            use_tls=url.scheme == "smtps",
            start_tls={"smtp": None, "smtp+tls": True, "smtps": False}[url.scheme],
            # Taking TLS where it is offered is better than not, and who can forge a certificate
            # could hide the offer as well.
            validate_certs=url.scheme != "smtp",
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                try:
                    await client.ehlo()
                except SMTPHeloError:
                    await client.helo()
        except SMTPAuthenticationError as error:
            client.close()
            return self._no_login(error.code)
        except SMTPConnectResponseError as error:
            client.close()
            log.warning("the next host answered %s when it was connected to", error.code)
            return _lost("4.3.2 the next host takes no mail now")
        except (SMTPException, OSError, ValueError) as error:
            client.close()
            log.warning("the next host cannot be reached: %s", type(error).__name__)
            return _lost("4.4.1 the next host cannot be reached")
        except BaseException:
            client.close()
            raise
        return client

    def _no_login(self, code: int) -> Reply:
        log.error(
            "the next host wants another login (it answered %s); see MAILWAKE_RELAY_NEXT", code
        )
        return _lost("4.3.5 the next host does not take the relay's login")


def _reply(code: int, text: str) -> Reply:
    if code == 421:  # with it a host says that it hangs up
        return Reply(451, text, lost=True)
    if not 200 <= code < 600:
        return _lost("4.5.0 the next host breaks the protocol")
    return Reply(code, text)


def _path(address: str) -> bytes:
    return b"<" + address.encode("utf-8", "surrogateescape") + b">"
