"""The edge as an ASGI application.

Pixels and links are answered by a plain function, because they are nearly every request and
routing costs more than they do; whatever else comes goes on to a small Starlette application.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from msgspec import structs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailwake.contracts import Hit
from mailwake.ids import HitStream, now_ms
from mailwake.logs import about
from mailwake.metrics import EDGE_HITS, EDGE_REFUSED, EDGE_WITHHELD
from mailwake.service import Status
from mailwake.tokens import MAX_TEXT, Reason, Token, TokenError
from mailwake_edge.answers import (
    NO_BODY,
    NO_LINK,
    NOT_ALLOWED,
    NOT_FOUND,
    PIXEL,
    Answer,
    leads_out,
    redirect,
)
from mailwake_edge.client import Clients
from mailwake_edge.headers import keep
from mailwake_edge.withdrawn import Withdrawn

log = logging.getLogger("mailwake.edge")

Kind = Literal["open", "click"]
Refusal = Literal[Reason, "too_long", "wrong_kind", "target", "method", "domain"]
"""Why a request gave no hit: what is wrong with the token, or

too_long: the address is longer than any of ours; wrong_kind: the token of a pixel as a link, or the
other way round; target: the link leads to neither http nor https; method: neither GET nor HEAD;
domain: it came to another tenant's own address.
"""

_KINDS: dict[str, Kind] = {"/o/": "open", "/c/": "click"}
QUICK = tuple(_KINDS)
"""What the paths begin with that are answered without waiting for anything."""
_MOST = len("/o/") + MAX_TEXT
_Asked = list[tuple[Token, Scope]]


class Safe(asyncio.Future[None]):
    """What the answers of one turn wait for: that their hits are safe.

    Attributes:
        make: makes the hits now. Who runs the requests of a turn one after the other may call it
            behind the last of them; the event loop does so in the next turn.
    """

    def __init__(self, make: Callable[[], None]) -> None:
        super().__init__()
        self.make = make


class Edge:
    """Answers `GET` and `HEAD` of `/o/{token}` and `/c/{token}`, and gives the hits to `put`.

    `open_token` opens tokens (`Keyring.open`). `put` takes hits in the order of their numbers and
    a function to call when they are safe; it must neither block nor raise. `withdrawn` says whose
    hits are not kept; such a request is answered as any other. `rest` is the application for
    everything else. `domains` has the hosts that are one tenant's own, each with its tenant.

    Requests that came in one turn of the event loop go together: their tokens are opened and their
    hits made behind the last of them, one kind of work after the other, since code that the
    processor's caches hold runs several times as fast as the same code spread between answers; and
    all are answered when their hits are safe.
    """

    def __init__(
        self,
        open_token: Callable[[str], Token],
        put: Callable[[list[Hit], Callable[[], None]], None],
        clients: Clients,
        withdrawn: Withdrawn,
        rest: ASGIApp,
        *,
        domains: Mapping[str, str] | None = None,
        stream: HitStream | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._open_token = open_token
        self._put = put
        self._place = clients.place
        self._withdrawn = withdrawn
        self._rest = rest
        self._domains = {host.encode(): tenant for host, tenant in (domains or {}).items()}
        self._next_id = (stream or HitStream()).next
        self._clock = clock
        self._pixels: list[Scope] = []
        self._clicks: _Asked = []
        self._safe: Safe | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI 3)."""
        if scope["type"] != "http" or not scope["path"].startswith(QUICK):
            await self._rest(scope, receive, send)
            return
        answer, safe = self.answer(scope)
        if safe is not None:
            await safe
        start, body = answer.messages
        await send(start)
        await send(NO_BODY if scope["method"] == "HEAD" else body)

    def answer(self, scope: Scope) -> tuple[Answer, Safe | None]:
        """The answer to a request whose path is one of `QUICK`, and what it has to wait for."""
        kind, method = _KINDS[scope["path"][:3]], scope["method"]
        if method != "GET" and method != "HEAD":
            EDGE_REFUSED.labels(kind, "method").inc()
            return NOT_ALLOWED, None
        if kind == "open":
            self._pixels.append(scope)
            answer = PIXEL
        else:
            token = self._token("click", scope["path"])
            if token is None or token.target is None or self._is_foreign(token, scope):
                return NO_LINK, None
            self._clicks.append((token, scope))
            answer = redirect(token.target)
        if self._safe is None:
            self._safe = Safe(self._make_hits)
            asyncio.get_running_loop().call_soon(self._make_hits)
        return answer, self._safe

    def _make_hits(self) -> None:
        """Makes the hits of the requests that came in one turn, and hands them on."""
        pixels, clicks, safe = self._pixels, self._clicks, self._safe
        if safe is None:  # they are made already
            return
        self._pixels, self._clicks, self._safe = [], [], None
        answer = partial(_answer, safe)
        try:
            tokens = [self._token("open", scope["path"]) for scope in pixels]
            opens = [(token, scope) for token, scope in zip(tokens, pixels, strict=True) if token]
            if self._domains:
                opens = [each for each in opens if not self._is_foreign(*each)]
            opens, clicks = self._kept("open", opens), self._kept("click", clicks)
            at = self._clock()
            hits = [self._hit(token, scope, at) for token, scope in (*opens, *clicks)]
            self._put(hits, answer)
        except BaseException:
            answer()  # whatever is wrong here, readers get what they asked for
            raise
        if log.isEnabledFor(logging.DEBUG):
            for hit in hits:
                log.debug("a hit", extra=about(hit_id=hit.hit_id, kind=hit.kind))
        EDGE_HITS.labels("open").inc(len(opens))
        EDGE_HITS.labels("click").inc(len(clicks))

    def _kept(self, kind: Kind, asked: _Asked) -> _Asked:
        """What is kept: nothing of a reader who has denied, of a body of several not if any of them
        has; and nothing that identifies anybody as long as it is not known who has."""
        if not self._withdrawn.known:
            identified = sum(token.mode == "identified" for token, _ in asked)
            EDGE_WITHHELD.labels(kind, "unknown").inc(identified)
            return [
                (structs.replace(token, mode="anonymous", recipient=0), scope)
                for token, scope in asked
            ]
        denied = self._withdrawn.of[kind].keys()
        kept = [each for each in asked if denied.isdisjoint(each[0].readers)]
        if len(kept) < len(asked):
            EDGE_WITHHELD.labels(kind, "withdrawn").inc(len(asked) - len(kept))
        return kept

    def _token(self, kind: Kind, path: str) -> Token | None:
        """The token of a path; None, and counted, when it is not one for this kind of request."""
        reason: Refusal
        if len(path) > _MOST:
            reason = "too_long"
        else:
            try:
                token = self._open_token(path[3:])
                if token.kind != kind:
                    reason = "wrong_kind"
                elif token.target is not None and not leads_out(token.target):
                    reason = "target"
                else:
                    return token
            except TokenError as error:
                reason = error.reason
        EDGE_REFUSED.labels(kind, reason).inc()
        return None

    def _is_foreign(self, token: Token, scope: Scope) -> bool:
        """Whether a request came to the address of another tenant than the token's; counted."""
        if not self._domains:
            return False
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        foreign = self._domains.get(host.lower(), token.tenant) != token.tenant
        if foreign:
            EDGE_REFUSED.labels(token.kind, "domain").inc()
        return foreign

    def _hit(self, token: Token, scope: Scope, at: int) -> Hit:
        headers = scope["headers"]
        agent, referer, purpose = keep(headers)
        if token.mode == "identified":
            peer = scope["client"]
            network, asn = self._place(peer[0], headers) if peer else ("", 0)
        else:
            network, asn = "", 0
            agent = referer = ""
        return Hit(
            hit_id=self._next_id(),
            kind=token.kind,
            at=at,
            tenant=token.tenant,
            message_id=token.message_id,
            recipient=token.recipient,
            mode=token.mode,
            method=scope["method"],
            link=token.link,
            target=token.target,
            network=network,
            agent=agent,
            referer=referer,
            purpose=purpose,
            asn=asn,
        )


def _answer(safe: Safe) -> None:
    """Lets the answers go that wait for this."""
    if not safe.done():
        safe.set_result(None)


def rest(status: Status) -> Starlette:
    """Everything but pixels and links: `/health` and `/ready` for the load balancer in front.

    They say yes or no and nothing more, since this port faces the world; the operator's own port
    (`mailwake.service.serve_ops`) has the metrics.
    """

    async def health(request: Request) -> Response:
        return _yes_or_no(status.healthy)

    async def ready(request: Request) -> Response:
        return _yes_or_no(status.takes_work)

    async def not_found(request: Request, error: Exception) -> Response:
        return _response(NOT_FOUND)

    async def not_allowed(request: Request, error: Exception) -> Response:
        return _response(NOT_ALLOWED)

    return Starlette(
        routes=[Route("/health", health), Route("/ready", ready)],
        exception_handlers={404: not_found, 405: not_allowed},
    )


def _yes_or_no(yes: bool) -> Response:
    return PlainTextResponse("yes\n" if yes else "no\n", 200 if yes else 503)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = list(answer.headers)
    return response
