"""What a hit keeps of a request's headers."""

from __future__ import annotations

import re
from typing import NamedTuple

AGENT_MOST = 512
REFERER_MOST = 256
PURPOSE_MOST = 64

_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
_WANTED = frozenset({b"user-agent", b"referer", b"x-forwarded-for", *_PURPOSES})

# Unicode's controls, and what breaks a line in some readers.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 6454: scheme, host, port; `android-app` is what Android mail programs send. Not the user part.
_ORIGIN = re.compile(
    r"(https?|android-app)://(?:[^/?#@\s]*@)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(?![^/?#])",
    re.IGNORECASE,
)


class Kept(NamedTuple):
    """What is kept; `forwarded` only until the client's network is known."""

    agent: str
    referer: str
    purpose: str
    forwarded: list[bytes]


def keep(headers: list[tuple[bytes, bytes]]) -> Kept:
    """Takes the wanted headers (names are in lower case); the first of each counts."""
    found: dict[bytes, bytes] = {}
    forwarded: list[bytes] = []
    for name, value in headers:
        if name in _WANTED:
            if name == b"x-forwarded-for":
                forwarded.append(value)
            else:
                found.setdefault(name, value)
    if not found:
        return Kept("", "", "", forwarded)
    agent = found.get(b"user-agent")
    referer = found.get(b"referer")
    purpose = next((found[name] for name in _PURPOSES if name in found), None)
    return Kept(
        clean(agent, AGENT_MOST) if agent else "",
        origin(referer) if referer else "",
        clean(purpose, PURPOSE_MOST) if purpose else "",
        forwarded,
    )


def clean(value: bytes, most: int) -> str:
    """A header's value as text of at most `most` characters without control characters.

    Headers are bytes (RFC 9110, 5.5): read as UTF-8, which is what programs send today, and where
    that fails as Latin-1, which never does.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return (text if text.isprintable() else _CONTROLS.sub("", text)).strip()[:most]


def origin(referer: bytes) -> str:
    """The origin of a Referer, `https://mail.example`; empty when it has none we know.

    Path and query may hold anything about the reader, the user part a password; they are left out.
    """
    found = _ORIGIN.match(referer[:1024].decode("latin-1"))
    if found is None:
        return ""
    scheme, host, port = found.groups(default="")
    text = f"{scheme}://{host}{port}".lower()
    return text if len(text) <= REFERER_MOST else ""
