"""The structure of mail: parts at their positions, and nothing guessed at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.errors import MailwakeError
from mailwake.mime import Headers, addresses, codec_of, decode_words, read_mail


def kinds(message: bytes) -> list[tuple[str, str | None]]:
    return [(part.content_type, part.reason) for part in read_mail(message).parts]


def of(head: str, body: str = "<p>x</p>") -> bytes:
    return f"From: a@example.org\n{head}\n\n{body}".encode()


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("Content-Type: text/html", None),
        ("content-type:TEXT/HTML;charset=utf-8", None),
        ("Content-Type: text/html;\n charset=utf-8", None),
        ("Content-Type: text/html\nContent-Disposition: inline", None),
        ("Content-Type: text/html\nContent-Disposition: attachment", "attachment"),
        ("Content-Type: text/html\nContent-Disposition: inline; filename=a.html", "attachment"),
        ("Content-Type: text/html\nContent-Disposition: inline; filename*=utf-8''a", "attachment"),
        ("Content-Type: text/html; name=a.html", "attachment"),
        ("Content-Type: text/html\nContent-Type: text/plain", "broken"),
        ("Content-Type: html", "broken"),
        ("Content-Type: text/html\nno field", "broken"),
        ("Content-Type: text/x-amp-html", "not_text"),
        ("Content-Type: application/pkcs7-mime; smime-type=signed-data", "encrypted"),
        ("Content-Type: multipart/encrypted; boundary=b", "encrypted"),
        ("Content-Type: multipart/signed; boundary=b", "signed"),
        ("Content-Type: multipart/mixed", "broken"),
        ("Content-Type: multipart/mixed; boundary=b", "broken"),
        ("Subject: x", None),
    ],
)
def test_a_part_is_left_for_a_reason(head: str, reason: str | None) -> None:
    assert [told for _, told in kinds(of(head))] == [reason]


def test_an_encoded_multipart_is_left() -> None:
    message = of(
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64",
        "--b\nContent-Type: text/html\n\nx\n--b--\n",
    )
    assert kinds(message) == [("multipart/mixed", "broken")]


def test_parts_end_before_the_line_end_that_belongs_to_the_delimiter() -> None:
    message = of(
        'Content-Type: multipart/mixed; boundary="b c"',
        "preamble\n--b c no\n--b c  \nContent-Type: text/html\n\none\n\n--b c\r\n\r\ntwo\r\n--b c\n"
        "Content-Type: text/html\n--b c\n\n--b c--\nepilogue\n--b c\n\nno",
    )
    found = [
        (part.content_type, message[part.start : part.end]) for part in read_mail(message).parts
    ]
    assert found == [
        ("text/html", b"one\n"),
        ("text/plain", b"two"),
        ("text/html", b""),
        ("text/plain", b""),
    ]


def test_the_last_part_may_lack_its_closing_delimiter() -> None:
    message = of("Content-Type: multipart/mixed; boundary=b", "--b\nContent-Type: text/html\n\nx\n")
    assert [message[part.start : part.end] for part in read_mail(message).parts] == [b"x\n"]


def test_a_mail_too_deep_or_with_too_many_parts_is_left() -> None:
    def nested(depth: int) -> str:
        if not depth:
            return "Content-Type: text/html\n\nx"
        inner = nested(depth - 1)
        return f"Content-Type: multipart/mixed; boundary=b{depth}x\n\n--b{depth}x\n{inner}"

    assert kinds(b"A: b\n" + nested(10).encode()) == [("text/html", None)]
    assert kinds(b"A: b\n" + nested(50).encode()) == [("multipart/mixed", "too_many")]
    many = of("Content-Type: multipart/mixed; boundary=b", "--b\n\nx\n" * 5000)
    assert kinds(many) == [("multipart/mixed", "too_many")]


@pytest.mark.parametrize(
    "message", [b"", b"\n", b"\r\n\r\nFrom: a", b"hello", b"\x00\x01", b"<html></html>", b"From a"]
)
def test_what_is_no_mail_is_said(message: bytes) -> None:
    with pytest.raises(MailwakeError, match="no e-mail"):
        read_mail(message)


def test_the_line_of_a_mailbox_file_is_passed_over() -> None:
    message = b"From a@example.org Mon Oct  5 09:30:00 2026\nContent-Type: text/html\n\nx"
    assert kinds(message) == [("text/html", None)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe_an?= all", "Grüße an all"),
        ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        ("=?UTF-8?B?R3LDvMOfZQ?=", "Grüße"),
        ("a =?utf-8?q?b?=  =?utf-8?q?c?= d", "a bc d"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        ("=?utf-8?q?a?= =?latin1?q?=FC?=", "aü"),
        ("=?utf-8*de?q?a?=", "a"),
        ("=?nonsense?q?=FC?=", "ü"),
        ("=?utf-8?q?=FF?=", "\ufffd"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?é?=", "=?utf-8?q?é?="),
        ("a\tb\r\n c", "a b c"),
    ],
)
def test_header_values_read_as_their_reader_sees_them(value: str, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("anna@example.org", [("", "anna@example.org")]),
        ('"Müller, Anna" <a@x.org>, b@x.org', [("Müller, Anna", "a@x.org"), ("", "b@x.org")]),
        ("=?utf-8?q?M=C3=BCller=2C?= <a@x.org>", [("Müller,", "a@x.org")]),
        ("friends: a@x.org, b@x.org;", [("", "a@x.org"), ("", "b@x.org")]),
        ("undisclosed-recipients:;", []),
        ("nobody", []),
        ("", []),
    ],
)
def test_addresses_are_taken_from_their_fields(value: str, found: list[tuple[str, str]]) -> None:
    assert addresses([value]) == found


@given(st.text())
@pytest.mark.filterwarnings("ignore")
def test_any_value_is_read(value: str) -> None:
    decode_words(value)
    addresses([value])


@pytest.mark.timeout(20)
def test_many_encoded_words_take_linear_time() -> None:
    assert decode_words("=?utf-8?q?a?= " * 200_000) == "a" * 200_000


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "value", ["x" * 500_000, "(" * 100_000, "a@b" * 50_000, '"' * 100_001, "<" * 100_000]
)
def test_hostile_address_fields_are_read(value: str) -> None:
    addresses([value])


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8"),
        ("US-ASCII", "ascii"),
        ("ISO-8859-15", "iso8859-15"),
        ("windows-1252", "cp1252"),
        ("iso-2022-jp", "iso2022_jp"),
        ("utf-16", None),
        ("utf-7", None),
        ("cp037", None),
        ("rot13", None),
        ("idna", None),
        ("unicode_escape", None),
        ("none such", None),
        ("../../etc", None),
        ("", None),
    ],
)
def test_only_charsets_of_mail_that_keep_ascii_are_taken(charset: str, codec: str | None) -> None:
    assert codec_of(charset) == codec


def test_a_header_is_unfolded() -> None:
    headers = Headers(b"A: one\r\n two\r\nB : three\nA: four\n")
    assert headers.all("a") == ["one two", "four"]
    assert headers.all("b") == ["three"]
    assert not headers.broken
