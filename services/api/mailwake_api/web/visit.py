"""One look at a page, as its handler sees it, and what a page is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailwake_api.bearer import Caller
from mailwake_api.call import Call, Handler, Parts
from mailwake_api.problems import Problem, misfit
from mailwake_api.web import frame
from mailwake_api.web.clock import Clock
from mailwake_api.web.sessions import Session, Sessions

T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """What all pages work with."""

    parts: Parts
    sessions: Sessions


@dataclass(frozen=True)
class Visit:
    """One request for a page.

    Attributes:
        session: who looks; None on pages that anybody may see.
        form: the fields of the form that was sent.
    """

    tools: Tools
    request: Request
    session: Session | None
    clock: Clock
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        """What the API's handlers work with."""
        return self.tools.parts

    @property
    def who(self) -> Session:
        """Who looks, on a page for users."""
        assert self.session is not None  # noqa: S101 (the site lets nobody else in)
        return self.session

    @property
    def caller(self) -> Caller:
        """The same, as the API's handlers know it."""
        return self.who.caller

    async def ask(
        self, handler: Handler, kind: type[T], *, asked: Any = None, body: Any = None
    ) -> T:
        """What a handler of the API answers to this user, without HTTP. Raises Problem.

        A page shows what the API says and nothing else; so it cannot show more than the API would.
        """
        answer = await self.answer(handler, asked=asked, body=body)
        return msgspec.json.decode(bytes(answer.body), type=kind)

    async def answer(self, handler: Handler, *, asked: Any = None, body: Any = None) -> Response:
        """The same, as the answer itself."""
        # What the browser says about pages it holds is not about this.
        kept = [each for each in self.request.scope["headers"] if each[0] == b"last-event-id"]
        scope = {**self.request.scope, "headers": kept}
        request = Request(scope, self.request.receive)
        return await handler(Call(self.parts, request, self.caller, _held(asked), _held(body)))

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page for whoever looks."""
        token = self.tools.sessions.form_token(self.session) if self.session else ""
        values = {
            "session": self.session,
            "token": token,
            "clock": self.clock,
            "path": self.request.url.path,
            "unread": self._unread(),
            **values,
        }
        if self.request.headers.get("x-part") == "main":
            values["layout"] = "part.html"
        else:
            values["layout"] = "layout.html"
        return frame.page(template, status, **values)

    def _unread(self) -> int:
        if self.session is None or not self.parts.bell.known:
            return 0
        return self.parts.bell.unread(self.session.tenant, self.session.sub)

    def go(self, path: str) -> Response:
        """To another page, after a form."""
        return RedirectResponse(path, 303, dict(frame.HEADERS))

    def word(self, name: str, most: int = 256) -> str:
        """A parameter of the query; empty without it, or when it is longer than `most`."""
        value = self.request.query_params.get(name, "").strip()
        return value if len(value) <= most else ""


def _held(value: Any) -> Any:
    """The same, held to what its contract allows, as what comes by HTTP is. Raises Problem."""
    if value is None:
        return None
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes,))
        return msgspec.convert(plain, type(value))
    except msgspec.ValidationError as error:
        raise Problem(422, "query", f"this does not fit: {misfit(error)}") from None


View = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page: where it is, and what makes it.

    Attributes:
        name: its label in metrics and logs.
        anybody: whether it is shown to whoever is not signed in.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    view: View
    anybody: bool = False


def none_of_yours() -> Problem:
    """There is no such page, or not for this user."""
    return Problem(404, "no_such_page", "There is no such page, or it is not yours to see.")
