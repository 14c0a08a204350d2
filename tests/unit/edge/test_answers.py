"""The answers: the pixel's bytes, the pages, and what a Location may hold."""

from __future__ import annotations

import struct
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailwake_edge.answers import (
    NO_LINK,
    NOT_ALLOWED,
    NOT_FOUND,
    PIXEL,
    PIXEL_GIF,
    Answer,
    leads_out,
    location,
    redirect,
)


def headers(answer: Answer) -> dict[bytes, bytes]:
    listed = answer.headers
    assert len(dict(listed)) == len(listed), "a header stands twice"
    return dict(listed)


def test_the_pixel_is_one_transparent_pixel() -> None:
    """Read as the GIF89a specification says, block by block."""
    data = PIXEL_GIF
    assert len(data) == 43
    assert data[:6] == b"GIF89a"
    width, height, packed, background, aspect = struct.unpack("<HHBBB", data[6:13])
    assert (width, height, background, aspect) == (1, 1, 0, 0)
    assert packed & 0x80, "a global colour table follows"
    colours = 2 << (packed & 7)
    at = 13 + 3 * colours
    assert data[at : at + 3] == b"\x21\xf9\x04", "a graphic control extension"
    flags, delay, transparent, end = struct.unpack("<BHBB", data[at + 3 : at + 8])
    assert (flags & 1, delay, transparent, end) == (1, 0, 0, 0)
    at += 8
    assert struct.unpack("<BHHHHB", data[at : at + 10]) == (0x2C, 0, 0, 1, 1, 0)
    minimum, size = data[at + 10 : at + 12]
    codes = int.from_bytes(data[at + 12 : at + 12 + size], "little")
    clear = 1 << minimum
    bits = minimum + 1
    mask = (1 << bits) - 1
    assert [codes >> bits * n & mask for n in range(3)] == [clear, transparent, clear + 1]
    assert data[at + 12 + size :] == b"\x00\x3b"


def test_the_pixel_is_not_kept_by_anyone() -> None:
    assert PIXEL.status == 200
    assert headers(PIXEL) == {
        b"content-type": b"image/gif",
        b"content-length": b"43",
        b"cache-control": b"no-store, no-cache, must-revalidate, private, max-age=0",
    }


@pytest.mark.parametrize("answer", [PIXEL, NO_LINK, NOT_FOUND, NOT_ALLOWED, redirect("http://a/")])
def test_every_answer_is_whole_and_sets_no_cookie(answer: Answer) -> None:
    start, body = answer.messages
    assert start["type"] == "http.response.start"
    assert body["type"] == "http.response.body"
    assert int(headers(answer)[b"content-length"]) == len(body["body"])
    assert b"no-store" in headers(answer)[b"cache-control"]
    assert b"set-cookie" not in headers(answer)


@pytest.mark.parametrize("answer", [NO_LINK, NOT_FOUND, NOT_ALLOWED])
def test_a_page_can_be_read_by_anyone_and_loads_nothing(answer: Answer) -> None:
    """A language, a title, one heading, a landmark; no script, no style, no address."""
    seen: dict[str, list[dict[str, str | None]]] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.setdefault(tag, []).append(dict(attrs))

    Reader().feed(answer.body.decode())
    assert seen["html"] == [{"lang": "en"}]
    assert len(seen["title"]) == len(seen["h1"]) == len(seen["main"]) == 1
    assert not {"script", "style", "link", "img", "iframe", "a"} & set(seen)
    assert not any({"src", "href", "style"} & set(tag) for tags in seen.values() for tag in tags)
    assert headers(answer)[b"content-security-policy"] == b"default-src 'none'"


def test_a_redirect_leads_to_the_very_target_and_names_no_referrer() -> None:
    target = "https://example.com/a%20b/?q=1&r=%C3%BC;x='\"<>[]{}|\\^`#frag"
    answer = redirect(target)
    assert answer.status == 302
    assert headers(answer)[b"location"] == target.encode()
    assert headers(answer)[b"referrer-policy"] == b"no-referrer"
    assert headers(answer)[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://example.com/a b", b"https://example.com/a%20b"),
        ("https://example.com/\r\nSet-Cookie: a=b", b"https://example.com/%0D%0ASet-Cookie:%20a=b"),
        ("https://example.com/\x00\x7f\t", b"https://example.com/%00%7F%09"),
        ("https://example.com/ü?q=日", b"https://example.com/%C3%BC?q=%E6%97%A5"),
        ("https://straße.example/", b"https://stra%C3%9Fe.example/"),
        ("https://example.com/\u2028\u0085", b"https://example.com/%E2%80%A8%C2%85"),
    ],
)
def test_what_a_header_cannot_hold_is_percent_encoded(target: str, expected: bytes) -> None:
    assert location(target) == expected


@pytest.mark.fault(23)
@given(st.text(min_size=1))
@example("\r\n")
@example(" \t\x0b\x0c\x1c\x85\xa0\u2028")
def test_no_target_gives_anything_but_itself(rest: str) -> None:
    """Only visible ASCII, nothing lost, nothing decoded; and no other host than before."""
    target = f"https://example.com/{rest}"
    value = location(target)
    assert all(0x21 <= byte <= 0x7E for byte in value)
    assert unquote(value.decode()) == unquote(target)
    assert urlsplit(value.decode()).hostname == "example.com"


@given(st.text(), st.booleans())
def test_on_the_wire_an_answer_is_what_its_messages_say(rest: str, head: bool) -> None:
    answer = redirect(f"https://example.com/{rest}")
    start, body = answer.messages
    status_line, *lines = answer.wire(b"date: now\r\n", head=head).split(b"\r\n")
    assert status_line == b"HTTP/1.1 302 Found"
    assert lines[-2:] == [b"", b"" if head else body["body"]]
    told = [tuple(line.split(b": ", 1)) for line in lines[:-2]]
    assert told == [(b"date", b"now"), *start["headers"]]


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_visible_ascii_stays_byte_for_byte(target: str) -> None:
    assert location(target) == target.encode("ascii")


@pytest.mark.parametrize("target", ["http://a/", "https://a/", "HTTPS://a/", "http://"])
def test_links_lead_to_the_web(target: str) -> None:
    assert leads_out(target)


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    "target",
    ["", "javascript:alert(1)", "data:text/html,x", "//a/", "/a", "mailto:a@b.example", "ftp://a/",
     " https://a/", "\thttp://a/", "https:a", "https:/a", "https:\\\\a", "httpss://a", "http"],
)  # fmt: skip
def test_links_lead_nowhere_else(target: str) -> None:
    assert not leads_out(target)
