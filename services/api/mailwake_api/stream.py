"""A user's alerts as they come: Server-Sent Events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

A reader is a place in the topic and no more: what it has not taken yet stands in the feed, which
all share. One that takes nothing costs the buffer of its connection until it is cut off, and when
the feed has gone on without it, it is told to read the list again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailwake.contracts import User
from mailwake.errors import UnavailableError
from mailwake.metrics import API_ALERTS_STREAMED, API_RESYNCS
from mailwake_api.alerts import Unread, shown
from mailwake_api.bell import Bell
from mailwake_api.call import Call
from mailwake_api.feed import Place
from mailwake_api.preferences import ForUser
from mailwake_api.problems import Problem

HEARTBEAT_S = 15.0
"""After so long without a word a comment is sent, so that nobody on the way hangs up."""
LIFE_S = 600.0
"""After so long a stream ends, and its reader goes on where it stood: with a token that holds."""
AT_ONCE = 10
"""So many alerts, mostly some kilobytes, are sent before it is seen whether they are taken."""

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx


class Resuming(ForUser, frozen=True, forbid_unknown_fields=True):
    """Whose alerts, and from where on.

    Attributes:
        user: named by a token of role platform, and by no other.
        last_event_id: in place of the field `Last-Event-ID`, for a browser's first connection.
    """

    last_event_id: str | None = None


async def stream(call: Call) -> Response:
    """The user's alerts from now on, or from where the reader stood."""
    asked: Resuming = call.asked
    tenant, user, bell = call.caller.tenant, call.user(asked.user), call.parts.bell
    if not bell.known:
        raise UnavailableError("the alerts are not read from Kafka yet")
    bell.make_room(tenant, user)
    last = call.request.headers.get("last-event-id") or asked.last_event_id
    after = bell.here(tenant, user)
    if last:
        known = Place.read(last)
        if known is None:
            raise Problem(422, "last_event_id", "`Last-Event-ID` is none of ours")
        await bell.reach(tenant, user, known)
        after = known
    if call.request.method == "HEAD":
        return Response(None, headers=_HEADERS, media_type="text/event-stream")
    return _Stream(bell, tenant, user, after)


class _Stream(Response):
    """The answer that goes on."""

    def __init__(self, bell: Bell, tenant: str, user: User, after: Place) -> None:
        super().__init__(None, headers=_HEADERS, media_type="text/event-stream")
        del self.headers["content-length"]
        self._bell = bell
        self._tenant = tenant
        self._user = user
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the reader goes, or its time is over."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with self._bell.listening(self._tenant, self._user) as woken:
            await send(start)
            sending = asyncio.create_task(self._send(send, woken))
            gone = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                gone.cancel()
                await asyncio.gather(sending, gone, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send, woken: asyncio.Event) -> None:
        async for data in self._events(woken):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self, woken: asyncio.Event) -> AsyncIterator[bytes]:
        bell, tenant, user = self._bell, self._tenant, self._user
        loop = asyncio.get_running_loop()
        ends = loop.time() + LIFE_S * random.uniform(0.8, 1.2)  # noqa: S311 (so that not all end at once)
        yield b"retry: %d\n\n" % random.randint(1000, 4000)  # noqa: S311
        told: int | None = None
        while not bell.closing:
            woken.clear()
            if bell.lost(tenant, user, self._after):
                API_RESYNCS.inc()
                self._after = bell.here(tenant, user)
                yield _event("resync", b"{}", self._after)
            items = bell.since(tenant, user, self._after)[:AT_ONCE]
            if items:
                read = bell.read(tenant, user)
                self._after = items[-1].told
                API_ALERTS_STREAMED.inc(len(items))
                yield b"".join(
                    _event("alert", msgspec.json.encode(shown(item, read)), item.told)
                    for item in items
                )
                continue
            self._after = bell.here(tenant, user)  # nothing is left to be told
            unread = bell.unread(tenant, user)
            if unread != told:
                told = unread
                yield _event("unread", msgspec.json.encode(Unread(unread)), self._after)
            left = ends - loop.time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(min(left, HEARTBEAT_S)):
                    await woken.wait()
            except TimeoutError:
                yield b":\nid: %s\n\n" % str(self._after).encode()


def _event(name: str, data: bytes, place: Place) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (str(place).encode(), name.encode(), data)


async def _gone(receive: Receive) -> None:
    """Returns when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
