"""What users wish of their alerts, followed in memory: the topics `preferences` and `mutes`."""

from __future__ import annotations

import logging
from typing import Protocol

from mailwake.contracts import PREFERENCE, Event, Preference, user_key
from mailwake.errors import UnavailableError
from mailwake.following import Follower, current
from mailwake.mutes import Mutes
from mailwake.quiet import is_quiet
from mailwake.settings import Settings
from mailwake_notifier.decide import Drop

log = logging.getLogger("mailwake.notifier")


class Wishes(Protocol):
    """What is asked of an event before it alerts; times are milliseconds."""

    def against(self, event: Event, told_at: int) -> Drop | None:
        """Why its user wanted no alert of it when the enricher told of it."""

    def quiet(self, event: Event, told_at: int) -> bool:
        """Whether it was told of in its user's quiet hours."""


class Followed:
    """The wishes of all users. Use it within its event loop, between `start` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._known: dict[bytes, Preference] = {}
        self._follower = Follower(settings, "preferences", PREFERENCE, self._take)
        self._mutes = Mutes(settings)

    def start(self) -> None:
        """Begins to follow the topics; returns at once."""
        self._follower.start()
        self._mutes.start()

    async def stop(self) -> None:
        """Ends following."""
        await self._follower.stop()
        await self._mutes.stop()

    async def current(self) -> None:
        """Returns when all is known that was set before this call; waits for Kafka to come back."""
        while True:
            try:
                await current([self._follower, self._mutes.follower])
                return
            except UnavailableError as error:
                log.warning("alerts wait for what users wish: %s", error)

    def against(self, event: Event, told_at: int) -> Drop | None:
        """Why its user wanted no alert of an event; see `Wishes`."""
        if not wanted(self._of(event), told_at):
            return Drop.NOT_WANTED
        if self._mutes.muted(event.tenant, event.user, event.message_id):
            return Drop.MUTED
        return None

    def quiet(self, event: Event, told_at: int) -> bool:
        """Whether it was told of in quiet hours; see `Wishes`."""
        return is_quiet(self._of(event).quiet, told_at)

    def _of(self, event: Event) -> Preference:
        """A user's switches; all on where none were ever set."""
        known = self._known.get(user_key(event.tenant, event.user))
        return known or Preference(event.tenant, event.user, at=0)

    def _take(self, key: bytes, preference: Preference | None) -> None:
        if preference is None:
            self._known.pop(key, None)
        else:
            self._known[key] = preference


def wanted(preference: Preference, told_at: int) -> bool:
    """Whether the user wanted alerts when the enricher told of an event (milliseconds).

    Before the last switch it was the other way. A replay says the same as long as the user has not
    switched again; the switches before the last are not known any more, and events of their time
    are judged by the state before the last.
    """
    return preference.notifications == (told_at >= preference.notifications_at)
