"""The pages as routes: who looks is found out, forms are checked, errors become pages.

What happens to a request, in this order: the cookie tells who looks; whoever is not signed in is
led to the sign-in page; a form must come from our own pages and carry its token; the view answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mailwake_api.app import NAME, read_body
from mailwake_api.call import Parts
from mailwake_api.problems import Problem, problem_of
from mailwake_api.web import clock, signing_in
from mailwake_api.web.clock import Clock
from mailwake_api.web.frame import HEADERS
from mailwake_api.web.origin import from_here
from mailwake_api.web.sessions import Sessions
from mailwake_api.web.statics import statics
from mailwake_api.web.visit import Page, Tools, Visit, none_of_yours

log = logging.getLogger("mailwake.api.web")

MOST_FORM_BYTES = 2_000_000
MOST_FIELDS = 64


class Site:
    """All pages, with what they need."""

    def __init__(self, pages: Iterable[Page], parts: Parts) -> None:
        self._tools = Tools(parts, Sessions(parts.keyring))
        self._by_path: dict[str, dict[str, Page]] = {}
        for page in pages:
            self._by_path.setdefault(page.path, {})[page.method] = page

    def routes(self) -> list[Route]:
        """The routes, to stand beside the API's."""
        return [
            Route("/static/{name}", statics().answer),
            *(Route(path, _Address(self._tools, views)) for path, views in self._by_path.items()),
        ]


class _Address:
    """All that can be done at one path."""

    def __init__(self, tools: Tools, pages: dict[str, Page]) -> None:
        self._tools = tools
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        page = self._pages.get(method)
        session = self._tools.sessions.read(
            request.cookies.get(signing_in.cookie_name(self._tools.parts.settings), "")
        )
        visit = Visit(
            self._tools, request, session, Clock(request.cookies.get(clock.COOKIE, "UTC"))
        )
        if page is None:
            return _fault(visit, Problem(405, "method", "This page cannot be asked for this."))
        request.scope[NAME] = f"web_{page.name}"
        if session is None and not page.anybody:
            return _to_sign_in(request)
        try:
            if method == "POST":
                visit = await self._with_form(visit, page)
            return await page.view(visit)
        except ClientDisconnect:
            raise
        except Exception as error:
            return _fault(visit, problem_of(error, page.name, log))

    async def _with_form(self, visit: Visit, page: Page) -> Visit:
        request = visit.request
        if not from_here(request.headers, self._tools.parts.settings.withdrawal_url):
            raise Problem(403, "elsewhere", "This form was not sent from a page of Mailwake.")
        form = await _form(request)
        # Signing in needs none: there may be no session yet, or one of somebody else.
        if not page.anybody and not self._tools.sessions.form_fits(
            visit.who, form.get("token", "")
        ):
            raise Problem(403, "old_form", "This form is from before you signed in; load it again.")
        return Visit(visit.tools, request, visit.session, visit.clock, form)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises Problem."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/x-www-form-urlencoded":
        raise Problem(415, "media_type", "This is no form.")
    data = await read_body(request, MOST_FORM_BYTES)
    try:
        pairs = parse_qsl(
            data.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except (ValueError, UnicodeDecodeError):
        raise Problem(400, "no_form", "This is no form in UTF-8.") from None
    return {name: value.replace("\x00", "") for name, value in pairs}


def _to_sign_in(request: Request) -> Response:
    if request.method == "GET" and "x-part" not in request.headers:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/signin?next={quote(wanted, safe='')}", 303, dict(HEADERS))
    return Response(None, 401, dict(HEADERS))


def _fault(visit: Visit, problem: Problem) -> Response:
    if problem.code == "not_found":
        problem = none_of_yours()
    answer = visit.page("fault.html", problem.status, problem=problem)
    for name in ("Retry-After", "Allow"):
        if name in problem.headers:
            answer.headers[name] = problem.headers[name]
    return answer
