"""How many attempts run at once: in all, of a tenant, and of a webhook; and when the rest come.

What finds no place is not kept in memory for long: it waits for a moment where a place is about to
be free, and else in a retry topic, until the time that its webhook, at its own pace, should come to
it. So an endpoint that hangs holds a few connections, and no alert of anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

MOST = 512
MOST_OF_A_TENANT = 48
MOST_OF_A_WEBHOOK = 8

WAIT_S = 2.0
"""So long an attempt waits in memory for its place at the most."""
MOST_WAITING = 5_000
LATEST_S = 1800.0
"""What is put off is asked for again after so long at the latest."""
_SOONEST_S = 1.0
_USUAL_S = 0.1
_OVERBOOKED = 2
"""So many are asked to come for one place: who finds none takes a later turn, and the turn that it
had would stay empty."""
_MEMORY = 0.25
"""How much the last attempt counts in the time that a webhook is thought to take."""
_FORGET_S = 3600.0


@dataclass
class _Webhook:
    """One webhook.

    Attributes:
        takes_s: how long its attempts took, of late.
        began: when those that are running began (monotonic seconds), the oldest first.
        free_at: when it should come to what is put off next (monotonic seconds).
        rests_until: nothing is sent to it before (monotonic seconds).
    """

    used_at: float
    takes_s: float = _USUAL_S
    began: dict[object, float] = field(default_factory=dict)
    free_at: float = 0.0
    rests_until: float = 0.0
    places: int = 0
    waiting: deque[asyncio.Future[bool]] = field(default_factory=deque)


class Pace:
    """The places of one process. Use it within one event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._webhooks: dict[bytes, _Webhook] = {}
        self._of_tenants: dict[str, int] = {}
        self._swept_at = clock()
        self.running = 0
        self._waiting = 0

    def rest(self, key: bytes, seconds: float) -> None:
        """Has a webhook be left alone for so long."""
        webhook = self._of(key)
        webhook.rests_until = max(webhook.rests_until, self._clock() + seconds)

    def resting_s(self, key: bytes) -> float:
        """For how long a webhook is still to be left alone; 0 when it is not."""
        known = self._webhooks.get(key)
        return 0.0 if known is None else max(known.rests_until - self._clock(), 0.0)

    @contextlib.asynccontextmanager
    async def place(self, tenant: str, key: bytes) -> AsyncIterator[bool]:
        """Gives whether there is a place, which is held as long as this lasts."""
        webhook = self._of(key)
        if not await self._come_to(tenant, webhook):
            yield False
            return
        began, attempt = self._clock(), object()
        webhook.began[attempt] = began
        try:
            yield True
        finally:
            del webhook.began[attempt]
            took = self._clock() - began
            webhook.takes_s += (took - webhook.takes_s) * _MEMORY
            webhook.used_at = self._clock()
            self._leave(tenant, webhook)

    def put_off_s(self, key: bytes) -> float:
        """After how many seconds what found no place is to come again; each time a later place of
        the webhook's, one every so often as its attempts come to an end."""
        webhook, now = self._of(key), self._clock()
        webhook.free_at = max(webhook.free_at, now + _SOONEST_S)
        wait = webhook.free_at - now
        if wait < LATEST_S:
            webhook.free_at += self._takes_s(webhook) / MOST_OF_A_WEBHOOK / _OVERBOOKED
        return min(wait, LATEST_S)

    async def _come_to(self, tenant: str, webhook: _Webhook) -> bool:
        """Takes a place, now or in a moment; gives whether there was one."""
        full = self.running >= MOST or self._of_tenants.get(tenant, 0) >= MOST_OF_A_TENANT
        if not full and webhook.places < MOST_OF_A_WEBHOOK:
            self._take(tenant, webhook)
            return True
        ahead = len(webhook.waiting) + 1
        if full or ahead * self._takes_s(webhook) / MOST_OF_A_WEBHOOK > WAIT_S:
            return False
        if self._waiting >= MOST_WAITING:
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        webhook.waiting.append(turn)
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                await turn
        except TimeoutError:
            return turn.done() and not turn.cancelled()  # it may have come at the same time
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave(tenant, webhook)
            raise
        finally:
            self._waiting -= 1
            with contextlib.suppress(ValueError):
                webhook.waiting.remove(turn)
        return True

    def _takes_s(self, webhook: _Webhook) -> float:
        """How long an attempt takes: also one that has not ended yet tells of it."""
        oldest = next(iter(webhook.began.values()), self._clock())
        return max(webhook.takes_s, self._clock() - oldest)

    def _take(self, tenant: str, webhook: _Webhook) -> None:
        self.running += 1
        self._of_tenants[tenant] = self._of_tenants.get(tenant, 0) + 1
        webhook.places += 1

    def _leave(self, tenant: str, webhook: _Webhook) -> None:
        while webhook.waiting:
            turn = webhook.waiting.popleft()
            if not turn.done():
                turn.set_result(True)  # the place goes on to it
                return
        self.running -= 1
        webhook.places -= 1
        self._of_tenants[tenant] -= 1
        if not self._of_tenants[tenant]:
            del self._of_tenants[tenant]

    def _of(self, key: bytes) -> _Webhook:
        now = self._clock()
        if now - self._swept_at > _FORGET_S:
            self._swept_at = now
            self._webhooks = {
                known: webhook
                for known, webhook in self._webhooks.items()
                if webhook.places
                or webhook.waiting
                or max(webhook.used_at, webhook.rests_until, webhook.free_at) > now - _FORGET_S
            }
        webhook = self._webhooks.get(key)
        if webhook is None:
            webhook = self._webhooks[key] = _Webhook(now)
        webhook.used_at = now
        return webhook
