"""When each webhook last took a message, by the topic `webhook_deliveries`."""

from __future__ import annotations

from mailwake.following import Follower
from mailwake.settings import Settings
from mailwake.webhook import DELIVERY, Delivery, webhook_key


class Successes:
    """Known to every process, whichever of them delivered. Use it between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._last: dict[bytes, int] = {}
        self._follower: Follower[Delivery] = Follower(
            settings, "webhook_deliveries", DELIVERY, self._take
        )

    def start(self) -> None:
        """Begins to follow the topic; returns at once."""
        self._follower.start()

    async def stop(self) -> None:
        """Ends following."""
        await self._follower.stop()

    async def last(self, key: bytes) -> int:
        """When the webhook of this key last took a message, in milliseconds; 0 where it took none
        that is known. Raises UnavailableError."""
        await self._follower.current(60)
        return self._last.get(key, 0)

    def _take(self, _: bytes, delivery: Delivery | None) -> None:
        if delivery is not None and delivery.state == "delivered" and delivery.attempts:
            key = webhook_key(delivery.tenant, delivery.webhook_id)
            self._last[key] = max(self._last.get(key, 0), delivery.attempts[-1].at)
