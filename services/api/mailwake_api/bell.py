"""The bell: the topics `alerts` and `alert_reads` followed, and those who listen woken.

Every process follows all partitions, so that any of them answers for any user.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator

from mailwake.contracts import ALERT, ALERT_READS, Alert, AlertReads, user_key
from mailwake.following import Follower
from mailwake.ids import now_ms
from mailwake.metrics import API_ALERTS_KEPT, API_READERS
from mailwake.register import Register
from mailwake.settings import Settings
from mailwake.topics import registry
from mailwake_api.connection import Connection
from mailwake_api.feed import Feed, Item, Place
from mailwake_api.locks import Locks
from mailwake_api.problems import Problem, unavailable
from mailwake_api.reads import Reads
from mailwake_api.unread import UnreadCounts

PER_USER = 200
"""So many alerts of a user the bell shows at most."""
MOST_READERS = 10_000
MOST_READERS_OF_A_USER = 20
"""So many may listen at once to one process."""

_ATTEMPTS = 10


class Bell:
    """One for a process. Use it within its event loop, between `start` and `stop`.

    Attributes:
        closing: whether those who listen are to go to another process.
    """

    def __init__(self, settings: Settings, register: Register, connection: Connection) -> None:
        self._register = register
        self._connection = connection
        self._locks = Locks()
        self._feed = Feed(
            PER_USER, settings.api_alerts, int(registry()["alerts"].config["retention.ms"])
        )
        self._reads = Reads()
        self._unread = UnreadCounts(self._feed, self._reads, register)
        self._alerts: Follower[Alert] = Follower(settings, "alerts", ALERT, self._take_alert)
        self._marks: Follower[AlertReads] = Follower(
            settings, "alert_reads", ALERT_READS, self._take_reads
        )
        self._listening: dict[bytes, set[asyncio.Event]] = {}
        self._listeners = 0
        self.closing = False

    def start(self) -> None:
        """Begins to follow the topics; returns at once."""
        self._alerts.start()
        self._marks.start()

    def close(self) -> None:
        """Has all who listen end."""
        self.closing = True
        for woken in self._listening.values():
            for each in woken:
                each.set()

    async def stop(self) -> None:
        """Ends following."""
        self.close()
        await asyncio.gather(self._alerts.stop(), self._marks.stop())

    @property
    def known(self) -> bool:
        """Whether all is known that decides what is shown; before, nothing may be concluded."""
        followed = self._alerts.caught_up.is_set() and self._marks.caught_up.is_set()
        return followed and self._register.known

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when the bell knows all that was written before this call, by anybody.

        Raises UnavailableError when that does not come about in time.
        """
        await asyncio.gather(
            self._alerts.current(within_s),
            self._marks.current(within_s),
            self._register.current(within_s),
        )

    def shown(self, tenant: str, user: str) -> list[Item]:
        """The alerts the user may see, newest first."""
        items = self._feed.of(user_key(tenant, user), now_ms())
        return [item for item in items if item.stands and not self._unread.is_denied(tenant, item)]

    def since(self, tenant: str, user: str, after: Place, here: Place) -> list[Item]:
        """Those that were told, told anew or withdrawn between two places, in that order."""
        # Of a topic that is made anew the old one's alerts may stand farther on.
        return [
            item
            for item in self._feed.since(user_key(tenant, user), after, now_ms())
            if item.offset < here.offset
            and (item.stands or item.withdrawn)
            and not self._unread.is_denied(tenant, item)
        ]

    def read(self, tenant: str, user: str) -> frozenset[str]:
        """The ids of the alerts that the user has read."""
        return self._reads.of(user_key(tenant, user))

    def unread(self, tenant: str, user: str) -> int:
        """How many alerts the user may see and has not read."""
        return self._unread.of(tenant, user, now_ms())

    def here(self, tenant: str, user: str) -> Place:
        """The place that the user's alerts have come to."""
        return Place(*self._alerts.reached(user_key(tenant, user)))

    def lost(self, tenant: str, user: str, after: Place, here: Place) -> bool:
        """Whether the user's alerts between two places cannot be told in full: some are left out,
        or the topic has other partitions, or was made anew."""
        elsewhere = after.partition != here.partition or after.offset > here.offset
        return elsewhere or self._feed.missed(user_key(tenant, user), after)

    async def reach(self, tenant: str, user: str, after: Place) -> None:
        """Waits until this process has come as far as the one that told the reader of this place.
        Raises UnavailableError."""
        if after.offset > self.here(tenant, user).offset:
            await self._alerts.current()

    async def mark(self, tenant: str, user: str, alert_ids: Collection[str]) -> None:
        """Marks alerts as read; unknown ids are passed over. Returns when it is written, and no
        other writer has undone it. Raises UnavailableError; then some may be marked."""
        key = user_key(tenant, user)
        async with self._locks.of(key):
            await self._marks.current()
            with self._reads.watching(key) as seen:
                for _ in range(_ATTEMPTS):
                    standing = {item.alert_id for item in self._feed.standing(key, now_ms())}
                    wanted = seen.union(self._reads.of(key), alert_ids) & standing
                    if wanted <= self._reads.of(key):
                        return
                    reads = AlertReads(tenant, user, now_ms(), sorted(wanted))
                    await self._connection.write("alert_reads", [(key, ALERT_READS.encode(reads))])
                    await self._marks.current()
        raise unavailable("others mark the same alerts all the time; try again")

    def make_room(self, tenant: str, user: str) -> None:
        """Raises Problem when nobody more can listen."""
        if self.closing or self._listeners >= MOST_READERS:
            raise unavailable("this process has as many readers as it takes; try again")
        if len(self._listening.get(user_key(tenant, user), ())) >= MOST_READERS_OF_A_USER:
            raise Problem(
                429,
                "too_many_streams",
                f"a user has {MOST_READERS_OF_A_USER} streams at most; close one",
                {"Retry-After": "30"},
            )

    @contextlib.contextmanager
    def listening(self, tenant: str, user: str) -> Iterator[asyncio.Event]:
        """Gives an event that is set whenever something of the user's has changed."""
        key, woken = user_key(tenant, user), asyncio.Event()
        if key not in self._listening:
            self._listening[key] = set()
            self._unread.begin(key)
        self._listening[key].add(woken)
        self._listeners += 1
        API_READERS.set(self._listeners)
        try:
            yield woken
        finally:
            self._listening[key].discard(woken)
            if not self._listening[key]:
                del self._listening[key]
                self._unread.end(key)
            self._listeners -= 1
            API_READERS.set(self._listeners)

    def _take_alert(self, key: bytes, alert: Alert | None) -> None:
        # The user is whom the alert names: a record with another key tells nobody else of it.
        if alert is None:
            return
        owner = user_key(alert.tenant, alert.user)
        if self._feed.take(owner, alert, *self._alerts.place, now_ms()):
            API_ALERTS_KEPT.set(self._feed.size)
            self._wake(owner)

    def _take_reads(self, key: bytes, reads: AlertReads | None) -> None:
        self._reads.take(key, reads)
        self._wake(key)

    def _wake(self, key: bytes) -> None:
        for woken in self._listening.get(key, ()):
            woken.set()
