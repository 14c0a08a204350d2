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
UNREAD_EVERY_S = 0.5
"""How many are unread is counted, and told, no more often: at once, and once more when many came in
between."""
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
        told, tell_at, beat_at = -1, 0.0, 0.0
        while not bell.closing:
            woken.clear()
            here = bell.here(tenant, user)
            news: list[bytes] = []
            if bell.lost(tenant, user, self._after, here):
                API_RESYNCS.inc()
                self._after = here
                news.append(_event("resync", b"{}", here))
            items = bell.since(tenant, user, self._after, here)
            read = bell.read(tenant, user)
            for item in items[:AT_ONCE]:
                self._after = item.told
                API_ALERTS_STREAMED.inc()
                news.append(_event("alert", msgspec.json.encode(shown(item, read)), item.told))
            if len(items) > AT_ONCE:
                yield b"".join(news)
                continue
            self._after = here  # nothing is left to be told
            now = loop.time()
            if now >= tell_at:
                unread, tell_at = bell.unread(tenant, user), now + UNREAD_EVERY_S
                if unread != told:
                    told = unread
                    news.append(_event("unread", msgspec.json.encode(Unread(unread)), here))
                wake_at = ends
            else:
                wake_at = min(ends, tell_at)
            if not news and now >= beat_at:
                news.append(b":\nid: %s\n\n" % str(here).encode())
            if news:
                beat_at = now + HEARTBEAT_S
                yield b"".join(news)
            if now >= ends:
                return
            waking = loop.call_at(min(wake_at, beat_at), woken.set)
            try:
                await woken.wait()
            finally:
                waking.cancel()


def _event(name: str, data: bytes, place: Place) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (str(place).encode(), name.encode(), data)


async def _gone(receive: Receive) -> None:
    """Returns when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
