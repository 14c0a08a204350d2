"""Whatever a mail is made of: links and pixel differ, nothing else does."""

from __future__ import annotations

import contextlib
import html

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake import contracts
from mailwake.errors import MailwakeError
from mailwake.pieces import MAX_LINKS
from mailwake.targets import MAX_TARGET
from tests.unit.instrumenting import (
    PIXEL,
    URL,
    assert_only_links_and_pixel_differ,
    instrument,
    mail,
)


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "quoted-printable", "base64"])
def test_the_transfer_encoding_is_kept(encoding: str) -> None:
    body = "<p>Gr&uuml;&szlig;e <a href='https://example.org/?a=1&amp;b=2'>x</a></p></body>\n"
    done = instrument(mail(body, encoding=encoding))
    assert f"Content-Transfer-Encoding: {encoding}".encode() in done.message
    assert done.report.links == 1
    assert_only_links_and_pixel_differ(done)


def test_large_html_has_its_pixel_at_the_top() -> None:
    small = instrument(mail("<html><body>" + "<p>x</p>\n" * 100 + "</body></html>"))
    assert b"</p>\n<img src=" in small.message
    large = instrument(mail("<html><body>" + "<p>x</p>\n" * 13_000 + "</body></html>"))
    assert b"<body><img src=" in large.message
    assert any("Gmail clips" in warning for warning in large.report.warnings)
    assert large.report.html_size > 102 * 1024
    grown = instrument(
        mail("<html><body>" + "<a href=http://x/>x</a>\n" * 2_000 + "</body></html>")
    )
    assert b"<body><img src=" in grown.message, "the links' growth counts"


def test_only_one_pixel_stands_in_a_mail() -> None:
    part = "--b\nContent-Type: text/html\n\n<body>x</body>\n"
    head = "From: b@x.org\nTo: a@x.org\nContent-Type: multipart/mixed; boundary=b\n\n"
    done = instrument((head + part * 3).encode())
    assert len(PIXEL.findall(done.message)) == 1
    assert_only_links_and_pixel_differ(done)


def test_a_line_that_would_grow_too_long_keeps_its_link() -> None:
    line = '<a href="https://example.org/">x</a>' + "x" * 700
    for body in (line, line + "\n<a href=http://y/>y</a>", line.replace("x" * 700, "x " * 475)):
        done = instrument(mail(body))
        assert all(len(text) <= 998 for text in done.message.splitlines())
        assert_only_links_and_pixel_differ(done)
    assert [link.reason for link in done.report.left] == ["line_too_long"]
    assert done.report.pixel, "the pixel breaks inside of its tag"
    assert instrument(mail("x" * 998)).report.warnings == [
        "there is no room for the pixel: its line is full"
    ]


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("https://example.org/%%UNSUB%%", "placeholder"),
        ("https://example.org/{% url %}", "placeholder"),
        ("HTTPS://t.example.com/c/x", None),
        (f"{URL}/c/x", "ours"),
        (f"{URL}/about", None),
        ("https://example.org/Unsubscribe/1", "unsubscribe"),
        ("ftp://example.org/", "scheme"),
        ("//example.org/", "scheme"),
        ("https:example.org", "scheme"),
        ("https:///example.org", "scheme"),
        ("javascript:alert(1)//http://x", "scheme"),
        (" \n https://exam\nple.org/\t", None),
        ("https://example.org/\x7f", "unreadable"),
        ("https://example.org/&#0;", "unreadable"),
        ("https://example.org/" + "x" * (MAX_TARGET - 20), None),
        ("https://example.org/" + "x" * (MAX_TARGET - 19), "too_long"),
        ("https://user@example.org:8443/#!/a?b", None),
        ("https://müller.example/straße?größe=ü#ä", None),
        ("https://example.org?a,b;c='d'", None),
    ],
)
def test_a_link_is_left_for_a_reason(href: str, reason: str | None) -> None:
    done = instrument(mail(f'<a href="{href}">x</a>', encoding="base64"))
    assert [link.reason for link in done.report.left] == ([reason] if reason else [])
    assert_only_links_and_pixel_differ(done)


