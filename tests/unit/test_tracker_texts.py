"""Texts without a mail, footers, ids given, and what the tokens say of readers."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from mailwake.errors import ConfigError, MailwakeError
from mailwake.ids import new_message_id, reader_of
from mailwake.keyring import new_keyring
from mailwake.tokens import Token, Withdrawal
from mailwake.tracker import InstrumentedText, Tracker

KEYRING = new_keyring()
URL = "https://t.example.com"
TRACKER = Tracker(KEYRING, URL)
ADDRESS = re.compile(URL + "/([ocw])/([A-Za-z0-9_-]+)")
HTML = '<p><a href="https://example.org/?a=1&amp;b=2">Go</a></p></body>\n'
TEXT = "Go: https://example.org/?a=1&b=2.\n"
FOOTER = "Ben is told when you read this; stop that"
ANNA = "anna@example.org"


def html(content: str = HTML, **more: Any) -> InstrumentedText:
    given = {"tenant": "acme", "user": "ben", "recipients": [ANNA]}
    return TRACKER.instrument_html(content, **given | more)


def text(content: str = TEXT, **more: Any) -> InstrumentedText:
    given = {"tenant": "acme", "user": "ben", "recipients": [ANNA]}
    return TRACKER.instrument_text(content, **given | more)


def tokens(content: str) -> list[Token]:
    return [
        KEYRING.open(found[1])
        for found in ADDRESS.findall(content.replace("\n", ""))
        if found[0] != "w"
    ]


def withdrawals(content: str) -> list[Withdrawal]:
    found = ADDRESS.findall(content)
    return [KEYRING.open_withdrawal(token) for kind, token in found if kind == "w"]


def mail(content: str = HTML, kind: str = "html", *head: str) -> bytes:
    fields = [f"To: {ANNA}", f"Content-Type: text/{kind}; charset=utf-8", *head]
    return "\n".join([*fields, "", content]).encode()


def test_html_is_instrumented_by_itself() -> None:
    done = html(subject="Our  offer", tag="October", basis="consent")
    assert done.original == HTML
    click, opened = tokens(done.text)
    assert (click.kind, click.target, click.link) == ("click", "https://example.org/?a=1&b=2", 0)
    assert opened.kind == "open"
    assert (done.send.opens, done.send.clicks) == (True, True)
    assert done.send.links == ["https://example.org/?a=1&b=2"]
    assert (done.send.tag, done.send.basis, done.send.recipient_count) == ("October", "consent", 1)
    assert (done.display.subject, done.display.links) == ("Our offer", ["Go"])
    assert TRACKER.restore_html(done.text) == HTML


def test_plain_text_is_instrumented_by_itself() -> None:
    done = text()
    assert re.fullmatch(rf"Go: {URL}/c/[A-Za-z0-9_-]+\.\n", done.text)
    assert (done.send.opens, done.send.clicks) == (False, True)
    assert done.display.links == ["https://example.org/?a=1&b=2"]
    assert TRACKER.restore_text(done.text) == TEXT


@pytest.mark.parametrize("html_first", [True, False])
def test_two_texts_of_one_mail_share_one_send(html_first: bool) -> None:
    if html_first:
        first = html(subject="Hello")
        second = text(of=first)
    else:
        first = text(subject="Hello")
        second = html(of=first)
    assert second.send.message_id == first.send.message_id
    assert second.send.sent_at == first.send.sent_at
    assert second.send.links == 2 * ["https://example.org/?a=1&b=2"]
    assert len(second.display.links) == 2
    assert second.display.subject == "Hello"
    assert (second.send.opens, second.send.clicks) == (True, True)
    both = tokens(first.text) + tokens(second.text)
    assert sorted(token.link for token in both if token.link is not None) == [0, 1]
    assert [token.kind for token in both].count("open") == 1
    assert {token.message_id for token in both} == {first.send.message_id}


def test_a_second_html_of_one_mail_has_no_second_pixel() -> None:
    first = html()
    second = html(of=first)
    assert [token.kind for token in tokens(second.text)] == ["click"]
    assert second.send.opens


@pytest.mark.parametrize("lone", ["\ud800", "x\udfff<a href=http://x/\ud800>"])
def test_half_of_a_pair_harms_nothing(lone: str) -> None:
    done = html(lone + HTML)
    assert len(done.send.links) == 1
    assert TRACKER.restore_html(done.text) == lone + HTML
    assert TRACKER.restore_text(text(lone + TEXT).text) == lone + TEXT


def test_lines_of_a_text_without_a_mail_may_have_any_length() -> None:
    done = html("<p>" + "x" * 2000 + HTML.replace("\n", "") + "y" * 990)
    assert (done.report.links, done.report.pixel) == (1, True)


def test_the_same_message_id_gives_the_same_bytes() -> None:
    given: dict[str, Any] = {"tenant": "acme", "user": "ben", "message_id": new_message_id()}
    first = TRACKER.instrument(mail(), footer=FOOTER, **given)
    second = TRACKER.instrument(mail(), footer=FOOTER, **given)
    assert first.message == second.message
    assert first.send.message_id == given["message_id"]
    assert TRACKER.instrument(mail(), tenant="acme", user="ben").message != first.message


@pytest.mark.parametrize("message_id", ["", "x", "0" * 31, "A" * 32, "0" * 32 + "\n"])
def test_a_wrong_message_id_is_said(message_id: str) -> None:
    with pytest.raises(MailwakeError, match="message_id"):
        TRACKER.instrument(mail(), tenant="acme", user="ben", message_id=message_id)


@pytest.mark.parametrize("recipients", [["a@x.org"], [f"{n}@x.org" for n in range(16)]])
def test_tokens_name_their_readers(recipients: list[str]) -> None:
    done = html(recipients=recipients)
    for token in tokens(done.text):
        assert token.readers == tuple(map(reader_of, done.send.recipients))
        assert token.recipient == (1 if len(recipients) == 1 else 0)
    anonymous = html(recipients=recipients, mode="anonymous")
    assert {token.readers for token in tokens(anonymous.text)} == {()}


def test_a_footer_leads_to_the_recipients_page() -> None:
    done = html(footer=f"{FOOTER} &\n now")
    [withdrawal] = withdrawals(done.text)
    assert withdrawal.tenant == "acme"
    assert withdrawal.recipient_id == KEYRING.recipient_id("acme", ANNA)
    found = re.search(
        rf'\n<p [^>]*><a href="{URL}/w/[^"]*" style="[^"]*">(.*)</a></p>\n<img[^>]*></body>',
        done.text,
    )
    assert found is not None
    assert found[1] == f"{FOOTER} &amp; now"
    assert done.report.footer
    assert TRACKER.restore_html(done.text) == HTML


def test_in_plain_text_the_footer_is_the_last_line() -> None:
    for content in (TEXT, TEXT.strip(), TEXT.replace("\n", "\r\n")):
        done = text(content, footer=FOOTER)
        newline = "\r\n" if "\r\n" in content else "\n"
        lines = done.text.split(newline)
        assert lines[-4:-2] == ["", FOOTER]
        assert re.fullmatch(rf"{URL}/w/[A-Za-z0-9_-]+", lines[-2])
        assert lines[-1] == ""
        assert TRACKER.restore_text(done.text) == content


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"recipients": [ANNA, "b@x.org"]}, "one identified recipient"),
        ({"mode": "anonymous"}, "one identified recipient"),
        ({"opens": False, "clicks": False}, "nothing is tracked"),
    ],
)
def test_where_there_can_be_no_footer_a_warning_says_so(more: dict[str, Any], told: str) -> None:
    done = html(footer=FOOTER, **more)
    assert withdrawals(done.text) == []
    assert not done.report.footer
    assert any(told in warning for warning in done.report.warnings)


def test_a_footer_stands_in_both_parts_of_a_mail() -> None:
    message = (
        f"To: {ANNA}\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nHello\n"
        f"--b\nContent-Type: text/html\n\n{HTML}--b--\n"
    ).encode()
    done = TRACKER.instrument(message, tenant="acme", user="ben", footer=FOOTER)
    assert len(withdrawals(done.message.decode())) == 2
    assert TRACKER.restore(done.message) == message


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "base64", "quoted-printable"])
def test_a_footer_is_written_as_its_part_can(encoding: str) -> None:
    for kind in ("plain", "html"):
        message = mail("http://x/\n" if encoding != "base64" else "aHR0cDovL3gv\n", kind)
        message = message.replace(
            b"\n\n", f"\nContent-Transfer-Encoding: {encoding}\n\n".encode(), 1
        )
        done = TRACKER.instrument(message, tenant="acme", user="ben", footer="Genügt’s?")
        fits = kind == "html" or encoding != "7bit"
        assert done.report.footer is fits
        assert done.message.isascii() or encoding == "8bit"
        assert TRACKER.restore(done.message) == message


@pytest.mark.parametrize("footer", ["", "  ", "x" * 301])
def test_a_footer_that_is_no_sentence_is_said(footer: str) -> None:
    with pytest.raises(MailwakeError, match="a footer is a sentence"):
        html(footer=footer)


def test_a_withdrawal_link_is_that_of_the_footer() -> None:
    [withdrawal] = withdrawals(TRACKER.withdrawal_link("acme", " Anna@EXAMPLE.org"))
    assert withdrawal == Withdrawal("acme", KEYRING.recipient_id("acme", ANNA))
    with pytest.raises(MailwakeError, match="a tenant is"):
        TRACKER.withdrawal_link("ACME", ANNA)


def test_a_wrong_withdrawal_url_is_said() -> None:
    with pytest.raises(ConfigError, match="withdrawal_url must be a URL"):
        Tracker(KEYRING, URL, withdrawal_url="w.example.com")


def test_our_marks_stay_where_no_token_can_take_them_along() -> None:
    marked = '<a data-mailwake="off" href="http://x/">x</a>\n'
    assert html(marked, opens=False).text == marked
    assert "data-mailwake" not in html(marked).text
    assert "data-mailwake" not in html(marked + HTML, opens=False).text
    many = html(marked * 50)
    assert many.text.count("data-mailwake") == 50
    assert many.report.pixel
    assert TRACKER.restore_html(many.text) == marked * 50


def test_a_link_whose_writing_takes_too_much_is_left() -> None:
    written = "".join(f"&#x{ord(letter):06x};" for letter in "https://example.org/x")
    odd = "".join(f"&#{'0' * (n * 7 % 40)}{97 + n * n % 26};" for n in range(900))
    done = html(f'<a href="{written}">x</a><a href="https://example.org/{odd}">y</a>')
    assert [link.reason for link in done.report.left] == ["not_restorable"]
    assert done.report.links == 1


REPEATED = [
    "<",
    "<a b='",
    "<!--[if mso]>",
    "<a href='http://x/'>",
    "<blockquote>",
    "=\n",
    "\n",
    "&amp",
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", REPEATED)
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable"])
def test_ten_megabytes_of_anything_take_seconds(piece: str, encoding: str) -> None:
    body = piece * (10_000_000 // len(piece))
    message = mail(body, "html", f"Content-Transfer-Encoding: {encoding}")
    began = time.process_time()
    done = TRACKER.instrument(message, tenant="acme", user="ben")
    assert TRACKER.restore(done.message) == message
    assert time.process_time() - began < 20
