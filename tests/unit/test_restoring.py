"""Restoring gives the original back to the byte, whatever the mail is."""

from __future__ import annotations

import base64
import quopri
import re
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
ESCAPED = URLS.map(lambda url: url.replace("&", "&amp;").replace('"', ""))
OFF = '<a data-mailwake="off" href="http://no/">no</a>'
HTML = st.one_of(
    st.builds('<a href="{}">x</a>'.format, URLS.map(lambda url: url.replace('"', "&quot;"))),
    st.builds("<A x HREF = '{}' >".format, URLS.map(lambda url: url.replace("'", "&#39;"))),
    st.builds('<a href="{}">x</a>'.format, ESCAPED),
    st.builds('<!--[if mso]><v:rect href="{}"><![endif]-->'.format, ESCAPED),
    st.sampled_from(
        [OFF, OFF.replace('"off"', 'off\ndata-mailwake="off"'), OFF.replace("<a", "<a x")]
    ),
    st.sampled_from(["<b>", "\n", "</body>", "<body>", "text ", "=", " = ", "ü" * 20, " ", "\t"]),
    st.sampled_from(["<blockquote>", '<div class="gmail_quote">', "<!--", "x" * 70, "=3D"]),
    st.integers(1, 80).map("y".__mul__),
)
SPACES = [" ", "\n", "\n> ", " \n"]
TEXT = st.one_of(
    URLS, st.sampled_from([*SPACES, "see <", ">", "(", ")", ".", "=", "ü", "word " * 10])
)


@st.composite
def contents(draw: st.DrawFn, pieces: st.SearchStrategy[str], charset: str) -> bytes:
    text = "".join(draw(st.lists(pieces, max_size=14)))
    return text.encode(charset, "xmlcharrefreplace")


@st.composite
def mails(
    draw: st.DrawFn, html: st.SearchStrategy[str] = HTML, text: st.SearchStrategy[str] = TEXT
) -> bytes:
    def part(kind: str) -> bytes:
        charset = draw(st.sampled_from(["utf-8", "windows-1252", "gb18030", "iso-2022-jp"]))
        encoding = draw(st.sampled_from(["7bit", "8bit", "quoted-printable", "base64"]))
        content = draw(contents(html if kind == "html" else text, charset))
        head = (
            f"Content-Type: text/{kind}; charset={charset}\n"
            f"Content-Transfer-Encoding: {encoding}\n\n"
        )
        return head.encode() + encoded(draw, content, encoding)

    top = b"From: b@x.org\nTo: a@x.org\nSubject: x\n"
    if draw(st.booleans()):
        message = top + part(draw(st.sampled_from(["html", "plain"])))
    else:
        both = b"\n--b_1\n".join([part("plain"), part("html")])
        kind = b"Content-Type: multipart/alternative; boundary=b_1\n\n--b_1\n"
        message = top + kind + both + b"\n--b_1--\n"
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


OLD = TRACKER.instrument_html(
    '<p><a href="https://old.example/?a=1&amp;b=2">x</a> <a data-mailwake=off href=http://no/>y</a>',
    tenant="acme",
    user="ben",
    recipients=["carl@example.org"],
    footer=FOOTER,
).text
ADDRESSES = re.findall(URL + "/[a-z]/[A-Za-z0-9_-]+", OLD)
PIXEL = re.findall("<img[^>]+>", OLD)[0]
RESTS = [
    OLD,
    PIXEL,
    PIXEL.replace('width="1"', "width=1").replace("<img", "<IMG class=x"),
    *(f'<a href="{address}">x</a>' for address in ADDRESSES),
    *ADDRESSES,
    *(address[:40] for address in ADDRESSES),
    *(address[40:] for address in ADDRESSES),
    f"{URL}/c/",
    "x-_",
]


