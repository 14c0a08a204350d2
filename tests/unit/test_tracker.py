"""Instrumented mail: links and pixel differ, nothing else does, and each token tells all."""

from __future__ import annotations

import base64
import contextlib
import email
import html
import quopri
import re
import subprocess
import sys
from email.message import Message
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake import contracts
from mailwake.addressing import MAX_RECIPIENTS
from mailwake.errors import ConfigError, MailwakeError
from mailwake.hypertext import attribute_value
from mailwake.ids import reader_of
from mailwake.keyring import new_keyring
from mailwake.pieces import MAX_LINKS
from mailwake.targets import MAX_TARGET
from mailwake.tracker import Instrumented, Tracker

KEYRING = new_keyring()
URL = "https://t.example.com"
TRACKER = Tracker(KEYRING, URL)
CORPUS = {path.stem: path for path in (Path(__file__).parents[1] / "corpus").glob("*.eml")}
DEMO = resources.files("mailwake") / "data" / "demo.eml"
LINK = re.compile(re.escape(URL).encode() + rb"/c/([A-Za-z0-9_-]{60,})")
PIXEL = re.compile(
    rb'<img\s+src="' + re.escape(URL).encode() + rb'/o/([A-Za-z0-9_-]+)" width="1" height="1" '
    rb'alt="" style="border:0;position:absolute;margin-top:-1px"\s*>'
)


def instrument(message: bytes, **more: Any) -> Instrumented:
    return TRACKER.instrument(message, **{"tenant": "acme", "user": "ben"} | more)


def mail(
    body: str | bytes,
    *head: str,
    encoding: str = "8bit",
    charset: str = "utf-8",
    to: str = "Anna <anna@example.org>",
) -> bytes:
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


def test_a_newsletter_is_tracked_where_it_may_be() -> None:
    done = instrument(CORPUS["newsletter"].read_bytes())
    assert done.send.links == [
        "https://example.org/buy?sku=12",
        "https://example.org/vml",
        "https://example.org/buy?sku=12&size=40&utm_campaign=october%20letter"
        "&path=/a/very/long/way/that/quoted-printable/has/to/break#reviews",
        "https://example.org/unquoted/",
        "https://example.org/it%27s",
        "https://example.org/spaced",
        "https://example.org/?a=1&copy=2&b=3",
        "https://example.org/go?to=https://other.example/x?y=1,2",
        "https://example.org/map",
        "https://example.org/picture",
    ]
    assert done.display.links == [
        "https://example.org/buy?sku=12", "Buy", "Buy now", "here", "there", "everywhere", "odd",
        "nested", "The map", "A picture",
    ]  # fmt: skip
    assert [(link.target, link.reason) for link in done.report.left] == [
        ("#top", "scheme"),
        ("mailto:hello@example.org", "scheme"),
        ("{{ unsubscribe_url }}", "placeholder"),
        ("https://example.org/*|UNIQID|*", "placeholder"),
        ("https://example.org/private", "opted_out"),
        ("https://example.org/ses", "opted_out"),
        ("https://example.org/list/leave/99", "unsubscribe"),
    ]
    assert [(part.content_type, part.reason) for part in done.report.parts] == [
        ("image/gif", "not_text"),
        ("text/html", "attachment"),
        ("message/rfc822", "not_text"),
        ("text/calendar", "not_text"),
    ]
    assert done.report.warnings == []
    untouched = done.original[done.original.index(b"--alt--") :]
    assert done.message.endswith(untouched)


def test_recipients_come_from_the_header_each_mailbox_once() -> None:
    done = instrument(CORPUS["newsletter"].read_bytes())
    assert [(p.name, p.address) for p in done.display.recipients] == [
        ("", "anna@example.org"),
        ("Müller, Jörg", "JOERG@Example.org"),
        ("", "carl@example.net"),
    ]
    assert done.send.recipient_count == 3
    assert done.send.recipients == [
        KEYRING.recipient_id("acme", address)
        for address in ("anna@example.org", "joerg@example.org", "carl@example.net")
    ]
    token = PIXEL.search(texts(done.message, "text/html")[0])
    assert token is not None
    assert KEYRING.open(token[1].decode()).recipient == 0, "a shared body"


def test_one_recipient_has_index_one() -> None:
    done = instrument(
        mail("<a href=http://x/>x</a>", to="a@x.org, b@x.org"), recipients=["b@x.org"]
    )
    assert done.send.recipient_count == 1
    tokens = [KEYRING.open(t.decode()) for t in (LINK.findall(done.message))]
    tokens += [KEYRING.open(t.decode()) for t in (PIXEL.findall(done.message))]
    assert [token.recipient for token in tokens] == [1, 1]
    assert [token.mode for token in tokens] == ["identified", "identified"]


