"""Every mail of the corpus: what is tracked of it, what is left and why, and that nothing else is.

tests/corpus/README.md says what each of them stands for.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import pytest

from mailwake.hypertext import attribute_value
from mailwake.keyring import new_keyring
from mailwake.mime import read_mail
from mailwake.tokens import Token
from mailwake.tracker import Instrumented, Tracker
from tests.mails import CORPUS, MAILS, Leaf, leaves

KEYRING = new_keyring()
URL = "https://t.example.com"
TRACKER = Tracker(KEYRING, URL)
LINK = re.compile(re.escape(URL).encode() + rb"/c/([A-Za-z0-9_-]{60,})")
PIXEL = re.compile(
    rb'<img\s[^<>]*src="' + re.escape(URL).encode() + rb'/o/([A-Za-z0-9_-]{40,})"[^<>]*>'
)
OPT_OUT = re.compile(rb"\s+data-mailwake\s*=\s*\"off\"", re.I)


@dataclass(frozen=True)
class Expected:
    """What becomes of a mail.

    Attributes:
        html, text: how many links are tracked in its HTML and in its text.
        pixel: whether it gets one.
        parts: the parts that are left, with the reason.
        left: the links that are left, counted by their reason.
    """

    html: int = 0
    text: int = 0
    pixel: bool = True
    parts: list[tuple[str, str]] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)


EXPECTED = {
    "amp": Expected(3, 1, parts=[("text/x-amp-html", "not_text")]),
    "base64": Expected(2),
    "base64-ragged": Expected(pixel=False, parts=[("text/html", "encoding")]),
    "broken-html": Expected(11, left={"unreadable": 1}),
    "calendar": Expected(
        3, 1, parts=[("text/calendar", "not_text"), ("application/ics", "not_text")]
    ),
    "empty": Expected(),
    "forward-attached": Expected(
        1,
        parts=[
            ("message/rfc822", "not_text"),
            ("text/html", "attachment"),
            ("text/plain", "attachment"),
        ],
    ),
    "gb18030": Expected(2),
    "iso-2022-jp": Expected(1),
    "iso-8859-15": Expected(2, left={"unreadable": 1}),
    "koi8-r": Expected(2, left={"unreadable": 1}),
    "nested": Expected(
        2,
        1,
        parts=[
            ("image/gif", "not_text"),
            ("image/gif", "not_text"),
            ("text/html", "attachment"),
            ("application/pdf", "not_text"),
        ],
        left={"scheme": 1},
    ),
    "newsletter": Expected(
        9,
        1,
        parts=[
            ("image/gif", "not_text"),
            ("text/html", "attachment"),
            ("message/rfc822", "not_text"),
            ("text/calendar", "not_text"),
        ],
        left={"scheme": 2, "placeholder": 2, "opted_out": 2, "unsubscribe": 1},
    ),
    "newsletter-150k": Expected(285, left={"unsubscribe": 1}),
    "newsletter-outlook": Expected(10, 2, left={"scheme": 3, "unsubscribe": 2}),
    "odd-headers": Expected(1),
    "opt-out": Expected(3, left={"opted_out": 6}),
    "pgp-encrypted": Expected(pixel=False, parts=[("multipart/encrypted", "encrypted")]),
    "pgp-inline": Expected(pixel=False, parts=[("text/plain", "signed")]),
    "pgp-signed": Expected(0, 1, pixel=False, parts=[("multipart/signed", "signed")]),
    "reply": Expected(1, 1, left={"ours": 1, "quoted": 1}),
    "reply-apple-mail": Expected(2, 1, left={"quoted": 1}),
    "reply-gmail": Expected(2, 1, left={"scheme": 1, "quoted": 1}),
    "reply-outlook-desktop": Expected(2, 3, left={"unreadable": 1}),
    "reply-outlook-web": Expected(3, 2),
    "reply-thunderbird": Expected(2, 1, left={"quoted": 1}),
    "reply-yahoo": Expected(2, 2),
    "report": Expected(pixel=False, parts=[("multipart/report", "not_text")]),
    "shift-jis": Expected(2, left={"unreadable": 1}),
    "signed": Expected(pixel=False, parts=[("multipart/signed", "signed")]),
    "smime-opaque": Expected(pixel=False, parts=[("application/pkcs7-mime", "encrypted")]),
    "smime-signed": Expected(pixel=False, parts=[("multipart/signed", "signed")]),
    "template": Expected(2, left={"placeholder": 11}),
    "template-text": Expected(0, 1, pixel=False, left={"placeholder": 2}),
    "text": Expected(0, 2, pixel=False),
    "text-bare": Expected(0, 1, pixel=False),
    "text-flowed": Expected(0, 15, pixel=False, left={"quoted": 2}),
    "text-quoted-printable": Expected(0, 4, pixel=False, left={"unsubscribe": 1, "unreadable": 1}),
    "unsubscribe": Expected(3, 1, left={"unsubscribe": 6, "scheme": 1}),
    "utf-16": Expected(pixel=False, parts=[("text/html", "charset")]),
    "utf-8-bom": Expected(2),
    "windows-1252": Expected(2, left={"unreadable": 1}),
}


def instrument(name: str) -> Instrumented:
    return TRACKER.instrument(MAILS[name], tenant="acme", user="ben")


def test_every_mail_is_expected_and_told() -> None:
    told = re.findall(r"^- `([a-z0-9-]+)`: .+", (CORPUS / "README.md").read_text(), re.M)
    assert sorted(MAILS) == sorted(EXPECTED) == sorted(told)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mail_is_tracked_where_it_may_be(name: str) -> None:
    done, expected = instrument(name), EXPECTED[name]
    shown = [leaf for leaf in leaves(done.message) if leaf.shown]
    counts = [
        sum(len(LINK.findall(leaf.body)) for leaf in shown if leaf.html is html)
        for html in (True, False)
    ]
    pixels = sum(len(PIXEL.findall(leaf.body)) for leaf in shown)
    assert counts == [expected.html, expected.text]
    assert pixels == expected.pixel
    assert [(part.content_type, part.reason) for part in done.report.parts] == expected.parts
    assert Counter(link.reason for link in done.report.left) == expected.left


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_of_a_mail_only_links_and_pixel_differ(name: str) -> None:
    """Cuts the tracked addresses and the pixel out, and finds the original around the holes."""
    done = instrument(name)
    before, after = leaves(done.original), leaves(done.message)
    assert [leaf.header for leaf in before] == [leaf.header for leaf in after]
    assert around(done.original, before) == around(done.message, after)
    targets: list[str] = []
    pixels = 0
    for original, changed in zip(before, after, strict=True):
        body = changed.body
        for pixel in PIXEL.finditer(body):
            pixels += 1
            body = body[: pixel.start()] + body[pixel.end() :]
            token = KEYRING.open(pixel[1].decode())
            assert (token.kind, token.message_id) == ("open", done.send.message_id)
        compare(original, body, done.send.message_id, targets)
    assert targets == done.send.links
    assert len(targets) == done.report.links == len(done.display.links)
    assert pixels == done.report.pixel == done.send.opens


def around(message: bytes, parts: list[Leaf]) -> list[bytes]:
    """What stands in a mail before, between and behind the parts that a reader sees."""
    pieces: list[bytes] = []
    at = 0
    for part in parts:
        if part.shown:
            found = message.index(part.encoded, at) if part.encoded else len(message)
            pieces.append(message[at:found])
            at = found + len(part.encoded)
    return [*pieces, message[at:]]


def compare(original: Leaf, body: bytes, message_id: str, targets: list[str]) -> None:
    """Follows both versions of a part; adds the targets of its links."""
    before = OPT_OUT.sub(b"", original.body) if original.html else original.body
    pieces = LINK.split(body)
    assert before.startswith(pieces[0])
    at = len(pieces[0])
    for text, behind in zip(pieces[1::2], pieces[2::2], strict=True):
        token: Token = KEYRING.open(text.decode())
        assert (token.kind, token.message_id) == ("click", message_id)
        assert token.link == len(targets)
        assert token.target is not None
        targets.append(token.target)
        end = before.index(behind, at) if behind else len(before)
        value = before[at:end].decode(original.charset or "utf-8")
        if original.html:
            value = re.sub(r"[\t\r\n]", "", attribute_value(value)).strip()
        assert value == token.target
        at = end + len(behind)
    assert at == len(before)


QUOTES = {
    "reply": b'class="gmail_quote"',
    "reply-apple-mail": b'<blockquote type="cite">',
    "reply-gmail": b'class="gmail_quote gmail_quote_container"',
    "reply-outlook-desktop": b"<b>Von:</b>",
    "reply-outlook-web": b'<hr style="display:inline-block;width:98%"',
    "reply-thunderbird": b'<blockquote type="cite"',
    "reply-yahoo": b'class="yahoo_quoted"',
}
"""Where the quote of each reply begins."""


@pytest.mark.parametrize("name", sorted(QUOTES))
def test_the_pixel_stands_outside_of_what_is_quoted(name: str) -> None:
    (body,) = (leaf.body for leaf in leaves(instrument(name).message) if leaf.html)
    (pixel,) = PIXEL.finditer(body)
    assert pixel.start() < body.index(QUOTES[name])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mail_stays_mail(name: str) -> None:
    done = instrument(name)
    longest = max(map(len, done.original.splitlines()))
    assert all(len(line) <= max(998, longest) for line in done.message.splitlines())
    assert done.report.size_before == len(done.original) == len(MAILS[name])
    assert done.report.size_after == len(done.message)
    if not (done.report.links or done.report.pixel):
        assert done.message == done.original
    assert line_ends(done.message) <= line_ends(done.original)


def line_ends(message: bytes) -> set[str]:
    """The kinds of line ends in a mail."""
    return set(re.findall(r"\r\n|\n|\r", message.decode("latin-1")))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mail_is_given_back_to_the_byte(name: str) -> None:
    done = instrument(name)
    assert TRACKER.restore(done.message) == done.original
    assert TRACKER.restore(done.original) == done.original


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_html_is_found_where_the_standard_library_finds_it(name: str) -> None:
    message = MAILS[name]
    ours = [
        message[part.start : part.end]
        for part in read_mail(message).parts
        if part.content_type == "text/html" and part.reason is None
    ]
    assert ours == [leaf.encoded for leaf in leaves(message) if leaf.html]
