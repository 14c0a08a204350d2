"""What a hit keeps of a request's headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

AGENT_MOST = 512
REFERER_MOST = 256
PURPOSE_MOST = 64

_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")

# Unicode's controls, and what breaks a line in some readers.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 6454: scheme, host, port; `android-app` is what Android mail programs send. Not the user part.
_ORIGIN = re.compile(
    r"(https?|android-app)://(?:[^/?#@\s]*@)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(?![^/?#])",
    re.IGNORECASE,
)


def keep(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str, str]:
    """Agent, referer and purpose; names of headers are in lower case, as ASGI has them."""
    found = dict(headers)
    purpose = b""
    for name in _PURPOSES:
        if name in found:
            purpose = found[name]
            break
    return (
        clean(found.get(b"user-agent", b""), AGENT_MOST),
        origin(found[b"referer"]) if b"referer" in found else "",
        clean(purpose, PURPOSE_MOST) if purpose else "",
    )


@lru_cache(4096)
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