def test_the_names_of_given_recipients_come_from_the_header() -> None:
    done = instrument(mail("x"), recipients=["ANNA@example.org", "Carl <c@x.org>", "c@x.org"])
    assert [(p.name, p.address) for p in done.display.recipients] == [
        ("Anna", "ANNA@example.org"),
        ("Carl", "c@x.org"),
    ]


def test_anonymous_keeps_no_recipient_ids() -> None:
    done = instrument(mail("<a href=http://x/>x</a>"), mode="anonymous")
    assert done.send.recipients == []
    assert done.send.recipient_count == 1
    token = KEYRING.open(LINK.findall(done.message)[0].decode())
    assert token.mode == "anonymous"


def test_a_mail_without_recipients_is_tracked_anonymously_and_says_so() -> None:
    done = instrument(mail("x", to="undisclosed-recipients:;"))
    assert (done.send.mode, done.send.recipient_count) == ("anonymous", 1)
    assert any("anonymously" in warning for warning in done.report.warnings)


def test_opens_and_clicks_can_be_left_out() -> None:
    message = mail("<a href=http://x/>x</a>")
    neither = instrument(message, opens=False, clicks=False)
    assert neither.message == neither.original == message
    assert (neither.send.opens, neither.send.clicks, neither.send.links) == (False, False, [])
    opens = instrument(message, clicks=False)
    assert PIXEL.sub(b"", opens.message) == message
    assert opens.send.opens
    clicks = instrument(message, opens=False)
    assert LINK.sub(b"http://x/", clicks.message) == message
    assert clicks.send.clicks
    assert not clicks.send.opens


