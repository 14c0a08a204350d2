"""What the edge answers: the pixel, the redirect and the pages, made once and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

Message = dict[str, Any]
Headers = Sequence[tuple[bytes, bytes]]


class Answer:
    """An answer in the two forms it is sent in: ASGI's messages, and the bytes on the wire."""

    __slots__ = ("_fields", "_line", "body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self._line = _LINES[status]
        self._fields = fields(headers)

    @property
    def messages(self) -> tuple[Message, Message]:
        """The start and the body, as ASGI has them (HTTP and WebSocket message format, 2.3)."""
        return (
            {"type": "http.response.start", "status": self.status, "headers": list(self.headers)},
            {"type": "http.response.body", "body": self.body},
        )

    def wire(self, more: bytes, *, head: bool) -> bytes:
        """The answer as HTTP/1.1 sends it (RFC 9112, 2.1), with further lines of fields; `head`
        leaves the body out (RFC 9110, 9.3.2)."""
        body = b"" if head else self.body
        return b"".join((self._line, more, self._fields, b"\r\n", body))


def fields(headers: Headers) -> bytes:
    """Header fields as lines (RFC 9112, 5)."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])


_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}

# One transparent pixel. Source: Graphics Interchange Format, Version 89a (CompuServe, 1990); the
# numbers are its sections.
PIXEL_GIF = bytes.fromhex(
    "474946383961"  # 17 header: "GIF89a"
    "0100 0100 80 00 00"  # 18 screen: 1 × 1, a colour table of two entries, background 0, no aspect
    "000000 ffffff"  # 19 the colour table: 0 is black, 1 is white
    "21f9 04 01 0000 00 00"  # 23 graphic control: colour 0 is transparent, no delay
    "2c 0000 0000 0100 0100 00"  # 20 image: at 0,0, 1 × 1, no colour table of its own
    "02 02 4401 00"  # 22 data: codes of 3 bits, the lowest first: clear (4), colour 0, end (5)
    "3b"  # 27 trailer
)

# `no-store` says it all (RFC 9111, 5.2.2.5); the rest is for image proxies and caches that know
# only the older words. An answer that is kept is an open that nobody hears of.
_PIXEL_CACHING = b"no-store, no-cache, must-revalidate, private, max-age=0"

# The token is in the address of the page the reader comes from, should a program take the redirect
# for a page; no target is to see it.
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_STORE = (b"cache-control", b"no-store")

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
</main>
</body>
</html>
"""


def _answer(status: int, content_type: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    length = b"%d" % len(body)
    return Answer(
        status, [(b"content-type", content_type), (b"content-length", length), *headers], body
    )


def _page(status: int, title: str, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    return _answer(
        status,
        b"text/html; charset=utf-8",
        _PAGE.format(title=title, text=text).encode(),
        (b"content-security-policy", b"default-src 'none'"),
        _NO_REFERRER,
        _NO_STORE,
        *headers,
    )


PIXEL = _answer(200, b"image/gif", PIXEL_GIF, (b"cache-control", _PIXEL_CACHING))
NO_LINK = _page(
    404,
    "This link leads nowhere",
    "It may have been cut short on its way to you. Try it again from the message it came in, or "
    "ask whoever sent the message.",
)
NOT_FOUND = _page(404, "Nothing is here", "The address may have been mistyped.")
NOT_ALLOWED = _page(
    405,
    "This is not possible here",
    "Pixels and links can be fetched, and nothing else.",
    (b"allow", b"GET, HEAD"),
)
NO_BODY: Message = {"type": "http.response.body", "body": b""}
"""The body of an answer to HEAD."""

_REDIRECT = b"This link leads on to another address.\n"
_REDIRECT_HEADERS = [
    (b"content-type", b"text/plain"),
    (b"content-length", b"%d" % len(_REDIRECT)),
    _NO_STORE,
    _NO_REFERRER,
]

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def redirect(target: str) -> Answer:
    """The redirect to a target that `leads_out` allows."""
    return Answer(302, [(b"location", location(target)), *_REDIRECT_HEADERS], _REDIRECT)


def leads_out(target: str) -> bool:
    """Whether a target is one that a link may lead to: http or https, and nothing else."""
    return target[:8].lower().startswith(("https://", "http://"))


def location(target: str) -> bytes:
    """The value of Location for a target: its very bytes wherever a header can hold them.

    What is not visible ASCII (spaces, controls, so also line ends, and letters beyond ASCII) is
    percent-encoded as UTF-8, as RFC 3987, section 3.1 maps an IRI to a URI. So is a host beyond
    ASCII, which browsers decode again and turn into its IDNA form (URL Standard, 4.3): Python's own
    IDNA is that of 2003, to which "straße.example" is another host.
    """
    if target.isascii() and target.isprintable() and " " not in target:
        return target.encode("ascii")
    return quote(target, safe=_VISIBLE, errors="replace").encode("ascii")
