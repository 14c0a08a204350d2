"""Whether a form comes from our own pages: what the browser says of it, and the form's token.

Two checks, each enough against a form on another site (OWASP, Cross-Site Request Forgery
Prevention): the fields that a page cannot set, and a token that it cannot know. The cookie is
SameSite=Lax besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def from_here(headers: Mapping[str, str], public_url: str) -> bool:
    """Whether the browser says that a POST comes from a page of ours.

    `public_url` is where people reach the pages; the Host of the request is taken too, for they may
    be reached otherwise. Every browser sends Origin with a POST; one that does not is refused.
    """
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    try:
        origin = urlsplit(headers.get("origin", ""))
        port = origin.port
    except ValueError:
        return False
    if origin.scheme not in ("http", "https") or not origin.hostname:
        return False
    del port  # only to see that it is one
    ours = urlsplit(public_url)
    if (origin.scheme, origin.netloc.lower()) == (ours.scheme, ours.netloc.lower()):
        return True
    return origin.netloc.lower() == headers.get("host", "").lower()