def test_bytes_that_are_not_of_the_charset_cost_their_own_link_alone() -> None:
    done = instrument(mail(b"\xff<a href='http://x/\xff'>x</a><a href='http://y/'>\xff</a>"))
    assert [link.reason for link in done.report.left] == ["unreadable"]
    assert done.send.links == ["http://y/"]
    assert done.display.links == ["?"]


def test_too_many_links_leave_the_rest() -> None:
    done = instrument(mail("<a href=http://x/>x</a>\n" * (MAX_LINKS + 10)))
    assert done.report.links == len(done.send.links) == MAX_LINKS
    assert {link.reason for link in done.report.left} == {"too_many"}
    long = "<a href=http://x/" + "y" * 4000 + ">" + "z" * 300 + "</a>\n"
    done = instrument(mail(long * 200))
    assert len(contracts.SEND.encode(done.send)) < 900_000
    assert len(contracts.DISPLAY.encode(done.display)) < 900_000


hosts = st.sampled_from(["example.org", "müller.example", "a.b:8080", "user@x.org"])
rests = st.text("abcé/?=&;#%20.,'\"<>+ ()[]@:!~\n", max_size=30)
words = st.text("abcéü <>&;=\"'\n.-€", max_size=40).map(lambda text: text.replace("<", "&lt;"))
COMMENT = "<!-- <a href='http://no/'> -->"
OTHERS = ["<b>", "</p>", COMMENT, "<style>a{}</style>", "<a href='#x'>", "<br/>", "</body>"]


@st.composite
def pages(draw: st.DrawFn) -> str:
    pieces: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.integers(0, 2))
        if kind == 0:
            url = html.escape(f"https://{draw(hosts)}/{draw(rests)}")
            pieces.append(
                draw(st.sampled_from(['<a href="{}">', "<A x HREF = '{}' >"])).format(url)
            )
        elif kind == 1:
            pieces.append(draw(words))
        else:
            pieces.append(draw(st.sampled_from(OTHERS)))
    return "".join(pieces)


@given(
    pages(),
    st.sampled_from(["8bit", "quoted-printable", "base64"]),
    st.sampled_from(["utf-8", "windows-1252", "iso-8859-15", "gb18030"]),
    st.booleans(),
)
def test_of_any_page_only_links_and_pixel_differ(
    page: str, encoding: str, charset: str, crlf: bool
) -> None:
    message = mail(page.encode(charset, "xmlcharrefreplace"), encoding=encoding, charset=charset)
    if crlf:
        message = message.replace(b"\n", b"\r\n")
    done = instrument(message)
    assert_only_links_and_pixel_differ(done, charset)
    assert done.message.count(b"\n") == done.message.count(b"\r\n") or not crlf
    links = page.count('<a href="https://') + page.count("HREF = 'https://")
    assert done.report.links + len(done.report.left) == links + page.count("<a href='#x'>")


HEADS = [
    b"Content-Type: text/html\n", b"Content-Type: multipart/mixed; boundary=b\n", b"--b\n", b"\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n",
    b"Content-Type: text/html; charset=iso-2022-jp\n", b"<a href='http://x/'>", b"=3D", b"=\n",
    b"To: a@x.org\n", b"\r\n", b"\xff", b"\x1b$B", b"--b--", b"<body>", b"<!--",
    b"PGEgaHJlZj14Pg==",
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(HEADS), st.binary(max_size=8)), max_size=30))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_hostile_mail_raises_nothing(pieces: list[bytes]) -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + b"".join(pieces)
    done = instrument(message)
    if not done.report.links and not done.report.pixel and b"data-mailwake" not in message:
        assert done.message == message


@given(st.binary(max_size=200))
def test_random_bytes_are_no_mail_or_stay(message: bytes) -> None:
    with contextlib.suppress(MailwakeError):
        assert instrument(message).message == message
