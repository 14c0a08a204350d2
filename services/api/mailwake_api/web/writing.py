"""From what was written in Compose to a mail: MIME, with the words as text and as HTML. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from html import escape
from typing import NamedTuple

MOST_RECIPIENTS = 100
MOST_SUBJECT = 500
MOST_TEXT = 200_000

_LINK = re.compile(
    r"\[([^\[\]\n]{1,300})\]\((https?://[^\s()<>\"]{1,2000})\)|(https?://[^\s<>\"]{1,2000})"
)
_TRAILING = ".,;:!?)'"


class Party(NamedTuple):
    """A name, which may be empty, and an address."""

    name: str
    address: str


class WrongError(ValueError):
    """What was written cannot be sent; the text says why, `field` where."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def parties(text: str, field: str) -> list[Party]:
    """The names and addresses of a line such as `Anna Berg <anna@example.com>, ben@example.com`.

    Raises WrongError.
    """
    line = re.sub(r"[\s,]*[;,\r\n][\s,;]*", ", ", text).strip(" ,")
    found: list[Party] = []
    for name, address in getaddresses([line]) if line else []:
        if not _is_address(address):
            shown = address or name or line
            raise WrongError(field, f"“{shown[:80]}” is no e-mail address")
        if address.lower() not in {each.address.lower() for each in found}:
            found.append(Party(" ".join(name.split()), address))
    return found


def _is_address(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    if not at or not local or len(text) > 320 or not text.isprintable() or " " in text:
        return False
    try:
        Address(username=local, domain=domain)
    except (ValueError, IndexError):
        return False
    return "." in domain or domain == "localhost"


def mail(
    sender: Party,
    recipients: Sequence[Party],
    subject: str,
    text: str,
    message_id: str,
    date: str,
    wishes: Mapping[str, str],
) -> bytes:
    """The mail, as it goes to SMTP; `wishes` are fields for the relay, of which the empty are left
    out. The same words give the same body. Raises WrongError."""
    message = EmailMessage(policy=SMTP.clone(max_line_length=78))
    try:
        message["From"] = _shown(sender)
        message["To"] = [_shown(each) for each in recipients]
        message["Subject"] = " ".join(subject.split())
        for name, value in wishes.items():
            if value:
                message[name] = " ".join(value.split())
    except (ValueError, IndexError):
        raise WrongError("to", "One of the names cannot stand in a mail") from None
    message["Date"] = date
    message["Message-ID"] = message_id
    message.set_content(as_text(text), cte="quoted-printable")
    message.add_alternative(as_html(text), subtype="html", cte="quoted-printable")
    # No line of quoted-printable has an equals sign before an underscore.
    message.set_boundary("=_" + hashlib.blake2b(message_id.encode(), digest_size=12).hexdigest())
    return message.as_bytes()


def _shown(party: Party) -> Address:
    local, _, domain = party.address.rpartition("@")
    return Address(party.name, local, domain)


def as_text(text: str) -> str:
    """The words without markup: `[our offer](https://…)` becomes `our offer (https://…)`."""
    return _LINK.sub(lambda found: f"{found[1]} ({found[2]})" if found[1] else found[0], text)


def as_html(text: str) -> str:
    """The words as HTML: paragraphs, line breaks, and links that can be followed."""
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", _lines(text).strip()) if part.strip()]
    body = "\n".join(f"<p>{_paragraph(each)}</p>" for each in paragraphs)
    return (
        '<!doctype html>\n<html><head><meta charset="utf-8"></head>'
        '<body style="font-family: sans-serif; line-height: 1.5">\n'
        f"{body}\n</body></html>\n"
    )


def _paragraph(text: str) -> str:
    pieces: list[str] = []
    place = 0
    for found in _LINK.finditer(text):
        pieces.append(_escaped(text[place : found.start()]))
        place = found.end()
        if found[1]:
            words, url, rest = found[1], found[2], ""
        else:
            url = found[3].rstrip(_TRAILING)
            words, rest = url, found[3][len(url) :]
        pieces.append(f'<a href="{escape(url)}">{escape(words)}</a>{escape(rest)}')
    return "".join([*pieces, _escaped(text[place:])])


def _escaped(text: str) -> str:
    return escape(text).replace("\n", "<br>\n")


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
