"""The relay as an SMTP server: it listens, bounds its sessions, and its end cuts no mail off."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging

from mailwake import metrics
from mailwake.errors import ConfigError
from mailwake.settings import Settings
from mailwake_relay.certificate import Certificate
from mailwake_relay.conversation import Conversation
from mailwake_relay.logins import Logins
from mailwake_relay.next_host import NextHost
from mailwake_relay.relaying import Answer, Envelope, Relaying

log = logging.getLogger("mailwake.relay")

MAX_SESSIONS = 500
MAX_STRANGERS = 200
"""Sessions that have not logged in; so strangers keep no user out."""
STOP_S = 20.0
"""At the end, mails under way have so long."""


class Server:
    """Listens, and holds what its sessions share."""

    def __init__(
        self, settings: Settings, name: str, relaying: Relaying, host: NextHost, logins: Logins
    ) -> None:
        """Raises ConfigError for a certificate that cannot be used."""
        self.settings = settings
        self.name = name
        self.relaying = relaying
        self.host = host
        self.logins = logins
        self.sessions: set[Conversation] = set()
        self.stopping = False
        self._mails: set[asyncio.Task[Answer]] = set()
        self._listening: asyncio.Server | None = None
        self._certificate = Certificate(settings.relay_certificate, settings.relay_key)
        metrics.RELAY_SESSIONS.set_function(lambda: len(self.sessions))

    async def start(self) -> tuple[str, int]:
        """Listens; where. Raises ConfigError when the port cannot be had."""
        host, port = self.settings.relay_host, self.settings.relay_port
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                lambda: Conversation(self, self._certificate.context()), host, port, backlog=512
            )
        except OSError as error:
            raise ConfigError(
                f"Port {port} of {host} cannot be listened on ({error.strerror}); free it or set "
                "MAILWAKE_RELAY_PORT"
            ) from None
        found: tuple[str, int] = self._listening.sockets[0].getsockname()[:2]
        return found

    @property
    def full(self) -> bool:
        """Whether there are more sessions than we serve."""
        strangers = sum(session.stranger for session in self.sessions)
        return len(self.sessions) > MAX_SESSIONS or strangers > MAX_STRANGERS

    def relay(self, envelope: Envelope, data: bytes) -> asyncio.Task[Answer]:
        """A mail under way, which ends whether or not anybody waits for it."""
        task = asyncio.create_task(self.relaying.relay(envelope, data))
        self._mails.add(task)
        task.add_done_callback(self._mails.discard)
        return task

    def takes_plain_auth(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a client may give its password without TLS."""
        peer = (transport.get_extra_info("peername") or [""])[0]
        if self.settings.relay_plain_auth == "loopback":
            with contextlib.suppress(ValueError):
                address = ipaddress.ip_address(str(peer).partition("%")[0])
                mapped = getattr(address, "ipv4_mapped", None)
                return bool((mapped or address).is_loopback)
            return False
        return self.settings.relay_plain_auth == "always"

    async def stop(self) -> None:
        """Takes no more; says 421 to who is idle, lets mails under way end, then hangs up."""
        self.stopping = True
        if self._listening is not None:
            self._listening.close()
        clock = asyncio.get_running_loop().time
        end = clock() + STOP_S
        for session in [session for session in self.sessions if session.idle]:
            session.hang_up("is going down")
        while (self.sessions or self._mails) and clock() < end:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.05)
        for session in list(self.sessions):
            session.hang_up("is going down")
        mails = list(self._mails)
        for task in mails:
            task.cancel()
        await asyncio.gather(*mails, return_exceptions=True)
        if mails:
            log.error("%s mails were cut off; their clients send them again", len(mails))
