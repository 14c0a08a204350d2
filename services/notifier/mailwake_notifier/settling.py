"""One partition of `events`: which windows are open, which alerts are to be told, and up to where
its offset may be committed. Pure but for what its user wishes.

Time is the records' time: before a record is taken, whatever was due by its time is told. At the
partition's end, where no record says what time it is, the reader does (`settle`).
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailwake.contracts import EVENT, Alert, Event
from mailwake_notifier.decide import NO_ACT, Drop, Times, begins, drop_of
from mailwake_notifier.windows import SETTLED, Windows, matters
from mailwake_notifier.wishes import Wishes

REVISED_MS = 1_200_000
"""For ten minutes after a hit its event may be revised, by hits that are ten minutes late at the
most (docs/decisions/0011-meaning.md). So long after an alert could be counted up it can be taken
back."""

_EVER = 1 << 63


@dataclass(slots=True)
class Taken:
    """What came of a record.

    Attributes:
        alerts: to be told, in their order.
        read: how many events it held; none where it was read once more.
        dropped: why events of it began no alert; likewise.
    """

    alerts: Sequence[Alert] = ()
    read: int = 0
    dropped: Counter[Drop] = field(default_factory=Counter)


class Partition:
    """What is open and known of one partition.

    Records below `told_until` were dealt with by whoever committed it: they are read once more so
    that windows, counts and alerts are known, and nothing is told of them. What stands below
    `unsure_until` may have been told already, and was not committed.

    Attributes:
        offset: of the record that comes next.
        let_go: how many windows were forgotten too soon, for want of room.
    """

    def __init__(
        self,
        wishes: Wishes,
        times: Times,
        told_until: int,
        unsure_until: int = 0,
        most: int = _EVER,
    ) -> None:
        """`most` is how many acts are remembered."""
        self._wishes, self._times = wishes, times
        self._told_until, self._unsure_until, self._most = told_until, unsure_until, most
        self._known: OrderedDict[str, Windows] = OrderedDict()  # by when they were last told of
        self._acts = 0  # that they hold
        self._due: list[tuple[int, str]] = []
        self._held: dict[str, int] = {}
        self._first_held: list[tuple[int, str]] = []
        self._silent = told_until > 0
        self._settled: set[str] = set()  # of these all has been told
        self.offset = 0
        self.let_go = 0

    @property
    def waiting(self) -> int:
        """Of how many mails and links a window is open."""
        return len(self._held)

    @property
    def due(self) -> int | None:
        """When the next window closes, in milliseconds; None when all are closed."""
        return self._due[0][0] if self._due else None

    @property
    def committable(self) -> int | None:
        """The offset that may be committed when all alerts so far are acknowledged; None as long as
        nothing but what was committed has been read."""
        if self._silent:
            return None
        while self._first_held and self._held.get(self._first_held[0][1]) != self._first_held[0][0]:
            heapq.heappop(self._first_held)
        return self._first_held[0][0] if self._first_held else self.offset

    def take(self, offset: int, told_at: int, value: bytes | None, read_at: int) -> Taken:
        """Takes a record of a time (milliseconds); `read_at` is the time now."""
        self._silent = self._silent and offset < self._told_until
        alerts = self.settle(told_at)
        events, bad = EVENT.read(value or b"")
        taken = Taken(read=len(events))
        if bad:
            taken.dropped[Drop.UNREADABLE] = len(bad)
        changed: dict[str, Windows] = {}
        unsure = offset < self._unsure_until
        for event in events:
            drop = drop_of(event, told_at, self._times.max_age_ms)
            drop = drop or self._wishes.against(event, told_at)
            if not begins(event) and drop not in NO_ACT:
                taken.dropped[Drop.NOT_FIRST] += 1
            elif drop:
                taken.dropped[drop] += 1
            name = _name(event)
            windows = self._known.get(name)
            if windows is None:
                if not matters(event, drop):
                    continue
                windows = self._known[name] = Windows()
            if name in self._settled and not self._silent:
                self._settled.discard(name)
                windows.settle(_EVER, self._times)
            quiet = self._wishes.quiet(event, told_at)
            before = len(windows)
            if windows.take(
                *(event, told_at, offset, self._times),
                drop=drop,
                quiet=quiet,
                unsure=unsure,
                read_at=read_at,
            ):
                changed[name] = windows
                self._acts += len(windows) - before
        for name, windows in changed.items():
            self._known.move_to_end(name)
            if self._silent:
                self._settled.add(name)
            else:
                self._acts -= windows.forget(told_at - self._remember_ms)
                self._note(name, windows)
        self.offset = offset + 1
        taken.alerts = [*alerts, *self.settle(min(told_at, read_at))]
        self._forget(told_at - self._remember_ms)
        if self._silent:
            taken.read = 0
            taken.dropped.clear()
            self._silent = self.offset < self._told_until
        return taken

    def settle(self, until: int) -> list[Alert]:
        """Closes the windows that are due by a time (milliseconds); gives their alerts."""
        alerts: list[Alert] = []
        while self._due and self._due[0][0] <= until:
            _, name = heapq.heappop(self._due)
            windows = self._known.get(name)
            if windows is None or windows.due is None or windows.due > until:
                continue
            alerts += windows.settle(until, self._times)
            self._note(name, windows)
        return alerts

    @property
    def _remember_ms(self) -> int:
        return remember_ms(self._times)

    def _note(self, name: str, windows: Windows) -> None:
        """Notes when the windows are due and what they hold, where that is new."""
        due, held = windows.due, windows.held
        if due is None:
            self._held.pop(name, None)
            return
        heapq.heappush(self._due, (due, name))
        if self._held.get(name) != held:
            self._held[name] = held
            heapq.heappush(self._first_held, (held, name))

    def _forget(self, before: int) -> None:
        """Forgets what can neither be counted up nor revised, and what there is no room for."""
        while self._known:
            name, windows = next(iter(self._known.items()))
            full = self._acts > self._most
            if name in self._held or not (full or windows.told < before):
                return
            del self._known[name]
            self._acts -= len(windows)
            self._settled.discard(name)
            if windows.told >= before:
                self.let_go += 1


def remember_ms(times: Times) -> int:
    """How long what was told of an event is remembered; whoever takes a partition over reads so far
    back."""
    return times.coalesce_ms + REVISED_MS


def _name(event: Event) -> str:
    """The mail whose opens, or the mail and link whose clicks, an event is of."""
    return event.message_id if event.link is None else f"{event.message_id}/{event.link}"


assert SETTLED < 0  # noqa: S101 (no offset)
