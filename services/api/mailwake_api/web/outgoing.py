"""Hands a mail to the host that `MAILWAKE_RELAY_NEXT` names, where the relay's mail goes too."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from mailwake.errors import MailwakeError
from mailwake.settings import Settings

_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


class RefusedError(MailwakeError):
    """The host did not take the mail; the text says why, and holds no address.

    Attributes:
        lasting: it said that it never will (a reply 5xx).
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


def hand_over(settings: Settings, sender: str, recipients: Sequence[str], mail: bytes) -> int:
    """Hands it over and gives how many of the recipients the host took. Blocks.

    Raises RefusedError when the host took it for nobody, or cannot be reached.
    """
    url = urlsplit(settings.relay_next)
    port = url.port or _PORTS[url.scheme]
    beyond_ascii = not all(each.isascii() for each in (sender, *recipients))
    try:
        with _connected(url.scheme, url.hostname or "", port, settings) as host:
            if url.username:
                host.login(unquote(url.username), unquote(url.password or ""))
            options = ["SMTPUTF8"] if beyond_ascii else []
            refused = host.sendmail(sender, list(recipients), mail, mail_options=options)
    except smtplib.SMTPRecipientsRefused as error:
        lasting = all(code >= 500 for code, _ in error.recipients.values())
        raise RefusedError(
            "The mail server takes mail for none of these recipients", lasting=lasting
        ) from None
    except smtplib.SMTPSenderRefused:
        raise RefusedError("The mail server takes no mail from this sender") from None
    except smtplib.SMTPDataError as error:
        raise RefusedError(
            f"The mail server refused the mail ({error.smtp_code})", lasting=error.smtp_code >= 500
        ) from None
    except smtplib.SMTPResponseException as error:
        raise RefusedError(f"The mail server refused the mail ({error.smtp_code})") from None
    except smtplib.SMTPNotSupportedError:
        raise RefusedError(
            "The mail server lacks what this mail needs: TLS, a login, or addresses beyond ASCII"
        ) from None
    except (smtplib.SMTPException, OSError):
        raise RefusedError("The mail server does not answer; try again in a moment") from None
    return len(recipients) - len(refused)


def _connected(
    scheme: str, host: str, port: int, settings: Settings
) -> contextlib.AbstractContextManager[smtplib.SMTP]:
    """A connection, with TLS as the relay makes it: smtp takes STARTTLS where it is offered,
    smtp+tls insists on it, smtps is TLS from the start."""
    timeout = settings.relay_next_timeout_s
    if scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
    found = smtplib.SMTP(host, port, timeout=timeout)
    try:
        found.ehlo_or_helo_if_needed()
        if scheme == "smtp+tls":
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