@given(
    mails(st.one_of(HTML, st.sampled_from(RESTS)), st.one_of(TEXT, st.sampled_from(RESTS))), OPTIONS
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_old_tracking_is_undone_and_stays_so(message: bytes, options: dict[str, Any]) -> None:
    restored = TRACKER.restore(message)
    assert TRACKER.restore(restored) == restored
    done = instrument(message, **options)
    assert TRACKER.restore(done.message) == restored


@given(st.text(max_size=40), st.lists(st.one_of(HTML, TEXT, st.sampled_from(RESTS))))
def test_a_text_comes_back(noise: str, pieces: list[str]) -> None:
    given: dict[str, Any] = {"tenant": "acme", "user": "ben", "recipients": ["a@x.org"]}
    given["footer"] = FOOTER
    content = noise + "".join(pieces)
    html = TRACKER.instrument_html(content, **given)
    assert TRACKER.restore_html(html.text) == TRACKER.restore_html(content)
    text = TRACKER.instrument_text(content, **given)
    assert TRACKER.restore_text(text.text) == TRACKER.restore_text(content)


def reply(body: str | bytes, kind: str = "html", encoding: str = "8bit") -> bytes:
    content = body if isinstance(body, bytes) else body.encode()
    if encoding == "quoted-printable":
        content = quopri.encodestring(content)
    head = f"To: a@x.org\nContent-Type: text/{kind}\nContent-Transfer-Encoding: {encoding}\n\n"
    return head.encode() + content


def undone(body: str, kind: str = "html", encoding: str = "8bit") -> str:
    message = TRACKER.restore(reply(body, kind, encoding))
    content = message.partition(b"\n\n")[2]
    return (quopri.decodestring(content) if encoding == "quoted-printable" else content).decode()


def first_address(html: str, encoding: str = "8bit") -> str:
    done = instrument(reply(html, encoding=encoding), opens=False)
    found = re.search(URL + "/c/[A-Za-z0-9_-]+", done.message.replace(b"=\n", b"").decode())
    assert found is not None
    return found[0]


@pytest.mark.parametrize("then", ["8bit", "quoted-printable"])
@pytest.mark.parametrize("now", ["8bit", "quoted-printable"])
def test_a_quoted_link_is_undone_in_any_encoding(then: str, now: str) -> None:
    written = "https://example.org/?a=1&amp;b=2#" + "x" * 90
    address = first_address(f"<a href='{written}'>x</a>", then)
    assert undone(f'q <a class="m" href="{address}">x</a>', "html", now) == (
        f'q <a class="m" href="{written}">x</a>'
    )
    target = written.replace("&amp;", "&")
    assert undone(f"> x <{address}>\n", "plain", now) == f"> x <{target}>\n"


def test_a_link_of_plain_text_is_escaped_in_html() -> None:
    done = TRACKER.instrument_text(
        "http://x/?a&b", tenant="acme", user="ben", recipients=["a@x.org"]
    )
    assert undone(f'<a href="{done.text}">') == '<a href="http://x/?a&amp;b">'


@pytest.mark.parametrize(
    "pixel",
    [
        PIXEL,
        PIXEL.replace("<img", "<IMG class=m"),
        PIXEL.replace('"', "'"),
        PIXEL.replace(URL, "https://proxy.example/x#" + URL),
    ],
)
def test_of_a_quoted_pixel_nothing_stays(pixel: str) -> None:
    assert undone(f"<blockquote>x{pixel}</blockquote>") == "<blockquote>x</blockquote>"


def test_tokens_of_other_keys_are_left() -> None:
    theirs = Tracker(new_keyring(), URL).instrument(
        reply("<a href=http://x/>x</a>"), tenant="acme", user="ben"
    )
    assert TRACKER.restore(theirs.message) == theirs.message
    done = instrument(theirs.message)
    assert [link.reason for link in done.report.left] == ["ours"]
    assert TRACKER.restore(done.message) == theirs.message


def test_a_withdrawal_link_of_the_senders_own_stays() -> None:
    body = f'<a href="{TRACKER.withdrawal_link("acme", "anna@example.org")}">no more</a>'
    message = reply(body)
    done = instrument(message)
    assert [link.reason for link in done.report.left] == ["ours"]
    assert TRACKER.restore(done.message) == message


def test_the_page_of_withdrawals_may_stand_elsewhere() -> None:
    tracker = Tracker(KEYRING, URL, withdrawal_url="https://w.example.com/mail/")
    message = reply("<p>x</p>")
    done = tracker.instrument(message, tenant="acme", user="ben", footer=FOOTER)
    assert b"https://w.example.com/mail/w/" in done.message
    assert tracker.restore(done.message) == message


@pytest.mark.parametrize(
    "body",
    [
        b"a==<a href=3D'http://x/'>",  # an `=` that is no escape, before something put in
        b"<a href==\n'http://x/'>=",
        b"<a href=3D=\n=\n'http=\n://x/'=\n=\n>x</a>=\n",
        b"<a href=3d'http://x/?a=3db' =\t\n>",
        b"x" * 76,
        b"=" * 200,
        b"<a href=3D'http://x/=E4'>",
        b"<p>" + b"x" * 73 + b"\n</body>",
        b"<a href=http://x/?a=b>raw</a>",
    ],
)
def test_odd_quoted_printable_comes_back(body: bytes) -> None:
    for newline in (b"\n", b"\r\n"):
        message = reply(body, encoding="8bit").replace(b"8bit", b"quoted-printable")
        message = message.replace(b"\n", newline)
        for more in ({}, {"footer": FOOTER}, {"opens": False}):
            assert TRACKER.restore(instrument(message, **more).message) == message


@pytest.mark.parametrize(
    ("body", "tracked"),
    [
        (b"", True),
        (b"\n", True),
        (b"PGE+", True),
        (b"\n \nPGE+\n\n", True),
        (b"PGE+PGE+" * 13, True),  # one line of 104
        (b"PGE+PGE+" * 124, False),  # one line of 992 would become one of over 998
        (b"PGE+PGE+" * 125, True),  # it is over 998 already
        (b"PGE+\nPGE+PGE+\n", False),
        (b"PGE+\r\nPGE+\nPGE+", False),
        (b"PGE+PGE+\nPGE+", True),
        (b"PGF=", False),  # bits behind the last byte
    ],
)
def test_base64_is_changed_only_where_it_can_come_back(body: bytes, tracked: bool) -> None:
    message = reply(body).replace(b"8bit", b"base64")
    done = instrument(message)
    assert done.report.pixel is tracked
    assert (done.message == message) is not tracked
    assert TRACKER.restore(done.message) == message


def test_what_openpgp_has_signed_is_not_restored_either() -> None:
    signed = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{ADDRESSES[0]}\n"
    message = reply(signed, "plain")
    assert TRACKER.restore(message) == message
    assert instrument(message).message == message


@given(st.binary(max_size=300))
def test_a_changed_token_is_left(noise: bytes) -> None:
    message = reply(b"<a href='" + ADDRESSES[0].encode()[:-1] + b"'>" + noise)
    assert TRACKER.restore(message) == message
