"""The windows of one mail's opens, or of one link's clicks: pure, without clock or Kafka.

An act (an event by a person) that begins an alert waits in its settle window; revisions replace
it meanwhile. Then the alert is told, and acts that follow within the coalescing window are counted
in it. What is told is a function of the acts that are known, each in its last revision. So are the
revisions of alerts, which say from which revisions of events they come: the sum of those that the
alert could count or that could count its own (docs/decisions/0016-alerts.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from mailwake.contracts import Alert, Event
from mailwake_notifier.decide import NO_ACT, Drop, Times, begins, settle_ms
from mailwake_notifier.notice import notice

MOST_ACTS = 256
"""Most acts of one mail's opens, or of one link's clicks, that are known at a time; further ones
are not counted."""

UNSURE_MS = 2_000
"""What turned out a machine's so shortly before its window closed may have been told by a notifier
that ended meanwhile: clocks differ, and records take a while."""

_LARGEST = 1 << 31

SETTLED = -1


def matters(event: Event, drop: Drop | None) -> bool:
    """Whether an event that is not known must be: an act, or what is none in a later revision, of
    which an earlier one may come once more."""
    return drop is None or (drop in NO_ACT and event.revision > 1)


@dataclass(slots=True)
class Act:
    """One event, which is or was an act.

    Attributes:
        counts: whether it still is, and tells of something.
        since: when it was first told, in milliseconds.
        told: when it was last told.
        due: when its window closes.
        offset: the record that opened the window; `SETTLED` when it is closed.
        quiet: whether it was first told in the user's quiet hours.
        notice: the alert it begins, or began before it was revised; None when it never did.
        alerted: the revision of the alert that was told of it; 0 when none was.
        withdrawn: whether that one took the alert back.
    """

    revision: int
    at: int
    counts: bool
    since: int
    told: int
    due: int
    offset: int
    quiet: bool
    begins: bool = False
    notice: Alert | None = None
    alerted: int = 0
    withdrawn: bool = False


class Windows:
    """What is known of one mail's opens, or of one link's clicks.

    Attributes:
        told: when anything of it was last told, in milliseconds.
    """

    __slots__ = ("_acts", "told")

    def __init__(self) -> None:
        self._acts: dict[str, Act] = {}
        self.told = 0

    def __len__(self) -> int:
        return len(self._acts)

    def take(
        self,
        event: Event,
        told_at: int,
        offset: int,
        times: Times,
        *,
        drop: Drop | None = None,
        quiet: bool = False,
        unsure: bool = False,
        read_at: int | None = None,
    ) -> bool:
        """Takes an event that was told at a time (milliseconds) by the record at an offset; whether
        that changed anything.

        Args:
            drop: why it may not be told of. Of what was told before only that counts no more which
                is no act; a wish, or its age, takes nothing back.
            unsure: whether another notifier may have read further than it committed.
            read_at: the time now; a record from the future opens its window now.
        """
        act = self._acts.get(event.event_id)
        counts = drop not in NO_ACT
        if act is None:
            if not matters(event, drop) or (len(self._acts) >= MOST_ACTS and not begins(event)):
                return False
            act = Act(0, event.at, counts, told_at, told_at, 0, SETTLED, quiet)
            self._acts[event.event_id] = act
        elif event.revision <= act.revision:
            return False
        now = told_at if read_at is None else min(told_at, read_at)
        opens = act.offset != SETTLED
        stays = counts and begins(event)
        if unsure and opens and act.begins and not stays and now >= act.due - UNSURE_MS:
            act.alerted = act.alerted or 1
        act.revision, act.counts, act.told, act.begins = event.revision, counts, told_at, stays
        if act.begins or act.notice is not None:
            act.notice = notice(event, quiet=act.quiet)
        act.due = max(now, min(act.since, now) + settle_ms(event, times)) if counts else now
        if not opens:
            act.offset = offset
        self.told = max(self.told, told_at)
        return True

    @property
    def due(self) -> int | None:
        """When the next window closes; None when all are."""
        return min((act.due for act in self._acts.values() if act.offset != SETTLED), default=None)

    @property
    def held(self) -> int:
        """The first record of which a window is open; `SETTLED` when all are closed."""
        opened = (act.offset for act in self._acts.values() if act.offset != SETTLED)
        return min(opened, default=SETTLED)

    def settle(self, until: int, times: Times) -> list[Alert]:
        """Closes the windows that are due, and gives the alerts that are to be told then."""
        for act in self._acts.values():
            if act.offset != SETTLED and act.due <= until:
                act.offset = SETTLED
        return [*self._tell(times.coalesce_ms)]

    def forget(self, before: int) -> int:
        """Forgets the acts that were last told before a time, in milliseconds; gives how many."""
        gone = [
            identity
            for identity, act in self._acts.items()
            if act.told < before and act.offset == SETTLED
        ]
        for identity in gone:
            del self._acts[identity]
        return len(gone)

    def _tell(self, coalesce_ms: int) -> Iterator[Alert]:
        begun = self._begun(coalesce_ms)
        for name, act in self._acts.items():
            if act.notice is None or (name not in begun and (not act.alerted or act.withdrawn)):
                continue
            near = [
                each
                for each in self._acts.values()
                if each is act or -coalesce_ms < each.at - act.at < coalesce_ms
            ]
            revision = min(sum(each.revision for each in near), _LARGEST)
            if name not in begun:
                act.alerted, act.withdrawn = revision, True
                yield replace(act.notice, revision=revision, withdrawn=True)
            elif act.offset == SETTLED and revision > act.alerted:
                act.alerted, act.withdrawn = revision, False
                at = [each.at for each in near if each.counts and each.at >= act.at]
                last_at = max(at) if len(at) > 1 else 0
                yield replace(act.notice, revision=revision, count=len(at), last_at=last_at)

    def _begun(self, coalesce_ms: int) -> set[str]:
        """The acts that alerts begin with: those that begin one and are not counted in another."""
        begun: set[str] = set()
        until = 0
        beginning = [(act.at, name) for name, act in self._acts.items() if act.begins]
        for at, name in sorted(beginning):
            if at >= until:
                begun.add(name)
                until = at + max(coalesce_ms, 1)
        return begun
