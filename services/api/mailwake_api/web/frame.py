"""From a template and its values to an answer: escaping, and the header fields of every page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from mailwake_api.web.clock import span
from mailwake_api.web.statics import statics

_ALWAYS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # Not no-referrer: with it a browser hides the Origin of a form, which is checked.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    **_ALWAYS,
}
"""The header fields of a page for senders: nothing from elsewhere is loaded or run, nothing is
kept."""


def plain_headers(style: str) -> dict[str, str]:
    """Those of a page made by `plain`: nothing at all is loaded or run."""
    digest = base64.b64encode(hashlib.sha256(_source(style).encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",  # the address may be an authority
        **_ALWAYS,
    }


def text(template: str, **values: Any) -> str:
    """A template with its values, which are escaped."""
    return _templates().get_template(template).render(**values)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """The same as an answer."""
    return HTMLResponse(text(template, **values), status, dict(HEADERS))


def plain(template: str, style: str, **values: Any) -> str:
    """A page without script, whose style, a file beside the templates, stands in it."""
    return text(template, style=Markup(_source(style)), **values)  # noqa: S704 (a file of ours)


@cache
def _source(name: str) -> str:
    return (files("mailwake_api.web") / "templates" / name).read_text("utf-8")


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("mailwake_api.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals["static"] = statics().url
    found.filters |= {
        "span": span, "site": site, "initials": initials, "href": href, "hue": hue,
        "percent": percent, "number": number, "sentence": sentence,
        "segment": lambda text: quote(text, safe=""),
    }  # fmt: skip
    return found


def site(url: str) -> str:
    """What tells people where a link leads: the host and the path, without what follows."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if not parts.netloc:
        return url
    path = parts.path.rstrip("/")
    return (parts.hostname or "").removeprefix("www.") + path


def href(url: str) -> str:
    """An address to be followed; empty for what is none of the web, such as a script."""
    return url if url.lower().startswith(("https://", "http://")) else ""


def initials(name: str) -> str:
    """One or two letters that stand for somebody."""
    words = [word for word in name.split("@")[0].replace(".", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in (words if len(words) < 3 else [words[0], words[-1]])).upper()


def hue(text: str) -> int:
    """One of eight colours, the same for the same text."""
    return sum(text.encode()) % 8


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


def percent(part: float, whole: float) -> str:
    """A share; a dash of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def number(count: float) -> str:
    """A number with thin spaces between thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")
