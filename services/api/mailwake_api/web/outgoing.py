"""Hands a mail to an SMTP host: Compose to the relay, a digest to the host that sends it."""

from __future__ import annotations

import base64
import contextlib
import logging
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from mailwake.errors import MailwakeError

log = logging.getLogger("mailwake.api.outgoing")

_NO_LOGIN = "The mail server does not know the mailbox; your administrator can put that right"
_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


class RefusedError(MailwakeError):
    """The host did not take the mail; the text says why, and holds no address.

    Attributes:
        lasting: it said that it never will (a reply 5xx).
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


@dataclass(frozen=True)
class Host:
    """Where mail goes.

    Attributes:
        url: scheme, host and port, with name and password where it wants a login: smtp takes
            STARTTLS where it is offered, smtp+tls insists on it, smtps is TLS from the start.
        timeout_s: how long it may take for one answer.
        password_file: the file with the password, where that does not stand in the URL.
    """

    url: str
    timeout_s: float
    password_file: Path | None = None


class Taken(NamedTuple):
    """What the host said of a mail that it took.

    Attributes:
        recipients: how many of the recipients it took it for.
        text: the words of its last answer.
    """

    recipients: int
    text: str


def hand_over(
    host: Host, sender: str, recipients: Sequence[str], mail: bytes, *, whom: str = ""
) -> Taken:
    """Hands a mail over; `whom` is for whom the login acts (RFC 4616), `tenant/user`. Blocks.

    Raises RefusedError when the host took it for nobody, or cannot be reached.
    """
    utf8 = not all(each.isascii() for each in (sender, *recipients))
    try:
        with _connected(host) as smtp:
            smtp.ehlo_or_helo_if_needed()
            _log_in(smtp, host, whom)
            if utf8 and not smtp.has_extn("smtputf8"):
                raise smtplib.SMTPNotSupportedError
            return _given(smtp, sender, recipients, mail, ["SMTPUTF8"] if utf8 else [])
    except smtplib.SMTPNotSupportedError:
        raise RefusedError(
            "The mail server lacks what this mail needs: TLS, a login, or addresses beyond ASCII"
        ) from None
    except smtplib.SMTPAuthenticationError:
        raise RefusedError(_NO_LOGIN) from None
    except smtplib.SMTPResponseException as error:
        raise RefusedError(f"The mail server refused the mail ({error.smtp_code})") from None
    except (smtplib.SMTPException, OSError):
        raise RefusedError("The mail server does not answer; try again in a moment") from None


def _given(
    smtp: smtplib.SMTP, sender: str, recipients: Sequence[str], mail: bytes, options: list[str]
) -> Taken:
    """One transaction, by hand: smtplib's own does not say what the host's last answer was."""
    if utf8 := bool(options):
        smtp.command_encoding = "utf-8"
    code, _ = smtp.mail(sender, [*options, "BODY=8BITMIME"] if utf8 else options)
    if code == 421:
        raise smtplib.SMTPServerDisconnected
    if code == 530:
        raise RefusedError(_NO_LOGIN)
    if code // 100 != 2:
        if code // 100 == 4:
            raise RefusedError("The mail server cannot take the mail now; try again in a moment")
        raise RefusedError("The mail server takes no mail from this sender")
    replies = [smtp.rcpt(each)[0] for each in recipients]
    taken = sum(code // 100 == 2 for code in replies)
    if not taken:
        raise RefusedError(
            "The mail server takes mail for none of these recipients",
            lasting=all(code >= 500 for code in replies),
        )
    code, text = smtp.data(mail)
    if code // 100 == 4:
        raise RefusedError(
            f"The mail server cannot take the mail now ({code}); send it once more in a moment"
        )
    if code // 100 != 2:
        raise RefusedError(f"The mail server refused the mail ({code})", lasting=code >= 500)
    return Taken(taken, text.decode(errors="replace"))


def _log_in(smtp: smtplib.SMTP, host: Host, whom: str) -> None:
    """Logs in where there is a name. PLAIN by hand: smtplib's knows no authorization identity."""
    url = urlsplit(host.url)
    name, password = unquote(url.username or ""), unquote(url.password or "")
    if host.password_file is not None:
        try:
            password = host.password_file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            log.error("the password of the SMTP login cannot be read: %s", error)
            raise RefusedError(_NO_LOGIN) from None
    if not name:
        return
    if not whom:
        smtp.login(name, password)
        return
    given = base64.b64encode(f"{whom}\0{name}\0{password}".encode()).decode()
    code, text = smtp.docmd("AUTH", f"PLAIN {given}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)


def _connected(host: Host) -> contextlib.AbstractContextManager[smtplib.SMTP]:
    """A connection, with TLS as the URL says."""
    url = urlsplit(host.url)
    name, port = url.hostname or "", url.port or _PORTS[url.scheme]
    if url.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(name, port, timeout=host.timeout_s, context=context)
    found = smtplib.SMTP(name, port, timeout=host.timeout_s)
    try:
        found.ehlo_or_helo_if_needed()
        if url.scheme == "smtp+tls":
            found.starttls(context=ssl.create_default_context())
        elif found.has_extn("starttls"):
            # Whoever does not insist takes any certificate, as mail servers do among each other.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            found.starttls(context=context)
    except BaseException:
        found.close()
        raise
    return found
