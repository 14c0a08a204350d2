"""One session of the relay (RFC 5321, submission as in RFC 6409): aiosmtpd, and what it lacks.

aiosmtpd reads commands and mails; here are logins off the event loop, time-outs that know whose
turn it is, enhanced status codes (RFC 2034), and the next host's own answer for each recipient.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import ssl
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from aiosmtpd.smtp import Envelope as Said
from aiosmtpd.smtp import Session as Client

from mailwake.networks import cut
from mailwake_relay.next_host import Reply, Transaction
from mailwake_relay.relaying import Envelope
from mailwake_relay.users import Login

if TYPE_CHECKING:
    from mailwake_relay.server import Server

log = logging.getLogger("mailwake.relay")

MAX_RECIPIENTS = 1000
SILENT_S = 300.0
"""A client may be silent for so long (RFC 5321, 4.5.3.2.7)."""
LOGIN_S = 60.0
"""A client that has not logged in after so long is hung up on."""
WRONG_LOGINS = 3
LINE_BYTES = 256 * 1024
"""The longest line that is taken. 998 are allowed and many mails are not; the next host decides."""

_STATUS = re.compile(r"(?m)^(?!220)([245]\d\d)([ -])(?![245]\.\d{1,3}\.\d{1,3} )")
_STATUSES = {
    "421": "4.3.2",
    "500": "5.5.2",
    "501": "5.5.4",
    "502": "5.5.1",
    "503": "5.5.1",
    "504": "5.5.4",
    "552": "5.3.4",
    "553": "5.1.3",
    "555": "5.5.4",
}
_ADDRESS = re.compile(
    r"(?:\"(?:[^\"\\\x00-\x1f\x7f]|\\[ -~])*+\"|[^\s\"<>@(),:;\\\[\]\x00-\x1f\x7f]++)"
    r"(?:@(?:[^\s\"<>@(),:;\\\[\]\x00-\x1f\x7f]++|\[[A-Za-z0-9.:-]++\]))?"
)
_AUTH_PARAMETER = re.compile(r"(?i)\s+AUTH=\S*")


class Conversation(SMTP):
    """One session of a client."""

    line_length_limit = LINE_BYTES
    AuthLoginUsernameChallenge = "Username:"  # what some programs insist on
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, server: Server, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._began = asyncio.get_running_loop().time()
        self._wrong_logins = 0
        self._greeting = False
        self._opened: Transaction | None = None
        self._login: Login | None = None
        self._told: Sequence[bytes] = ()
        self._unheard: Sequence[bytes] = ()
        self.busy = False
        super().__init__(
            handler=self,  # its hooks are the methods `handle_…` below
            hostname=server.name,
            ident="Mailwake",
            data_size_limit=server.settings.relay_max_bytes,
            enable_SMTPUTF8=True,
            tls_context=tls,
            auth_required=True,
            timeout=SILENT_S,
            loop=asyncio.get_running_loop(),
        )
        # aiosmtpd has one for all sessions, which each new one clears.
        self.command_size_limits = defaultdict(lambda: 2048)

    # The connection

    def connection_made(self, transport: Any) -> None:
        """A client has come, or has turned to TLS."""
        super().connection_made(transport)
        self._login = None
        self._auth_require_tls = not self._server.takes_plain_auth(transport)
        self._server.sessions.add(self)

    def data_received(self, data: bytes) -> None:
        """A client that speaks has read our last answer, and is not silent."""
        self._heard()
        if not self.busy:
            self._reset_timeout()
        super().data_received(data)

    def eof_received(self) -> bool | None:
        """A client that hangs up in order has read our last answer: had it left that unread, its
        system would have reset the connection."""
        self._heard()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone; a mail that it has given whole goes on."""
        super().connection_lost(error)
        self._server.sessions.discard(self)
        if not self.busy:  # else what is asked of the next host is cancelled, and closes
            self._abandon()

    async def _handle_client(self) -> None:
        if self._server.full or self._server.stopping:
            self.hang_up("takes no more sessions now, try again later")
            return
        try:
            await super()._handle_client()
        except ConnectionError:
            pass
        except Exception as error:  # a TLS handshake that failed leaves aiosmtpd at a loss
            log.info("a session ended with %s", type(error).__name__)
        finally:
            if self._original_transport is not None and self.transport is None:
                self._original_transport.close()

    def _timeout_cb(self) -> None:
        self.hang_up("was waiting for too long")

    def hang_up(self, why: str) -> None:
        """Says good-bye with 421."""
        if self.transport is not None:
            self._writer.write(f"421 4.3.2 {self.hostname} {why}\r\n".encode())
            self.transport.close()
        elif self._original_transport is not None:  # in the midst of a TLS handshake
            self._original_transport.close()

    @property
    def stranger(self) -> bool:
        """Whether nobody has logged in."""
        return self._login is None

    @property
    def idle(self) -> bool:
        """Whether there is nothing that hanging up would cut off."""
        return not self.busy and not (self.envelope and self.envelope.mail_from)

    def _reset_timeout(self, duration: float | None = None) -> None:
        left = self._began + LOGIN_S - self.loop.time()
        if self._login is None and duration is None:
            duration = max(left, 0.001)
        super()._reset_timeout(duration)

    async def _call_handler_hook(self, command: str, *arguments: Any) -> Any:
        # Now it is we who take time, and the client must not be hung up on for that.
        self.busy = True
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        try:
            return await super()._call_handler_hook(command, *arguments)
        finally:
            self.busy = False
            if self.transport is not None:
                self._reset_timeout()

    async def push(self, status: Any) -> None:
        """Answers, with an enhanced status code where one belongs and is missing."""
        if isinstance(status, str) and not self._greeting:
            status = _STATUS.sub(
                lambda found: (
                    f"{found[1]}{found[2]}{_STATUSES.get(found[1], found[1][0] + '.0.0')} "
                ),
                status,
            )
        await super().push(status)

    async def handle_exception(self, error: Exception) -> str:
        """A fault of ours, or of aiosmtpd with what it was given."""
        log.warning("a session failed: %s", type(error).__name__)
        return "451 4.3.0 the relay failed at that command; try again later"

    # Greeting and login

    async def smtp_EHLO(self, hostname: str) -> None:
        """The extensions."""
        self._abandon()
        self._greeting = True
        await super().smtp_EHLO(hostname)
        self._greeting = False

    async def smtp_HELO(self, hostname: str) -> None:
        """The greeting of old, which leads nowhere without a login."""
        self._abandon()
        self._greeting = True
        await super().smtp_HELO(hostname)
        self._greeting = False

    async def handle_EHLO(
        self, _: SMTP, client: Client, said: Said, hostname: str, lines: list[str]
    ) -> list[str]:
        """Adds what aiosmtpd does and does not say. Commands that come at once wait in its reader,
        so pipelining holds."""
        client.host_name = hostname
        return [*lines[:-1], "250-ENHANCEDSTATUSCODES", "250 PIPELINING"]

    async def smtp_AUTH(self, argument: str | None) -> None:
        """A login; the name of the mechanism may be in any case (RFC 4422)."""
        mechanism, space, rest = (argument or "").partition(" ")
        self.busy = True
        try:
            await super().smtp_AUTH(mechanism.upper() + space + rest)
        finally:
            self.busy = False
        if self.transport is not None:
            self._reset_timeout()
        if self._wrong_logins >= WRONG_LOGINS:
            self.hang_up("too many wrong passwords")

    async def auth_PLAIN(self, _: SMTP, words: list[str]) -> AuthResult:
        """RFC 4616, with the authorization identity, which aiosmtpd leaves out."""
        given = await self._plain(words)
        if isinstance(given, AuthResult):
            return given
        parts = given.split(b"\0")
        if len(parts) != 3:
            await self.push("501 5.5.2 Can't split auth value")
            return AuthResult(success=False, handled=True)
        whom, name, password = parts
        return await self._checked(name, password, whom)

    async def _plain(self, words: list[str]) -> bytes | AuthResult:
        """What the client says of itself: with the command, or when it is asked."""
        if len(words) == 1:
            said = await self.challenge_auth("")
            return said if isinstance(said, bytes) else AuthResult(success=False)
        try:
            return base64.b64decode(words[1].encode(), validate=True)
        except ValueError:
            await self.push("501 5.5.2 Can't decode base64")
            return AuthResult(success=False, handled=True)

    async def auth_LOGIN(self, _: SMTP, words: list[str]) -> AuthResult:
        """What Outlook speaks."""
        return await self._verified(await super().auth_LOGIN(_, words))

    def _authenticate(self, mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=True, auth_data=given)  # `_verified` looks at it

    async def _verified(self, result: AuthResult) -> AuthResult:
        if not result.success or not isinstance(result.auth_data, LoginPassword):
            return result
        return await self._checked(*result.auth_data)

    async def _checked(self, name: bytes, password: bytes, whom: bytes = b"") -> AuthResult:
        self._login = await self._server.logins.check(name, password, whom)
        if self._login is None:
            self._wrong_logins += 1
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True, auth_data=self._login)

    # A mail

    def _getaddr(self, text: str) -> tuple[str | None, str | None]:
        try:
            address, rest = super()._getaddr(text)
        except Exception:  # the standard library's parser fails in many ways
            return None, None
        if not address or address == "<>":
            return address, rest
        # It makes an address of nearly anything, and what it makes goes to the next host.
        closed = not text.lstrip().startswith("<") or ">" in text
        fits = _ADDRESS.fullmatch(address) and len(address) <= 320
        unicode = not re.search(r"[\ud800-\udfff]", address)  # what is no UTF-8 comes as these
        return (address, rest) if closed and fits and unicode else (None, None)

    async def smtp_MAIL(self, argument: str | None) -> None:
        """The sender. AUTH= (RFC 4954, 5), which Postfix adds, is taken and not passed on."""
        await super().smtp_MAIL(argument and _AUTH_PARAMETER.sub("", argument))

    async def handle_MAIL(
        self, _: SMTP, client: Client, said: Said, address: str, options: list[str]
    ) -> str:
        """Opens the mail at the next host too."""
        self._abandon()
        sender = "" if address == "<>" else address
        if not sender.isascii() and not said.smtp_utf8:
            return "553 5.6.7 an address beyond ASCII needs SMTPUTF8"
        sizes = [option[5:] for option in options if option.startswith("SIZE=")]
        size = int(sizes[0]) if sizes else None
        opened = await self._server.host.begin(sender, utf8=said.smtp_utf8, size=size)
        if isinstance(opened, Reply):
            return str(opened)
        self._opened = opened
        said.mail_from = address
        said.mail_options.extend(options)
        return "250 2.1.0 sender taken"

    async def handle_RCPT(
        self, _: SMTP, client: Client, said: Said, address: str, options: list[str]
    ) -> str:
        """Asks the next host, and tells what it said."""
        opened = self._opened
        if opened is None:
            return "451 4.4.2 the next host is gone; try again later"
        if not address.isascii() and not said.smtp_utf8:
            return "553 5.6.7 an address beyond ASCII needs SMTPUTF8"
        if address in said.rcpt_tos:
            return "250 2.1.5 recipient taken"
        if len(said.rcpt_tos) >= MAX_RECIPIENTS:
            return f"452 4.5.3 a mail has {MAX_RECIPIENTS} recipients at most; send it to the rest"
        reply = await opened.recipient(address)
        if not reply.good:
            return str(reply)
        said.rcpt_tos.append(address)
        return "250 2.1.5 recipient taken"

    async def handle_RSET(self, _: SMTP, client: Client, said: Said) -> str:
        """Nothing is under way any more."""
        self._abandon()
        return "250 2.0.0 forgotten"

    async def smtp_DATA(self, argument: str | None) -> None:
        """The mail. What was delivered is forgotten when the client next speaks."""
        self._told = ()
        await super().smtp_DATA(argument)
        self._unheard = self._told
        if self._server.stopping:
            self.hang_up("is going down")

    async def handle_DATA(self, _: SMTP, client: Client, said: Said) -> str:
        """Takes the mail to the next host. It goes on when the client goes away meanwhile."""
        if self._login is None or not isinstance(said.content, bytes):
            raise RuntimeError("a mail without a login")
        opened, self._opened = self._opened, None
        sender = "" if said.mail_from == "<>" else str(said.mail_from)
        envelope = Envelope(self._login, sender, said.smtp_utf8, list(said.rcpt_tos), opened)
        peer: Any = client.peer  # of a Unix socket it is a text, and no address
        envelope.network = cut(peer[0]) if isinstance(peer, tuple) else ""
        answer = await asyncio.shield(self._server.relay(envelope, said.content))
        self._told = answer.delivered
        return str(answer.reply)

    def _heard(self) -> None:
        if self._unheard:
            self._server.relaying.confirm(self._unheard)
            self._unheard = ()

    def _abandon(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.abandon()
