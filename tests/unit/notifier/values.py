"""Events of one mail with everything filled in but what a test is about, and a notifier's partition
that is told of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailwake import ids
from mailwake.contracts import ALERT, EVENT, Alert, Event
from mailwake_notifier.decide import Drop, Times
from mailwake_notifier.settling import Partition

NOW = 1_790_000_000_000
MESSAGE = "2" * 32
TIMES = Times()
EVER = 1 << 60


def event(number: int = 0, **given: Any) -> Event:
    """A browser's first open by its number; a click when `link` is given."""
    kind = "click" if given.get("link") is not None else "open"
    hit_id = f"{number:032x}"
    values: dict[str, Any] = {
        "event_id": ids.event_id(hit_id, kind),
        "revision": 1,
        "hit_id": hit_id,
        "kind": kind,
        "at": NOW,
        "tenant": "acme",
        "user": "u-1",
        "message_id": MESSAGE,
        "recipient": 1,
        "recipient_count": 1,
        "mode": "identified",
        "verdict": "human",
        "reasons": ["no_machine_sign"],
        "first": True,
        "sent_at": NOW - 60_000,
        "score": 100,
        "rules_version": 1,
    }
    return Event(**(values | given))


@dataclass
class Wish:
    """What all users wish."""

    against_all: Drop | None = None
    hours: range = field(default_factory=lambda: range(0))

    def against(self, event: Event, told_at: int) -> Drop | None:
        return self.against_all

    def quiet(self, event: Event, told_at: int) -> bool:
        return told_at in self.hours


class Told:
    """A partition that is told of events, a record each time, and what it has told of them."""

    def __init__(self, wish: Wish | None = None, times: Times = TIMES) -> None:
        self.partition = Partition(wish or Wish(), times, 0)
        self.alerts: list[Alert] = []
        self.dropped: list[Drop] = []
        self.offset = 0

    def take(self, at: int, *events: Event) -> list[Alert]:
        """Takes a record of a time, counted from `NOW`; gives what is told then."""
        value = EVENT.encode_many([*events])
        taken = self.partition.take(self.offset, NOW + at, value, NOW + at)
        self.offset += 1
        assert self.partition._acts == sum(map(len, self.partition._known.values()))
        self.dropped += taken.dropped.elements()
        self.alerts += taken.alerts
        return [*taken.alerts]

    def settle(self, at: int = EVER - NOW) -> list[Alert]:
        """What is told when no more comes until a time, counted from `NOW`."""
        alerts = self.partition.settle(NOW + at)
        self.alerts += alerts
        return alerts


def last(alerts: Iterable[Alert]) -> dict[str, Alert]:
    """What a subscriber has that takes the highest revision of each alert, without those that were
    withdrawn. A revision always says the same."""
    kept: dict[str, Alert] = {}
    said: dict[tuple[str, int], bytes] = {}
    for alert in alerts:
        data = ALERT.encode(alert)
        before = said.setdefault((alert.alert_id, alert.revision), data)
        assert before == data, f"{before!r}\n{data!r}"
        if alert.alert_id not in kept or alert.revision > kept[alert.alert_id].revision:
            kept[alert.alert_id] = alert
    return {name: alert for name, alert in kept.items() if not alert.withdrawn}


def ids_of(events: Sequence[Event]) -> list[str]:
    """The ids of the alerts that these events begin."""
    return [ids.alert_id(each.event_id, each.tenant, each.user) for each in events]
