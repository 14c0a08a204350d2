"""The newest alerts of every user in memory, and where in the topic they stand."""

from __future__ import annotations

import heapq
import re
from collections import deque
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct

from mailwake.contracts import ALERT, PERSON, Alert, Kind

_PLACE = re.compile(r"([0-9]{1,9})-([0-9]{1,19})")


class Place(NamedTuple):
    """How far the records of a user have been told of: up to this offset, which is not among them.

    They stand in one partition, in an order that is the same for every process. Only when the topic
    gets more partitions do they go on in another.
    """

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"

    @staticmethod
    def read(text: str) -> Place | None:
        """The place that a text names; None when it is none."""
        found = _PLACE.fullmatch(text)
        return Place(int(found[1]), int(found[2])) if found else None


class Item(Struct, frozen=True, gc=False):
    """The latest revision of one alert.

    Attributes:
        partition, offset: of the record that told of this revision first.
        stands: whether it is told: its verdict is a person's, and it is not withdrawn.
        withdrawn: whether those who were told of it are to be told that it does not stand.
        data: the alert itself, encoded, which takes a third of the memory.
    """

    alert_id: str
    revision: int
    at: int
    partition: int
    offset: int
    kind: Kind
    recipient_id: str | None
    stands: bool
    withdrawn: bool
    data: bytes

    @property
    def told(self) -> Place:
        """How far the user's records are told of when this one is."""
        return Place(self.partition, self.offset + 1)

    @property
    def rank(self) -> tuple[int, str]:
        """Where it stands among the user's alerts: the larger the newer."""
        return self.at, self.alert_id


_RANK = attrgetter("at", "alert_id")


class _Box:
    """The alerts of one user, as they were told last, and up to where some that were told are left
    out."""

    __slots__ = ("_ranks", "items", "lost")

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.lost: Place | None = None
        self._ranks: list[tuple[int, str]] = []

    def put(self, item: Item) -> None:
        """Puts in the latest revision of an alert, as the last that was told."""
        self.items.pop(item.alert_id, None)
        self.items[item.alert_id] = item
        if len(self._ranks) >= 2 * len(self.items):
            self._ranks = []
        elif self._ranks:
            heapq.heappush(self._ranks, item.rank)

    def oldest(self) -> Item:
        """The oldest alert; there must be one. Takes no longer the more there are: the first call
        makes a heap of all ranks, which later ones find all but in order."""
        if not self._ranks:
            self._ranks = [item.rank for item in self.items.values()]
            heapq.heapify(self._ranks)
        while True:
            rank = self._ranks[0]
            item = self.items.get(rank[1])
            if item is not None and item.rank == rank:
                return item
            heapq.heappop(self._ranks)  # of an alert that went, or of an earlier revision


