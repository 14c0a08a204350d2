"""A tracker, mails for it, and the law that of a mail only links and pixel differ."""

from __future__ import annotations

import base64
import email
import quopri
import re
from email.message import Message
from typing import Any

from mailwake.hypertext import attribute_value
from mailwake.keyring import new_keyring
from mailwake.tracker import Instrumented, Tracker

KEYRING = new_keyring()
URL = "https://t.example.com"
TRACKER = Tracker(KEYRING, URL)
LINK = re.compile(re.escape(URL).encode() + rb"/c/([A-Za-z0-9_-]{60,})")
PIXEL = re.compile(
    rb'<img\s+src="' + re.escape(URL).encode() + rb'/o/([A-Za-z0-9_-]+)" width="1" height="1" '
    rb'alt="" style="border:0;position:absolute;margin-top:-1px"\s*>'
)


def instrument(message: bytes, **more: Any) -> Instrumented:
    """What the tracker makes of a mail of Ben's."""
    return TRACKER.instrument(message, **{"tenant": "acme", "user": "ben"} | more)


def mail(
    body: str | bytes,
    *head: str,
    encoding: str = "8bit",
    charset: str = "utf-8",
    to: str = "Anna <anna@example.org>",
) -> bytes:
    """A mail of HTML alone, with further header fields."""
    encoded = body if isinstance(body, bytes) else body.encode(charset)
    if encoding == "quoted-printable":
        encoded = quopri.encodestring(encoded)
    elif encoding == "base64":
        encoded = base64.encodebytes(encoded)
    fields = [
        "From: Ben <ben@example.org>",
        f"To: {to}",
        f"Content-Type: text/html; charset={charset}",
        f"Content-Transfer-Encoding: {encoding}",
        *head,
    ]
    return "\n".join([*fields, "", ""]).encode() + encoded


def texts(message: bytes, *types: str) -> list[bytes]:
    """The decoded texts of those types, as the standard library reads them."""

    def leaves(part: Message) -> list[bytes]:
        if part.get_content_type() in ("multipart/signed", "message/rfc822"):
            return []
        if part.is_multipart():
            return [leaf for child in part.get_payload() for leaf in leaves(child)]  # type: ignore
        if part.get_content_type() not in types or part.get_filename():
            return []
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        return [payload]

    return leaves(email.message_from_bytes(message))


def holes(before: bytes, after: bytes) -> tuple[list[bytes], re.Match[bytes] | None]:
    """What stands between the tracked addresses, and it in the original."""
    pieces = LINK.split(after)
    return pieces, re.fullmatch(rb"(.+?)".join(map(re.escape, pieces[::2])), before, re.S)


def assert_only_links_and_pixel_differ(done: Instrumented, codec: str = "utf-8") -> None:
    """Cuts the tracked addresses and the pixel out, and finds the original around the holes."""
    both = "text/plain", "text/html"
    originals, changed = texts(done.original, *both), texts(done.message, *both)
    assert len(originals) == len(changed)
    targets: list[str] = []
    pixels = 0
    for before, after in zip(originals, changed, strict=True):
        before = before.replace(b' data-mailwake="off"', b"")
        pixel = PIXEL.search(after)
        if pixel:
            pixels += 1
            after = after[: pixel.start()] + after[pixel.end() :]
            token = KEYRING.open(pixel[1].decode())
            assert (token.kind, token.tenant, token.mode) == ("open", "acme", done.send.mode)
            assert token.message_id == done.send.message_id
        pieces, found = holes(before, after)
        if found is None and pixel:  # of a full line the pixel starts a new one
            cut = re.sub(rb"\r?\n\Z", b"", after[: pixel.start()])
            pieces, found = holes(before, cut + after[pixel.start() :])
        assert found is not None
        for text, written in zip(pieces[1::2], found.groups(), strict=True):
            token = KEYRING.open(text.decode())
            assert token.link == len(targets)
            assert token.message_id == done.send.message_id
            assert token.target is not None
            targets.append(token.target)
            value = attribute_value(written.decode(codec))
            assert re.sub(r"[\t\r\n]", "", value).strip() == token.target
    assert targets == done.send.links
    assert len(targets) == done.report.links == len(done.display.links)
    assert pixels == done.report.pixel == done.send.opens
