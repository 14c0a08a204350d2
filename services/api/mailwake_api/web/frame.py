"""From a template and its values to an answer: escaping, and the header fields of every page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from mailwake_api.web.clock import span
from mailwake_api.web.statics import Statics

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # Not no-referrer: with it a browser hides the Origin of a form, which is checked.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""The header fields of every page: nothing from elsewhere is loaded or run, nothing is kept."""


class Frame:
    """Renders the templates."""

    def __init__(self, statics: Statics) -> None:
        self._templates = Environment(
            loader=PackageLoader("mailwake_api.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals["static"] = statics.url
        self._templates.filters |= {
            "span": span, "site": site, "initials": initials, "href": href, "hue": hue,
            "percent": percent, "number": number, "segment": lambda text: quote(text, safe=""),
        }  # fmt: skip

    def text(self, template: str, **values: Any) -> str:
        """A template with its values."""
        return self._templates.get_template(template).render(**values)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """The same as an answer."""
        return HTMLResponse(self.text(template, **values), status, dict(HEADERS))


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


def percent(part: float, whole: float) -> str:
    """A share; a dash of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def number(count: float) -> str:
    """A number with thin spaces between thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")
