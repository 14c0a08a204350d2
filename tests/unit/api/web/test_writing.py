"""From what was written to a mail."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake_api.web.writing import Party, WrongError, as_html, as_text, mail, parties

ANNA = Party("Anna Berg", "anna@example.com")
DANA = Party("Dana", "dana@acme.example")


def read(data: bytes) -> EmailMessage:
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def written(subject: str = "Hello", text: str = "Hi", to: list[Party] | None = None) -> bytes:
    return mail(
        DANA, to or [ANNA], subject, text, "<1@acme.example>", "Tue, 24 Nov 2026 17:00:00 -0000", {}
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Anna Berg <anna@example.com>", [ANNA]),
        ("anna@example.com; ben@example.com", [("", "anna@example.com"), ("", "ben@example.com")]),
        ('"Berg, Anna" <anna@example.com>', [("Berg, Anna", "anna@example.com")]),
        ("anna@example.com,\n ANNA@example.com", [("", "anna@example.com")]),
        ("Anna Berg <anna@example.com>,\n", [ANNA]),
        ("", []),
        (" ;, ", []),
    ],
)
def test_lines_of_recipients(line: str, found: list[Party]) -> None:
    assert parties(line, "to") == found


@pytest.mark.parametrize(
    "line", ["anna", "@example.com", "anna@", "a b@example.com", "anna@example", "a@b\x00.example"]
)
def test_what_is_no_address_is_told(line: str) -> None:
    with pytest.raises(WrongError) as raised:
        parties(line, "to")
    assert raised.value.field == "to"


@pytest.mark.fault(24)
@given(st.text(max_size=80), st.text(max_size=200))
def test_no_header_can_be_slipped_in(subject: str, text: str) -> None:
    parsed = read(written(subject, text))
    assert parsed.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]


def test_a_name_with_a_line_end_is_a_name() -> None:
    parsed = read(written(to=[Party("Anna Bcc: eve@evil.example", "anna@example.com")]))
    assert parsed["To"].addresses[0].addr_spec == "anna@example.com"
    assert parsed["Bcc"] is None


def test_links_can_be_followed_in_html_and_read_in_text() -> None:
    text = "See [our offer](https://shop.example/a?b=1&c=2), or https://shop.example/x.\nBye <b>"
    assert (
        as_html(text)
        .split("<body")[1]
        .split("\n", 1)[1]
        .startswith(
            '<p>See <a href="https://shop.example/a?b=1&amp;c=2">our offer</a>, or '
            '<a href="https://shop.example/x">https://shop.example/x</a>.<br>\nBye &lt;b&gt;</p>'
        )
    )
    assert as_text(text).startswith("See our offer (https://shop.example/a?b=1&c=2), or https://")


@pytest.mark.parametrize("text", ["[x](javascript:alert(1))", "[x](data:text/html,y)"])
def test_other_schemes_are_no_links(text: str) -> None:
    assert "<a " not in as_html(text)


@given(st.text(max_size=300))
def test_what_is_written_never_becomes_a_tag(text: str) -> None:
    made = as_html(text.replace("http", "")).split('line-height: 1.5">')[1]
    assert made.count("<") == sum(
        made.count(tag) for tag in ("<p>", "</p>", "<br>", "</body>", "</html>")
    )


def test_what_the_relay_is_told_stands_in_the_header_and_the_same_words_give_the_same_mail() -> (
    None
):
    """The relay knows a mail that comes again by its Message-ID and its body."""
    wishes = {
        "X-Mailwake-Track": "none",
        "X-Mailwake-Tag": "Frühling\r\nBcc: x",
        "X-Mailwake-A": "",
    }
    given = (DANA, [ANNA], "Hello", "Hi\n\nthere", "<1@acme.example>", "now", wishes)
    first, second = mail(*given), mail(*given)
    assert first == second
    parsed = read(first)
    assert (parsed["X-Mailwake-Track"], parsed["X-Mailwake-Tag"]) == ("none", "Frühling Bcc: x")
    assert "X-Mailwake-A" not in parsed
    assert "Bcc" not in parsed
