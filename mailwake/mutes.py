"""The mails that their senders muted: the topic `mutes`, followed in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from mailwake.contracts import MUTE, RETENTION_DAYS, Mute, mute_key
from mailwake.following import Follower
from mailwake.settings import Settings

_DAY_MS = 86_400_000
_LEAST = 1024


class Mutes:
    """One for a process. Use it within its event loop, between `start` and `stop`.

    A mail is tracked for `RETENTION_DAYS` at the most and muted after it was sent; a mute that is
    older is forgotten, since nothing can alert of its mail any more. So memory holds what was muted
    in that time, about 200 bytes each.

    Attributes:
        follower: of the topic, for who must know several topics to their ends at once.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._muted: dict[bytes, int] = {}
        self._look_again = _LEAST
        self.follower = Follower(settings, "mutes", MUTE, self.take)

    def start(self) -> None:
        """Begins to follow the topic; returns at once."""
        self.follower.start()

    async def stop(self) -> None:
        """Ends following; what is known stays."""
        await self.follower.stop()

    @property
    def known(self) -> bool:
        """Whether the topic has been read once; before, nothing may be concluded."""
        return self.follower.caught_up.is_set()

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when all is known that was muted before this call, by anybody.

        Raises UnavailableError when that does not come about in time.
        """
        await self.follower.current(within_s)

    def muted(self, tenant: str, user: str, message_id: str) -> bool:
        """Whether a user wants no alerts of a mail."""
        return self._muted.get(mute_key(tenant, user, message_id), -1) >= self._oldest()

    def take(self, key: bytes, mute: Mute | None) -> None:
        """Notes a record of the topic."""
        if mute is None:
            self._muted.pop(key, None)
            return
        self._muted[key] = mute.at
        if len(self._muted) >= self._look_again:
            oldest = self._oldest()
            self._muted = {key: at for key, at in self._muted.items() if at >= oldest}
            self._look_again = max(2 * len(self._muted), _LEAST)

    def __len__(self) -> int:
        return len(self._muted)

    def _oldest(self) -> int:
        return int(self._clock() * 1000) - RETENTION_DAYS * _DAY_MS
