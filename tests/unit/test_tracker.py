"""Instrumented mail: what is tracked, and what its tokens, its send and its display tell."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from mailwake import contracts
from mailwake.addressing import MAX_RECIPIENTS
from mailwake.errors import ConfigError, MailwakeError
from mailwake.ids import reader_of
from mailwake.tracker import Tracker
from tests.unit.instrumenting import (
    KEYRING,
    LINK,
    PIXEL,
    TRACKER,
    URL,
    assert_only_links_and_pixel_differ,
    instrument,
    mail,
    texts,
)

CORPUS = {path.stem: path for path in (Path(__file__).parents[1] / "corpus").glob("*.eml")}
DEMO = resources.files("mailwake") / "data" / "demo.eml"


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


def test_a_signed_mail_is_warned_of() -> None:
    done = instrument(mail("x", "DKIM-Signature: v=1"))
    assert any("DKIM" in warning for warning in done.report.warnings)


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


def test_a_tenant_with_an_address_of_its_own_has_it_in_its_mail_alone() -> None:
    own = Tracker(KEYRING, URL, domains={"acme": "https://t.acme.example/"})
    message = mail('<a href="https://example.org/">x</a>')
    theirs, others = (
        own.instrument(message, tenant=tenant, user="ben").message for tenant in ("acme", "globex")
    )
    for kind in ("o", "c"):
        assert f"https://t.acme.example/{kind}/".encode() in theirs
        assert f"{URL}/{kind}/".encode() in others
    assert URL.encode() not in theirs
    # What was sent before the tenant had it is undone as well.
    before = Tracker(KEYRING, URL).instrument(message, tenant="acme", user="ben").message
    for sent in (theirs, others, before):
        assert own.restore(sent) == message
    with pytest.raises(ConfigError, match="the tracking URL of acme must be a URL"):
        Tracker(KEYRING, URL, domains={"acme": "t.acme.example"})


def test_a_slash_at_the_end_of_the_tracking_url_is_no_matter() -> None:
    done = Tracker(KEYRING, URL + "/").instrument(mail("x"), tenant="acme", user="ben")
    assert PIXEL.search(done.message)


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
