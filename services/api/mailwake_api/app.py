"""The API as an ASGI application, made of the list of endpoints.

What happens to a call, in this order: its path and method are looked up; the token tells who calls,
and whether they may; the query and the body are read into what the endpoint takes; the handler
answers. Every error on the way is a problem (RFC 9457).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailwake.metrics import API_REQUESTS, API_SECONDS
from mailwake_api.bearer import Caller
from mailwake_api.call import Call, Endpoint, Parts, Who
from mailwake_api.problems import Problem, misfit, problem_of

log = logging.getLogger("mailwake.api")
access = logging.getLogger("mailwake.api.access")

BODY_DEADLINE_S = 60.0
"""A body that is not whole after so long is given up."""

_ROLES: dict[Who, tuple[str, ...]] = {
    "public": (),
    "user": ("user", "admin", "platform"),
    "admin": ("admin",),
    "admin_or_platform": ("admin", "platform"),
}
_NOBODY = Caller("-", "-")
NAME = "mailwake.endpoint"
"""Where a request's scope says which endpoint or page it is, for metrics and logs."""


def make_app(endpoints: Iterable[Endpoint], parts: Parts, pages: Sequence[Route] = ()) -> ASGIApp:
    """The application: the endpoints and the web pages, observed."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = [Route(path, _Resource(methods, parts)) for path, methods in by_path.items()]
    return _Observed(Router([*routes, *pages], redirect_slashes=False, default=_not_found))


class _Resource:
    """All that can be done at one path."""

    def __init__(self, methods: dict[str, Endpoint], parts: Parts) -> None:
        self._methods = methods
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return  # nobody is there to be answered
        if response.status_code in (401, 403, 413):
            # The body may not have been read, and is not to be taken for the next request.
            response.headers["Connection"] = "close"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._methods.get(method)
        if endpoint is None:
            allowed = ", ".join([*self._methods, *(("HEAD",) if "GET" in self._methods else ())])
            return Problem(
                405, "method", f"this address takes {allowed}", {"Allow": allowed}
            ).response()
        request.scope[NAME] = endpoint.name
        try:
            caller = self._caller(endpoint, request)
            asked = _asked(endpoint, request)
            body = await _body(endpoint, request, self._parts.settings.api_max_bytes)
            return await endpoint.handler(Call(self._parts, request, caller, asked, body))
        except ClientDisconnect:
            raise
        except Exception as error:
            return problem_of(error, endpoint.name, log).response()

    def _caller(self, endpoint: Endpoint, request: Request) -> Caller:
        if endpoint.who == "public":
            return _NOBODY
        caller = self._parts.bearer.caller(request.headers.get("authorization"))
        roles = _ROLES[endpoint.who]
        if caller.role not in roles:
            raise Problem(
                403, "role", f"this needs a token of role {' or '.join(roles)}, not {caller.role}"
            )
        return caller


def _asked(endpoint: Endpoint, request: Request) -> Any:
    if endpoint.asks is None:
        return None
    pairs = request.query_params.multi_items()
    values = dict(pairs)
    if len(values) < len(pairs):
        raise Problem(422, "query", "a parameter stands twice in the query")
    try:
        return msgspec.convert(values, endpoint.asks, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(422, "query", f"the query does not fit: {misfit(error)}") from None


async def _body(endpoint: Endpoint, request: Request, most: int) -> Any:
    """The body as the endpoint takes it. Raises Problem."""
    if endpoint.takes is None and not endpoint.also_takes:
        return None
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    as_bytes = media in endpoint.also_takes or endpoint.takes is None
    if not as_bytes and media != "application/json":
        taken = " or ".join(["application/json", *endpoint.also_takes])
        raise Problem(415, "media_type", f"send the body with `Content-Type: {taken}`")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "encoding", "send the body uncompressed")
    data = await read_body(request, min(most, endpoint.most_bytes or most))
    if as_bytes:
        return data
    try:
        return _decoder(endpoint).decode(data)
    except msgspec.ValidationError as error:
        raise Problem(422, "body", f"the body does not fit: {misfit(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "not_json", "the body is no JSON in UTF-8") from None


async def read_body(request: Request, most: int) -> bytes:
    """The body, of at most so many bytes. Raises Problem."""
    too_large = Problem(413, "too_large", f"the body may have at most {most} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise too_large
                pieces.append(piece)
    except TimeoutError:
        raise Problem(
            408, "slow", "the body did not come in time", {"Connection": "close"}
        ) from None
    return b"".join(pieces)


@cache
def _decoder(endpoint: Endpoint) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(endpoint.takes)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(404, "no_such_path", "nothing stands at this address; /docs lists what does")
    await problem.response()(scope, receive, send)


class _Observed:
    """Counts and times every call, and writes a line of each: the endpoint's name in place of the
    address, which may hold a token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        answered = started
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - started
            name = scope.get(NAME, "none")
            API_REQUESTS.labels(name, str(status)).inc()
            # To the beginning of the answer: a stream has no end to wait for.
            API_SECONDS.labels(name).observe((answered - started) if status else seconds)
            access.info("%s %d %.1f ms", name, status, seconds * 1000)