def test_the_display_shows_what_the_sender_sees() -> None:
    done = instrument(
        mail("<a href=http://x/><b>Go</b> &amp; see</a>", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    )
    assert done.display.subject == "Grüße"
    assert done.display.links == ["Go & see"]
    assert done.display.message_id == done.send.message_id
    shown = contracts.SEND.encode(done.send)
    assert b"anna@example.org" not in shown
    assert "Grüße".encode() not in shown


AGENT = "Mozilla/5.0 (X11) Thunderbird/140.0"


@pytest.mark.parametrize("network", ["203.0.113.0/24", "2001:db8:1::/48", ""])
def test_a_send_tells_where_it_was_sent_from(network: str) -> None:
    given: dict[str, Any] = {"sender_network": network, "sender_agent": f"\t{AGENT}\r\n\0 "}
    sent = [instrument(mail("x"), **given).send]
    told: dict[str, Any] = {"tenant": "acme", "user": "ben", "recipients": ["a@b.example"]} | given
    text = TRACKER.instrument_text("https://x.example/", **told)
    sent += [text.send, TRACKER.instrument_html("x", of=text, **told).send]
    assert {(send.sender_network, send.sender_agent) for send in sent} == {(network, AGENT)}
    long = instrument(mail("x"), sender_agent="ä" * 600).send
    assert (long.sender_network, long.sender_agent) == ("", "ä" * 512)


def test_a_send_tells_how_long_it_is_tracked() -> None:
    told: dict[str, Any] = {"tenant": "acme", "user": "ben", "recipients": ["a@b.example"]}
    text = TRACKER.instrument_text("https://x.example/", retention_days=30, **told)
    html = TRACKER.instrument_html("x", of=text, retention_days=30, **told)
    sent = [instrument(mail("x"), retention_days=30).send, text.send, html.send]
    assert {send.retention_days for send in sent} == {30}
    assert instrument(mail("x")).send.retention_days == 180
    assert b"retention_days" not in contracts.SEND.encode(instrument(mail("x")).send)
    for days in (0, 181):
        with pytest.raises(MailwakeError, match="retention_days"):
            instrument(mail("x"), retention_days=days)


def test_an_anonymous_send_does_not_tell_where_it_was_sent_from() -> None:
    given: dict[str, Any] = {"sender_network": "203.0.113.0/24", "sender_agent": AGENT}
    for send in (
        instrument(mail("x"), mode="anonymous", **given).send,
        instrument(mail("x", to=""), **given).send,  # which is anonymous since nobody is named
    ):
        assert send.mode == "anonymous"
        assert (send.sender_network, send.sender_agent) == ("", "")


@pytest.mark.parametrize(
    "network",
    ["203.0.113.77", "203.0.113.77/24", "203.0.113.77/32", "203.0.0.0/16", "2001:db8::1", "here"],
)
@pytest.mark.parametrize("mode", ["identified", "anonymous"])
def test_a_whole_address_does_not_get_into_a_send(network: str, mode: str) -> None:
    with pytest.raises(MailwakeError, match="sender_network must be a network such as") as caught:
        instrument(mail("x"), sender_network=network, mode=mode)
    assert "113.77" not in str(caught.value)


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


def test_a_signed_mail_is_warned_of() -> None:
    done = instrument(mail("x", "DKIM-Signature: v=1"))
    assert any("DKIM" in warning for warning in done.report.warnings)


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


def test_of_many_recipients_a_body_is_tracked_anonymously() -> None:
    given = [f"n{n}@example.org" for n in range(17)]
    few = instrument(mail("x"), recipients=given[:16])
    pixel = PIXEL.search(few.message)
    assert pixel is not None
    assert KEYRING.open(pixel[1].decode()).readers == tuple(map(reader_of, few.send.recipients))
    assert (few.send.mode, len(few.send.recipients), few.report.warnings) == ("identified", 16, [])
    many = instrument(mail("x"), recipients=given)
    assert (many.send.mode, many.send.recipients) == ("anonymous", [])
    assert many.send.recipient_count == 17
    assert any("more than 16" in warning for warning in many.report.warnings)


def test_many_recipients_are_within_a_record() -> None:
    given = [f"{'name' * 50}{n}@example.org" for n in range(MAX_RECIPIENTS)]
    done = instrument(mail("x"), recipients=given)
    assert done.send.recipient_count == MAX_RECIPIENTS
    assert len(contracts.DISPLAY.encode(done.display)) < 900_000
    with pytest.raises(MailwakeError, match="10,000 recipients at most, not to 10,001"):
        instrument(mail("x"), recipients=[*given, "one@example.org"])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tenant": "ACME"}, "tenant"),
        ({"user": "ben@example.org"}, "user"),
        ({"tag": ""}, "tag"),
        ({"recipients": ["anna"]}, "recipient 1"),
        ({"recipients": ["a@x.org", "a@x.org, b@x.org"]}, "recipient 2"),
    ],
)
def test_what_cannot_stand_in_a_send_is_said(more: dict[str, Any], told: str) -> None:
    with pytest.raises(MailwakeError, match=told) as caught:
        instrument(mail("x"), **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["t.example.com", "ftp://t.example.com", "https://t.example.com/?a", ""]
)
def test_a_wrong_tracking_url_is_said(url: str) -> None:
    with pytest.raises(ConfigError, match="tracking_url must be a URL"):
        Tracker(KEYRING, url)


def test_a_slash_at_the_end_of_the_tracking_url_is_no_matter() -> None:
    done = Tracker(KEYRING, URL + "/").instrument(mail("x"), tenant="acme", user="ben")
    assert PIXEL.search(done.message)


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


def test_the_demo_mail_is_instrumented() -> None:
    message = DEMO.read_bytes()
    done = instrument(message, tag="demo")
    assert_only_links_and_pixel_differ(done)
    in_the_text, in_the_html = done.send.links[:3], done.send.links[3:]
    assert in_the_html == [
        "https://example.org/trips/constance/route",
        "https://example.org/trips/constance?source=mail&offer=autumn#dates",
        "https://example.org/contact",
    ]
    assert sorted(in_the_text) == sorted(in_the_html)
    assert done.display.recipients == [contracts.Party("anna@example.org", "Anna Müller")]
    assert done.display.subject == "Four days at Lake Constance, from € 389 – breakfast is on us"
    assert [link.reason for link in done.report.left] == ["unsubscribe", "scheme", "unsubscribe"]
    assert done.report.pixel
    assert done.report.warnings == []
    assert done.report.size_after == len(done.message)
    before, after = message.split(b"\r\n"), done.message.split(b"\r\n")
    assert sum(line not in after for line in before) <= 10, "the other lines are as they were"
    assert all(len(line) <= 76 for line in after if b"=3D" in line)


def test_importing_the_library_is_light() -> None:
    check = "import sys, mailwake; mailwake.Tracker; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"aiokafka", "yaml", "prometheus_client", "faust", "asyncio", "starlette"}
    assert not heavy & set(loaded)
    assert "mailwake.tracker" in loaded