class Feed:
    """The newest alerts of every user.

    It comes out the same in whatever order and however often alerts are told, as long as a later
    revision is not of an earlier time; only what is left out at `most` depends on the order.
    """

    def __init__(self, per_user: int, most: int, keep_ms: int) -> None:
        """Keeps up to `per_user` alerts of a user and `most` of all, none older than `keep_ms`."""
        self._per_user = per_user
        self._most = most
        self._keep_ms = keep_ms
        self._boxes: dict[bytes, _Box] = {}
        self._watched: dict[bytes, set[str]] = {}
        self._arrived: deque[tuple[bytes, str, int]] = deque()
        self._lost: dict[int, int] = {}
        self.size = 0

    def take(self, key: bytes, alert: Alert, partition: int, offset: int, now: int) -> bool:
        """Takes an alert of the user of this key from its record; whether it changed anything."""
        if alert.at <= now - self._keep_ms:
            return False
        box = self._boxes.get(key)
        known = box.items.get(alert.alert_id) if box else None
        if known is not None and known.revision >= alert.revision:
            return False
        if box is None:
            box = self._boxes[key] = _Box()
        item = Item(
            alert.alert_id,
            alert.revision,
            alert.at,
            partition,
            offset,
            alert.kind,
            alert.recipient_id,
            alert.verdict in PERSON and not alert.withdrawn,
            alert.withdrawn,
            ALERT.encode(alert),
        )
        if known is None and len(box.items) >= self._per_user:
            oldest = box.oldest()
            if item.rank < oldest.rank:
                return False
            self._drop(key, box, oldest.alert_id)
            box.lost = max(box.lost or oldest.told, oldest.told)
        box.put(item)
        self._changed(key, item.alert_id)
        self.size += known is None
        self._arrived.append((key, item.alert_id, item.offset))
        self._forget(now)
        return True

    def watch(self, key: bytes) -> set[str]:
        """A set that gets the ids of a user's alerts that come, change or go, until `unwatch`."""
        return self._watched.setdefault(key, set())

    def unwatch(self, key: bytes) -> None:
        """Ends what `watch` began."""
        del self._watched[key]

    def ends(self, item: Item) -> int:
        """When an alert is too old to be kept, in milliseconds."""
        return item.at + self._keep_ms

    def get(self, key: bytes, alert_id: str, now: int) -> Item | None:
        """An alert of a user, if there is one."""
        box = self._boxes.get(key)
        item = box.items.get(alert_id) if box else None
        return item if item is not None and item.at > now - self._keep_ms else None

    def standing(self, key: bytes, now: int) -> list[Item]:
        """A user's alerts, in no order."""
        box = self._boxes.get(key)
        oldest = now - self._keep_ms
        return [item for item in box.items.values() if item.at > oldest] if box else []

    def of(self, key: bytes, now: int) -> list[Item]:
        """A user's alerts, newest first."""
        return sorted(self.standing(key, now), key=_RANK, reverse=True)

    def since(self, key: bytes, after: Place, now: int) -> list[Item]:
        """A user's alerts that were told, or told anew, after a place, in that order."""
        box, items = self._boxes.get(key), []
        for item in reversed(box.items.values()) if box else ():
            if item.partition == after.partition:
                if item.offset < after.offset:
                    break
                if item.at > now - self._keep_ms:
                    items.append(item)
        items.reverse()
        return items

    def missed(self, key: bytes, after: Place) -> bool:
        """Whether something that was told after a place may be left out."""
        if after.offset < self._lost.get(after.partition, 0):
            return True
        box = self._boxes.get(key)
        lost = box.lost if box else None
        return lost is not None and lost.partition == after.partition and lost > after

    def _changed(self, key: bytes, alert_id: str) -> None:
        watched = self._watched.get(key)
        if watched is not None:
            watched.add(alert_id)

    def _drop(self, key: bytes, box: _Box, alert_id: str) -> None:
        del box.items[alert_id]
        self.size -= 1
        self._changed(key, alert_id)

    def _forget(self, now: int) -> None:
        """Lets go of what is too old, and of what arrived first when there is too much."""
        oldest = now - self._keep_ms
        while self._arrived:
            key, alert_id, offset = self._arrived[0]
            box = self._boxes.get(key)
            item = box.items.get(alert_id) if box else None
            if box and item and item.offset == offset:
                full = self.size > self._most
                if not full and item.at > oldest:
                    break
                if full:
                    lost = self._lost.get(item.partition, 0)
                    self._lost[item.partition] = max(lost, offset + 1)
                self._drop(key, box, alert_id)
                if not box.items:
                    del self._boxes[key]
            self._arrived.popleft()
        if len(self._arrived) > 2 * max(self.size, 1000):
            self._arrived = deque(arrival for arrival in self._arrived if self._stands(*arrival))

    def _stands(self, key: bytes, alert_id: str, offset: int) -> bool:
        box = self._boxes.get(key)
        item = box.items.get(alert_id) if box else None
        return item is not None and item.offset == offset
