"""Restoring gives the original back to the byte, whatever the mail is."""

from __future__ import annotations

import base64
import quopri
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake.keyring import new_keyring
from mailwake.tracker import Instrumented, Tracker

KEYRING = new_keyring()
URL = "https://t.example.com"
TRACKER = Tracker(KEYRING, URL)
CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.eml"))
FOOTER = "Stop telling Ben when I read his mail"


def instrument(message: bytes, **more: Any) -> Instrumented:
    given = {"tenant": "acme", "user": "ben", "recipients": ["anna@example.org"]}
    return TRACKER.instrument(message, **given | more)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_mail_of_the_corpus_comes_back(path: Path) -> None:
    message = path.read_bytes()
    for more in (
        {},
        {"opens": False},
        {"clicks": False},
        {"footer": FOOTER},
        {"mode": "anonymous"},
    ):
        done = instrument(message, **more)
        assert TRACKER.restore(done.message) == message
    again = instrument(done.message)
    assert TRACKER.restore(again.message) == message


def quoted_printable(draw: st.DrawFn, content: bytes) -> bytes:
    """One of the many ways that content can be written: escapes, case and soft breaks vary."""
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return quopri.encodestring(content).replace(b"\n", newline)
    lower = draw(st.booleans())
    eager = draw(st.sampled_from([b"", b"/", b"&;", b"e"]))
    width = draw(st.sampled_from([4, 20, 76]))
    lines: list[bytes] = []
    for text in content.split(b"\n"):
        line = b""
        for byte in text:
            piece = bytes([byte])
            if not 32 <= byte < 127 or piece in b"=" + eager:
                piece = (b"=%02x" if lower else b"=%02X") % byte
            if len(line.rpartition(b"=" + newline)[2]) + len(piece) >= width:
                line += b"=" + newline
            line += piece
        lines.append(line)
    encoded = newline.join(lines)
    if kind == 2:
        at = draw(st.lists(st.integers(0, len(encoded)), max_size=8).map(sorted))
        odd = draw(st.sampled_from([b"=\n", b"=\r\n", b"= \n", b"=\n=\n"]))
        for place in reversed(at):
            if b"=" not in encoded[max(0, place - 2) : place]:
                encoded = encoded[:place] + odd + encoded[place:]
    return encoded


def encoded(draw: st.DrawFn, content: bytes, encoding: str) -> bytes:
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    if encoding == "quoted-printable":
        return quoted_printable(draw, content)
    if encoding == "base64":
        width = draw(st.sampled_from([4, 60, 72, 76, 10_000]))
        text = base64.b64encode(content)
        lines = [text[at : at + width] for at in range(0, len(text), width)]
        return newline.join(lines) + draw(st.sampled_from([b"", newline]))
    return content.replace(b"\n", newline)


URLS = st.text("ab/?=&;#%20.'\"<>é()[]@:!~-_", max_size=90).map("https://example.org/".__add__)
HTML = st.one_of(
    st.builds('<a href="{}">x</a>'.format, URLS.map(lambda url: url.replace('"', "&quot;"))),
    st.builds("<A x HREF = '{}' >".format, URLS.map(lambda url: url.replace("'", "&#39;"))),
    st.builds(
        '<a href="{}">x</a>'.format,
        URLS.map(lambda url: url.replace("&", "&amp;").replace('"', "")),
    ),
    st.builds('<a data-mailwake="off" href="http://no/">{}</a>'.format, st.integers(0, 9)),
    st.builds('<!--[if mso]><v:rect href="http://vml/{}"><![endif]-->'.format, st.integers(0, 9)),
    st.builds(
        ' <a data-mailwake=off\ndata-mailwake="off" href="http://no/">{}'.format, st.just("")
    ),
    st.sampled_from(
        ["<b>", "\n", "</body>", "<body>", "text ", "=", " = ", "<blockquote>", "ü" * 20, " "]
    ),
    st.sampled_from(
        ['<div class="gmail_quote">', "<!--", "<style>a=b</style>", "x" * 70, "=3D", "\t"]
    ),
    st.builds("{:.>{}}".format, st.just("x"), st.integers(1, 80)),
)
TEXT = st.one_of(
    URLS,
    st.sampled_from(
        ["\n", " ", "> ", "see <", ">", "(", ")", ".", "=", "\n> ", "ü", "word " * 10, " \n"]
    ),
)


@st.composite
def contents(draw: st.DrawFn, pieces: st.SearchStrategy[str], charset: str) -> bytes:
    text = "".join(draw(st.lists(pieces, max_size=14)))
    return text.encode(charset, "xmlcharrefreplace")


@st.composite
def mails(draw: st.DrawFn) -> bytes:
    def part(kind: str) -> bytes:
        charset = draw(st.sampled_from(["utf-8", "windows-1252", "gb18030", "iso-2022-jp"]))
        encoding = draw(st.sampled_from(["7bit", "8bit", "quoted-printable", "base64"]))
        content = draw(contents(HTML if kind == "html" else TEXT, charset))
        head = (
            f"Content-Type: text/{kind}; charset={charset}\n"
            f"Content-Transfer-Encoding: {encoding}\n\n"
        )
        return head.encode() + encoded(draw, content, encoding)

    top = b"From: b@x.org\nTo: a@x.org\nSubject: x\n"
    if draw(st.booleans()):
        message = top + part(draw(st.sampled_from(["html", "plain"])))
    else:
        message = (
            top
            + b"Content-Type: multipart/alternative; boundary=b_1\n\n--b_1\n"
            + part("plain")
            + b"\n--b_1\n"
            + part("html")
            + b"\n--b_1--\n"
        )
    return message.replace(b"\n", b"\r\n") if draw(st.integers(0, 3)) == 0 else message


OPTIONS = st.fixed_dictionaries(
    {"opens": st.booleans(), "clicks": st.booleans(), "footer": st.sampled_from([None, FOOTER])}
)


@given(mails(), OPTIONS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_every_mail_comes_back(message: bytes, options: dict[str, Any]) -> None:
    done = instrument(message, **options)
    assert TRACKER.restore(done.message) == message
    assert TRACKER.restore(message) == message
    again = instrument(done.message, **options)
    assert again.report.links == done.report.links
    assert TRACKER.restore(again.message) == message
