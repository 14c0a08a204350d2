"""Quiet hours: when a user's bell does not ring. Pure.

They are read off the clock on the user's wall: what it shows between `start` and `end` is quiet. So
a night in which the clocks change is quiet from the same time to the same time as any other; an
hour that comes twice is quiet both times.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from mailwake.contracts import QuietHours

_AREAS = (
    "Africa/", "America/", "Antarctica/", "Arctic/", "Asia/", "Atlantic/", "Australia/",
    "Europe/", "Indian/", "Pacific/",
)  # fmt: skip


def is_quiet(quiet: QuietHours | None, at: int) -> bool:
    """Whether a time (milliseconds since the epoch) is in a user's quiet hours.

    Hours of a zone that is not known here are none: an alert that rings is better than one missed.
    """
    zone = None if quiet is None else zone_of(quiet.zone)
    if quiet is None or zone is None:
        return False
    local = datetime.fromtimestamp(at // 1000, zone)
    minute, day = local.hour * 60 + local.minute, local.isoweekday()
    start, end = _minute(quiet.start), _minute(quiet.end)
    today = not quiet.days or day in quiet.days
    if start < end:
        return today and start <= minute < end
    yesterday = not quiet.days or (day - 2) % 7 + 1 in quiet.days
    return (today and minute >= start) or (yesterday and minute < end)


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of that name; None when there is none."""
    return ZoneInfo(name) if name in _known() else None


@cache
def zones() -> tuple[str, ...]:
    """The zones to choose from: those of places, in the order of the alphabet, and UTC. More names
    are known, `US/Pacific` or `Etc/GMT+3`; these say the same with a place."""
    return (*sorted(name for name in _known() if name.startswith(_AREAS)), "UTC")


@cache
def _known() -> frozenset[str]:
    return frozenset(available_timezones())


def _minute(time: str) -> int:
    """Minutes since midnight of `HH:MM`."""
    hour, _, minute = time.partition(":")
    return int(hour) * 60 + int(minute)
