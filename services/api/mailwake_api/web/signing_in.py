"""Signing in, by a one-time link or a bearer token, and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

from mailwake.settings import Settings
from mailwake_api.bearer import Caller
from mailwake_api.problems import Problem
from mailwake_api.web.frame import sentence
from mailwake_api.web.sessions import SESSION_S
from mailwake_api.web.visit import Visit

HOME = "/mail"


def cookie_name(settings: Settings) -> str:
    """The session's cookie. Over https its prefix binds it to the host and to https (RFC 6265bis);
    a browser takes such a one nowhere else."""
    return "__Host-mailwake" if secure(settings) else "mailwake_session"


async def home(visit: Visit) -> Response:
    """`/`: the mail."""
    return visit.go(HOME)


async def show(visit: Visit) -> Response:
    """`GET /signin`: how to sign in."""
    if visit.session is not None:
        return visit.go(after(visit.word("next", 2000)))
    return visit.page("signin.html", next=visit.word("next", 2000), wrong="", link=None)


async def with_token(visit: Visit) -> Response:
    """`POST /signin`: with a bearer token."""
    try:
        caller = visit.parts.bearer.caller(f"Bearer {visit.form.get('bearer', '').strip()}")
        if caller.role == "platform":
            raise Problem(403, "role", "a platform has no mailbox; the token must be a user's")
    except Problem as problem:
        wrong = sentence(problem.detail)
        return visit.page(
            "signin.html", problem.status, next=visit.form.get("next", ""), wrong=wrong, link=None
        )
    return _signed_in(visit, caller)


async def show_link(visit: Visit) -> Response:
    """`GET /signin/{link}`: whom the link signs in. The button uses it, a mere look does not."""
    caller = visit.tools.sessions.whose(visit.request.path_params["link"])
    if caller is None:
        if visit.session is not None:
            return visit.go(HOME)
        return _no_link(visit)
    return visit.page("signin.html", next="", wrong="", link=caller)


async def with_link(visit: Visit) -> Response:
    """`POST /signin/{link}`: with the link."""
    caller = visit.tools.sessions.redeem(visit.request.path_params["link"])
    return _no_link(visit) if caller is None else _signed_in(visit, caller)


async def out(visit: Visit) -> Response:
    """`POST /signout`."""
    answer = visit.go("/signin")
    settings = visit.parts.settings
    answer.delete_cookie(
        cookie_name(settings), secure=secure(settings), httponly=True, samesite="lax"
    )
    return answer


def after(wanted: str) -> str:
    """Where to go after signing in: a page of ours, never elsewhere."""
    parts = urlsplit(wanted) if wanted.isascii() and wanted.isprintable() else None
    ours = parts is not None and not parts.scheme and not parts.netloc
    if not ours or not wanted.startswith("/") or wanted.startswith(("//", "/signin")):
        return HOME
    return HOME if "\\" in wanted else wanted


def _signed_in(visit: Visit, caller: Caller) -> Response:
    settings = visit.parts.settings
    answer = visit.go(after(visit.form.get("next", "")))
    answer.set_cookie(
        cookie_name(settings),
        visit.tools.sessions.begin(caller),
        max_age=SESSION_S,
        secure=secure(settings),
        httponly=True,
        samesite="lax",
    )
    return answer


def _no_link(visit: Visit) -> Response:
    wrong = "This sign-in link was used already, or is too old. Ask for a new one."
    return visit.page("signin.html", 403, next="", wrong=wrong, link=None)


def secure(settings: Settings) -> bool:
    """Whether the pages are reached over https, so that cookies go no other way."""
    return settings.withdrawal_url.startswith("https:")
