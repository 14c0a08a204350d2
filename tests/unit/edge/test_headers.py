"""What a hit keeps of the headers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake_edge.headers import clean, keep, origin


def test_agent_referer_and_purpose_are_kept_and_nothing_else() -> None:
    headers = [
        (b"host", b"t.example"),
        (b"user-agent", b"Thunderbird/128"),
        (b"referer", b"https://mail.example/u/0/?secret=1#x"),
        (b"sec-purpose", b"prefetch;anonymous-client-ip"),
        (b"cookie", b"a=b"),
    ]
    assert keep(headers) == (
        "Thunderbird/128",
        "https://mail.example",
        "prefetch;anonymous-client-ip",
    )
    assert keep([]) == ("", "", "")


@pytest.mark.parametrize("name", [b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"])
def test_every_name_of_purpose_counts(name: bytes) -> None:
    assert keep([(name, b"prefetch")]) == ("", "", "prefetch")


def test_the_standard_name_of_purpose_comes_first() -> None:
    assert keep([(b"x-moz", b"old"), (b"sec-purpose", b"new")])[2] == "new"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"a\r\nSet-Cookie: b\x00\x1b[31m\x7f", "aSet-Cookie: b[31m"),
        ("Ünicode/1 日".encode(), "Ünicode/1 日"),
        ("Ünicode/1".encode("latin-1"), "Ünicode/1"),
        ("a\u0085b\u2028c\u2029d".encode(), "abcd"),
        (b"  spaces \t", "spaces"),
        (b"", ""),
    ],
)
def test_text_is_decoded_and_cleaned(value: bytes, text: str) -> None:
    assert clean(value, 512) == text


def test_long_text_is_cut_by_characters() -> None:
    assert clean(b"x" * 100_000, 512) == "x" * 512
    assert clean("日".encode() * 1000, 512) == "日" * 512
    headers = [(b"user-agent", b"x" * 1000), (b"purpose", b"y" * 1000)]
    agent, _, purpose = keep(headers)
    assert (len(agent), len(purpose)) == (512, 64)


@given(st.binary(max_size=2000), st.integers(1, 600))
def test_any_bytes_give_clean_text(value: bytes, most: int) -> None:
    text = clean(value, most)
    assert len(text) <= most
    assert not any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in text)
    text.encode()


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        (b"https://mail.example/path?q=1#f", "https://mail.example"),
        (b"https://mail.example", "https://mail.example"),
        (b"HTTPS://Mail.Example:8443?x", "https://mail.example:8443"),
        (b"http://user:secret@mail.example/", "http://mail.example"),
        (b"http://a@b@mail.example/", ""),
        (b"android-app://com.google.android.gm/", "android-app://com.google.android.gm"),
        (b"http://[2001:db8::1]:80/", "http://[2001:db8::1]:80"),
        (b"javascript:alert(1)", ""),
        (b"about:blank", ""),
        (b"/relative", ""),
        (b"https://", ""),
        (b"https://mail.example\r\nX: y", ""),
        (b"https://mail.example<script>", ""),
        (b"https://b\xfccher.example/", ""),
        (b"https://" + b"a" * 300 + b"/", ""),
        (b"\xff\x00", ""),
        (b"", ""),
    ],
)
def test_of_a_referer_the_origin_is_kept(referer: bytes, expected: str) -> None:
    assert origin(referer) == expected


@given(st.binary(max_size=600))
def test_any_referer_gives_an_origin_or_nothing(referer: bytes) -> None:
    for value in (referer, b"https://" + referer):
        text = origin(value)
        assert len(text) <= 256
        assert text.isascii()
        assert text.count("/") in (0, 2)
        assert "@" not in text
