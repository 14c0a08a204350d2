"""What users prefer, followed in memory: the topic `preferences`."""

from __future__ import annotations

import logging

from mailwake.contracts import PREFERENCE, Preference, user_key
from mailwake.errors import UnavailableError
from mailwake.following import Follower
from mailwake.settings import Settings

log = logging.getLogger("mailwake.notifier")


class Preferences:
    """The switches of all users. Use it within its event loop, between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._known: dict[bytes, Preference] = {}
        self._follower = Follower(settings, "preferences", PREFERENCE, self._take)

    def start(self) -> None:
        """Begins to follow the topic; returns at once."""
        self._follower.start()

    async def stop(self) -> None:
        """Ends following."""
        await self._follower.stop()

    async def current(self) -> None:
        """Returns when all is known that was set before this call; waits for Kafka to come back."""
        while True:
            try:
                await self._follower.current()
                return
            except UnavailableError as error:
                log.warning("alerts wait for what users prefer: %s", error)

    def of(self, tenant: str, user: str) -> Preference:
        """A user's switches; all on where none were ever set."""
        return self._known.get(user_key(tenant, user)) or Preference(tenant, user, at=0)

    def _take(self, key: bytes, preference: Preference | None) -> None:
        if preference is None:
            self._known.pop(key, None)
        else:
            self._known[key] = preference
