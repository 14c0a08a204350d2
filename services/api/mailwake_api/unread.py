"""How many alerts are unread: of those who listen it is counted on, for their streams ask often."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailwake.contracts import PURPOSE, user_key
from mailwake.register import Register
from mailwake_api.feed import Feed, Item
from mailwake_api.reads import Reads

_NEVER = 1 << 62


@dataclass(slots=True)
class _Count:
    """The ids of a user's unread alerts, and what that rests on.

    Attributes:
        changed: the ids of alerts that came, changed or went since.
        read, denials: what was read and denied then.
        until: when the first of them is too old, in milliseconds.
    """

    changed: set[str]
    ids: set[str] = field(default_factory=set)
    read: frozenset[str] | None = None
    denials: int = -1
    until: int = 0


class UnreadCounts:
    """The unread alerts of every user: those that stand, that no recipient's denial hides and that
    the user has not read."""

    def __init__(self, feed: Feed, reads: Reads, register: Register) -> None:
        self._feed = feed
        self._reads = reads
        self._register = register
        self._counts: dict[bytes, _Count] = {}

    def begin(self, key: bytes) -> None:
        """Counts on for the user of this key until `end`."""
        self._counts[key] = _Count(self._feed.watch(key))

    def end(self, key: bytes) -> None:
        """No longer does."""
        self._feed.unwatch(key)
        del self._counts[key]

    def of(self, tenant: str, user: str, now: int) -> int:
        """How many alerts the user may see and has not read."""
        key = user_key(tenant, user)
        count = self._counts.get(key)
        if count is None:
            count = _Count(set())
        read, denials = self._reads.of(key), self._register.denials
        if count.read is not read or count.denials != denials or now >= count.until:
            count.read, count.denials, count.until = read, denials, _NEVER
            count.ids.clear()
            count.changed.clear()
            self._count(tenant, count, self._feed.standing(key, now))
        elif count.changed:
            count.ids -= count.changed
            items = [self._feed.get(key, alert_id, now) for alert_id in count.changed]
            count.changed.clear()
            self._count(tenant, count, [item for item in items if item is not None])
        return len(count.ids)

    def is_denied(self, tenant: str, item: Item) -> bool:
        """Whether whom it tells of has denied. Who read a body that several share, or one of mode
        anonymous, no alert says, so that of those a denial hides nothing here."""
        if item.recipient_id is None:
            return False
        return self._register.denies(tenant, item.recipient_id, PURPOSE[item.kind])

    def _count(self, tenant: str, count: _Count, items: list[Item]) -> None:
        assert count.read is not None  # noqa: S101 (it is set before)
        for item in items:
            if item.stands and item.alert_id not in count.read and not self.is_denied(tenant, item):
                count.ids.add(item.alert_id)
                count.until = min(count.until, self._feed.ends(item))
