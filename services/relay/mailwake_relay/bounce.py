"""The notice to a sender that recipients were refused after others had the mail (RFC 3464)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid

from mailwake_relay.next_host import Reply

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")


def bounce(host: str, sender: str, message: bytes, refused: Mapping[str, Reply]) -> bytes:
    """The notice as a mail, its line ends CRLF; to be sent to `sender` with an empty sender.

    `host` is what the relay calls itself, `refused` the recipients with the next host's answers.
    """
    policy = SMTP if all(text.isascii() for text in (sender, *refused)) else SMTPUTF8
    whole = MIMEMultipart("report", policy=policy, report_type="delivery-status")
    whole["From"] = f"Mail relay <MAILER-DAEMON@{host}>"
    whole["To"] = f"<{sender}>"
    whole["Subject"] = "Your mail did not reach all its recipients"
    whole["Date"] = formatdate(localtime=False)
    whole["Message-ID"] = make_msgid(domain=host)
    whole["Auto-Submitted"] = "auto-replied"
    lines = "\r\n".join(f"  {address}\r\n    {reply.line}" for address, reply in refused.items())
    told = (
        "The next mail host refused these recipients for good; all others have your mail."
        f"\r\n\r\n{lines}\r\n"
    )
    whole.attach(MIMEText(told, "plain", "utf-8", policy=policy))
    status = MIMEBase("message", "delivery-status", policy=policy)
    about = Message(policy)
    about["Reporting-MTA"] = f"dns; {host}"
    status.attach(about)
    for address, reply in refused.items():
        found = _STATUS.match(reply.text)
        block = Message(policy)
        block["Final-Recipient"] = f"{'rfc822' if address.isascii() else 'utf-8'}; {address}"
        block["Action"] = "failed"
        block["Status"] = found[0] if found else "5.0.0"
        block["Diagnostic-Code"] = f"smtp; {reply.line}"
        status.attach(block)
    whole.attach(status)
    head = message.partition(b"\r\n\r\n")[0]
    text = head.decode("utf-8", "replace") + "\r\n"
    whole.attach(MIMEText(text, "rfc822-headers", "utf-8", policy=policy))
    return whole.as_bytes()
