"""From what happened to the mail that tells it: text and HTML, no pictures, no script. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses, parseaddr
from typing import NamedTuple

from mailwake.contracts import DailyDigest
from mailwake.quiet import zone_of
from mailwake_api.digest.due import Period
from mailwake_api.digest.telling import Report, Told
from mailwake_api.web import frame
from mailwake_api.web.mailbox import people, title

_POLICY = SMTP.clone(max_line_length=998)
"""A long address in List-Unsubscribe must be neither broken nor encoded (RFC 2369, 2)."""


class Whose(NamedTuple):
    """Whose digest it is, and where its links lead.

    Attributes:
        url: the address of the mailbox.
        off: the address that switches the digest off.
    """

    tenant: str
    user: str
    url: str
    off: str


def message_id(tenant: str, user: str, day: str, domain: str) -> str:
    """The Message-ID of the digest of a day: the same however often it is sent."""
    return f"<digest.{day}.{_identity(tenant, user, day)}@{domain}>"


def _identity(tenant: str, user: str, day: str) -> str:
    return hashlib.blake2b(f"{tenant}/{user}/{day}".encode(), digest_size=16).hexdigest()


def letter(sender: str, wish: DailyDigest, whose: Whose, period: Period, report: Report) -> bytes:
    """The mail, as it goes to SMTP; the same for the same values.

    It is not tracked, says that a program wrote it, and can be switched off with one click where
    the mail program shows that (RFC 8058). Raises ValueError for an address that cannot stand in a
    mail.
    """
    name, address = parseaddr(sender)
    local, _, domain = address.rpartition("@")
    values = {
        "title": subject(report),
        "span": _span(period, wish.zone),
        "told": [(_subject(each), line(each), _link(whose, each)) for each in report.mails],
        "more": report.more,
        "whose": whose,
    }
    beyond_ascii = not (sender + wish.address).isascii()
    message = EmailMessage(policy=_POLICY.clone(utf8=beyond_ascii))
    message["From"] = Address(name, local, domain)
    user, _, host = wish.address.rpartition("@")
    if getaddresses([wish.address]) != [("", wish.address)] or not wish.address.isprintable():
        raise ValueError("the digest goes to no address, or to several")
    message["To"] = Address("", user, host)
    message["Subject"] = f"Your mail: {subject(report)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(period.until / 1000, UTC))
    message["Message-ID"] = message_id(
        whose.tenant, whose.user, period.day, domain if domain.isascii() else "localhost"
    )
    message["List-Unsubscribe"] = f"<{whose.off}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Mailwake-Track"] = "none"
    message.set_content(frame.text("digest.txt", **values), cte="quoted-printable")
    html = frame.text("digest.html", **values)
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"digest_{_identity(whose.tenant, whose.user, period.day)}")
    return message.as_bytes()


def subject(report: Report) -> str:
    """How much happened, in a few words."""
    words = []
    if report.opened:
        words.append(f"{report.opened} opened")
    if report.clicked:
        words.append(f"{report.clicked} with a link followed")
    return ", ".join(words)


def line(told: Told) -> str:
    """What happened to a mail, in a sentence; of a mail to several no more than is known."""
    mail = told.mail
    did = []
    if told.opens:
        did.append("opened it" + _times(told.opens))
    if told.clicks:
        links = "a link" if told.links == 1 else f"{told.links} links"
        did.append(f"followed {links}" + (_times(told.clicks) if told.clicks > told.links else ""))
    if not did:
        return "Someone it was likely forwarded to opened it."
    if mail.recipient_count > 1:
        several = told.opens + told.clicks > 1
        who = f"{'One or more' if several else 'Someone'} of {mail.recipient_count} recipients"
    else:
        who = people(mail) if mail.recipients else "The recipient"
    forwarded = "; so did, likely, someone it was forwarded to" if told.forwards else ""
    return f"{who} {' and '.join(did)}{forwarded}."


def _times(count: int) -> str:
    return "" if count == 1 else " twice" if count == 2 else f" {count} times"


def _subject(told: Told) -> str:
    return " ".join(title(told.mail).split())


def _link(whose: Whose, told: Told) -> str:
    return f"{whose.url}/mail/{told.mail.message_id}"


def _span(period: Period, name: str) -> str:
    """From when to when, by the user's clock."""
    zone = zone_of(name) or UTC
    since, until = (datetime.fromtimestamp(at / 1000, zone) for at in (period.since, period.until))
    return f"From {since:%A, %H:%M}, to {until:%A}, {until.day} {until:%B %Y, %H:%M} ({name})"
