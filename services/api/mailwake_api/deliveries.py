"""What became of messages for webhooks: the topic `webhook_deliveries`, its newest in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from mailwake.following import Follower
from mailwake.ids import now_ms
from mailwake.settings import Settings
from mailwake.topics import registry
from mailwake.webhook import DELIVERY, Delivery, webhook_key

PER_WEBHOOK = 50
"""So many deliveries of a webhook are kept."""
MOST = 50_000
"""So many are kept in all, about a kilobyte each; of the webhook that was quiet longest the oldest
go first."""
_SWEEP_MS = 3_600_000


class Deliveries:
    """One for a process. Use it within its event loop, between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        # By webhook and by delivery, each in the order in which it was last told of.
        self._kept: dict[bytes, dict[str, tuple[int, bytes]]] = {}
        self._awaited: dict[str, asyncio.Future[Delivery]] = {}
        self._keep_ms = int(registry()["webhook_deliveries"].config["retention.ms"])
        self._swept_at = now_ms()
        self._size = 0
        self._follower: Follower[Delivery] = Follower(
            settings, "webhook_deliveries", DELIVERY, self.take
        )

    def start(self) -> None:
        """Begins to follow the topic; returns at once."""
        self._follower.start()

    async def stop(self) -> None:
        """Ends following."""
        await self._follower.stop()

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when all is known that was written before this call. Raises UnavailableError."""
        await self._follower.current(within_s)

    def of(self, tenant: str, webhook_id: str) -> list[Delivery]:
        """The last deliveries of a webhook, the one that was last told of first."""
        since = now_ms() - self._keep_ms
        kept = self._kept.get(webhook_key(tenant, webhook_id), {}).values()
        return [DELIVERY.decode(data) for at, data in reversed(kept) if at > since]

    def get(self, tenant: str, webhook_id: str, delivery_id: str) -> Delivery | None:
        """One of them."""
        found = self._kept.get(webhook_key(tenant, webhook_id), {}).get(delivery_id)
        if found is None or found[0] <= now_ms() - self._keep_ms:
            return None
        return DELIVERY.decode(found[1])

    @contextlib.contextmanager
    def awaited(self, delivery_id: str) -> Iterator[asyncio.Future[Delivery]]:
        """Gives what is told next of a delivery."""
        told = self._awaited[delivery_id] = asyncio.get_running_loop().create_future()
        try:
            yield told
        finally:
            del self._awaited[delivery_id]

    def take(self, _: bytes, delivery: Delivery | None) -> None:
        """Takes a record of the topic."""
        if delivery is None:
            return
        told = self._awaited.get(delivery.delivery_id)
        if told is not None and not told.done():
            told.set_result(delivery)
        at = delivery.attempts[-1].at if delivery.attempts else delivery.made_at
        if at <= now_ms() - self._keep_ms:
            return
        key = webhook_key(delivery.tenant, delivery.webhook_id)
        kept = self._kept.pop(key, {})
        self._kept[key] = kept
        self._size -= kept.pop(delivery.delivery_id, None) is not None
        kept[delivery.delivery_id] = at, DELIVERY.encode(delivery)
        self._size += 1
        if len(kept) > PER_WEBHOOK:
            self._let_go(key)
        if self._size > MOST:
            self._let_go(next(iter(self._kept)))
        if now_ms() - self._swept_at > _SWEEP_MS:
            self._sweep()

    def _let_go(self, key: bytes) -> None:
        kept = self._kept[key]
        del kept[next(iter(kept))]
        self._size -= 1
        if not kept:
            del self._kept[key]

    def _sweep(self) -> None:
        """Lets go of what the topic has let go of."""
        self._swept_at = now_ms()
        since = self._swept_at - self._keep_ms
        self._kept = {
            key: left
            for key, kept in self._kept.items()
            if (left := {each: told for each, told in kept.items() if told[0] > since})
        }
        self._size = sum(map(len, self._kept.values()))
