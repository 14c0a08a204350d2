"""Plain text: links where mail programs see them, without what only follows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.plaintext import armour_of, scan


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("see https://example.org/a.", ["https://example.org/a"]),
        ("see https://example.org/a, and HTTP://x/b!", ["https://example.org/a", "HTTP://x/b"]),
        ("(https://example.org/a)", ["https://example.org/a"]),
        ("(see https://example.org/a_(b)).", ["https://example.org/a_(b)"]),
        ("[https://example.org/a[1]]", ["https://example.org/a[1]"]),
        ("https://example.org/(a", ["https://example.org/(a"]),
        ("https://example.org/...", ["https://example.org/"]),
        ("<https://example.org/a>", ["https://example.org/a"]),
        ("<https://example.org/a\nb>", [""]),
        ('"https://example.org/a"', ["https://example.org/a"]),
        ("'https://example.org/a'", ["https://example.org/a"]),
        ("\u201ehttps://example.org/a\u201c", ["https://example.org/a"]),
        ("\xbbhttps://example.org/a\xab", ["https://example.org/a"]),
        ("*https://example.org/a*", ["https://example.org/a"]),
        ("https://example.org/a\u2026", [""]),
        ("https://example.org/größe#§7", ["https://example.org/größe#§7"]),
        ("https://example.org/\u6848", [""]),
        ("https://example.org/a\u3002", [""]),
        ("a=https://example.org/?a=1&amp;b#c", ["https://example.org/?a=1&amp;b#c"]),
        ("xhttps://example.org/", []),
        ("https:// http://. ftp://x", []),
        ("https://a/\nhttps://b/\r\nhttps://c/", ["https://a/", "https://b/", "https://c/"]),
        ("", []),
    ],
)
def test_links_end_where_the_address_ends(text: str, values: list[str]) -> None:
    found = scan(text)
    assert [anchor.value for anchor in found] == values
    for anchor in found:
        assert anchor.value in ("", text[anchor.start : anchor.end])


def test_quoted_lines_are_told() -> None:
    text = "https://a/ > https://b/\n> https://c/\n >> x https://d/ https://e/\r\nhttps://f/"
    quoted = {anchor.value: anchor.quoted for anchor in scan(text)}
    assert quoted == {
        "https://a/": False,
        "https://b/": False,
        "https://c/": True,
        "https://d/": True,
        "https://e/": True,
        "https://f/": False,
    }


def test_where_lines_are_joined_an_address_at_the_end_may_be_half_of_one() -> None:
    text = "https://a/ \r\nb https://c/ d \nhttps://e/ \n"
    assert [anchor.value for anchor in scan(text, joined=True)] == ["", "https://c/", ""]
    assert [anchor.value for anchor in scan(text)] == ["https://a/", "https://c/", "https://e/"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n", "signed"),
        (b"Hello\n-----BEGIN PGP MESSAGE-----\n", "encrypted"),
        (b"> -----BEGIN PGP MESSAGE-----\n", None),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", None),
        (b"", None),
    ],
)
def test_openpgp_inside_of_a_text_is_told(text: bytes, told: str | None) -> None:
    assert armour_of(text) == told


PIECES = ["http://", "https://x", "(", ")", "<", ">", ".", "\n", " ", "/", "é", "\u6848", "'", "]"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.booleans())
def test_any_text_is_read(text: str, joined: bool) -> None:
    at = 0
    for anchor in scan(text, joined=joined):
        assert at <= anchor.start < anchor.end <= len(text)
        assert text[anchor.start :].lower().startswith(("http://", "https://"))
        at = anchor.end


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", ["https://x/)", "https://x/ ", ")", ".", "<https://x/\n", "> "])
def test_hostile_text_takes_linear_time(piece: str) -> None:
    scan("https://x/" + piece * (3_000_000 // len(piece)))
