"""All webhooks, followed in memory: the compacted topic `webhooks`."""

from __future__ import annotations

from mailwake.following import Follower
from mailwake.settings import Settings
from mailwake.webhook import WEBHOOK, Webhook, webhook_key


class Webhooks:
    """One for a process. Use it within its event loop, between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._known: dict[bytes, Webhook] = {}
        self._of: dict[tuple[str, str | None], dict[bytes, Webhook]] = {}
        self._follower: Follower[Webhook] = Follower(settings, "webhooks", WEBHOOK, self.take)

    def start(self) -> None:
        """Begins to follow the topic; returns at once."""
        self._follower.start()

    async def stop(self) -> None:
        """Ends following."""
        await self._follower.stop()

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when all is known that was written before this call. Raises UnavailableError."""
        await self._follower.current(within_s)

    def get(self, tenant: str, webhook_id: str) -> Webhook | None:
        """One webhook."""
        return self._known.get(webhook_key(tenant, webhook_id))

    def of(self, tenant: str, user: str | None) -> list[Webhook]:
        """A user's webhooks, or with None those of the whole tenant, the oldest first."""
        return sorted(self._of.get((tenant, user), {}).values(), key=_age)

    def of_tenant(self, tenant: str) -> list[Webhook]:
        """All webhooks in a tenant, whosesoever, the oldest first."""
        return sorted((each for each in self._known.values() if each.tenant == tenant), key=_age)

    def take(self, key: bytes, webhook: Webhook | None) -> None:
        """Takes a record of the topic; None is a tombstone."""
        before = self._known.pop(key, None)
        if before is not None:
            owner = before.tenant, before.user
            del self._of[owner][key]
            if not self._of[owner]:
                del self._of[owner]
        if webhook is not None and key == webhook_key(webhook.tenant, webhook.webhook_id):
            self._known[key] = webhook
            self._of.setdefault((webhook.tenant, webhook.user), {})[key] = webhook


def _age(webhook: Webhook) -> tuple[int, str]:
    return webhook.created_at, webhook.webhook_id
