"""What a mail program does with a mail it got: loads its images, follows a link.

It knows nothing of Mailwake: all it has is the message, and what HTML in it points to.
"""

from __future__ import annotations

import email.policy
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage, Message
from html.parser import HTMLParser
from http.client import HTTPResponse
from typing import IO

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.4.0"
"""As Thunderbird calls itself: a program on the reader's own machine."""
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back: status, type and length of the body, where a redirect leads."""

    status: int
    content_type: str
    length: int
    location: str


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img" and given.get("src"):
            self.images.append(given["src"] or "")
        elif tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")


def references(message: bytes) -> tuple[list[str], list[str]]:
    """The addresses of the images and of the links in a message's HTML, in their order."""
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    found = _References()
    for part in parsed.walk():
        if isinstance(part, EmailMessage) and part.get_content_type() == "text/html":
            found.feed(part.get_content())
    return found.images, found.links


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message,
        newurl: str,
    ) -> None:  # fmt: skip
        """None: the redirect is the answer."""


def fetch(url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
    """Requests an address once; a redirect is not followed. Raises OSError."""
    opener = urllib.request.build_opener(_StayHere, urllib.request.ProxyHandler({}))
    told = {"User-Agent": AGENT, **(headers or {})}
    request = urllib.request.Request(url, headers=told, method=method)  # noqa: S310
    try:
        response: HTTPResponse | urllib.error.HTTPError = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        body = response.read()
        return Answer(
            response.status or 0,
            response.headers.get("Content-Type", ""),
            len(body),
            response.headers.get("Location", ""),
        )
