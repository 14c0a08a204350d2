"""How the demo's mail goes out on the system of `mailwake up`: as any mail program would send it.

The recipient agrees (the HTTP API records it), the mail is handed to the SMTP relay, and what comes
out at the other end is taken from the sink's folder.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import re
import smtplib
import time
import urllib.error
import urllib.parse
import urllib.request
from email.utils import getaddresses, make_msgid
from pathlib import Path

from mailwake.errors import MailwakeError, UnavailableError
from mailwake.settings import Settings, to_environ
from mailwake_local.command import command
from mailwake_local.home import TENANT, USER, Home

ARRIVAL_S = 30.0
_WORDING = "May we see when you open our letters, and which links you follow?"


class Outbox:
    """The demo user's way out. Raises MailwakeError where something does not answer as it must."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home

    def consent(self, *addresses: str) -> None:
        """Records that recipients agree to open and link tracking."""
        statements = [
            {
                "address": address,
                "purposes": ["opens", "clicks"],
                "state": "granted",
                "method": "signup_form",
                "wording": _WORDING,
                "source": "mailwake demo",
            }
            for address in addresses
        ]
        url = f"{self._settings.withdrawal_url}/v1/consents"
        headers = {
            "Authorization": f"Bearer {self._token()}",
            "Content-Type": "application/json",
        }
        _post(url, json.dumps(statements).encode(), headers)

    def withdraw(self, page: str) -> None:
        """Does what the button of the recipient's withdrawal page does."""
        form = urllib.parse.urlencode({"choice": "all-off"}).encode()
        _post(page, form, {"Content-Type": "application/x-www-form-urlencoded"})

    async def send(self, mail: bytes) -> bytes:
        """Hands a mail to the relay; gives it as it came out behind it."""
        message_id = make_msgid(domain="demo.example")
        mail = re.sub(
            rb"(?im)^message-id:[^\r\n]*", b"Message-ID: " + message_id.encode(), mail, count=1
        )
        return await self.send_as(message_id, mail)

    async def send_as(self, message_id: str, mail: bytes) -> bytes:
        """The same for a mail that has a Message-ID of its own."""
        before = set(self._home.mail.glob("*.eml"))
        await asyncio.to_thread(self._hand_over, mail, recipients_of(mail))
        return await self._arrival(message_id, before)

    def _hand_over(self, mail: bytes, recipients: list[str]) -> None:
        settings = self._settings
        try:
            with smtplib.SMTP(settings.relay_host, settings.relay_port, timeout=60) as relay:
                relay.login(USER, self._home.user_password())
                relay.sendmail("dana@demo.example", recipients, mail)
        except (smtplib.SMTPException, OSError) as error:
            raise UnavailableError(
                f"the relay at {settings.relay_host}:{settings.relay_port} did not take the mail "
                f"({error}); does `mailwake up` run?"
            ) from None

    async def _arrival(self, message_id: str, before: set[Path]) -> bytes:
        deadline = time.monotonic() + ARRIVAL_S
        while time.monotonic() < deadline:
            for file in set(self._home.mail.glob("*.eml")) - before:
                mail = file.read_bytes()
                if message_id.encode() in mail:
                    return mail
            await asyncio.sleep(0.05)
        raise MailwakeError(f"the mail did not arrive in {self._home.mail} in {ARRIVAL_S:.0f} s")

    def _token(self) -> str:
        who = ("--tenant", TENANT, "--user", "demo", "--role", "platform")
        return command("token", *who, environ=to_environ(self._settings)).strip()


def recipients_of(mail: bytes) -> list[str]:
    """The addresses of a mail's To."""
    parsed = email.message_from_bytes(mail, policy=email.policy.default)
    return [address for _, address in getaddresses([str(parsed["To"])])]


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310
    try:
        opener.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        raise MailwakeError(f"the API refused it ({error.code}): {error.read()[:300]!r}") from None
    except OSError as error:
        raise UnavailableError(f"the API does not answer ({error})") from None
