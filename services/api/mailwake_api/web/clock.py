"""Times as people read them, in the time zone of whoever looks.

The browser says its zone in a cookie that a script of ours sets at sign-in; without it times are
UTC and say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import TypeVar
from zoneinfo import ZoneInfo

from mailwake.quiet import zone_of

COOKIE = "mailwake_zone"

T = TypeVar("T")


class Clock:
    """Writes times, milliseconds since 1970, in one zone."""

    def __init__(self, zone: str, *, now: Callable[[], float] = time.time) -> None:
        """A zone that is none is UTC."""
        self.zone = zone if zone_of(zone) else "UTC"
        self._info = ZoneInfo(self.zone)
        self._now = now

    def short(self, at: int) -> str:
        """As in a list: the hour today, the day this year, else the date."""
        moment, now = self._moment(at), self._today()
        if moment.date() == now.date():
            return f"{moment:%H:%M}"
        if moment.year == now.year:
            return f"{moment.day} {moment:%b}"
        return f"{moment.day} {moment:%b %Y}"

    def full(self, at: int) -> str:
        """With day and minute."""
        moment, now = self._moment(at), self._today()
        zone = " UTC" if self.zone == "UTC" else ""
        if moment.date() == now.date():
            return f"today at {moment:%H:%M}{zone}"
        if moment.date() == now.date() - timedelta(days=1):
            return f"yesterday at {moment:%H:%M}{zone}"
        year = "" if moment.year == now.year else f" {moment.year}"
        return f"{moment.day} {moment:%b}{year} at {moment:%H:%M}{zone}"

    def exact(self, at: int) -> str:
        """To the second, with the offset: for `<time datetime>`."""
        return self._moment(at).isoformat(timespec="seconds")

    def day(self, at: int) -> str:
        """The heading that mails of a day stand under."""
        moment, now = self._moment(at).date(), self._today().date()
        if moment == now:
            return "Today"
        if moment == now - timedelta(days=1):
            return "Yesterday"
        if moment > now - timedelta(days=7):
            return f"{moment:%A}"
        if moment.year == now.year:
            return f"{moment:%B}"
        return f"{moment:%B %Y}"

    def by_day(self, values: Iterable[T], at: Callable[[T], int]) -> list[tuple[str, list[T]]]:
        """Values, which stand in the order of their times, under the headings of their days."""
        days = groupby(values, lambda each: self.day(at(each)))
        return [(day, list(some)) for day, some in days]

    def _moment(self, at: int) -> datetime:
        return datetime.fromtimestamp(at / 1000, self._info)

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._now(), self._info)


def length(ms: int) -> str:
    """A length of time in words, such as `10 minutes`; what is under a minute and a half is one."""
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        count = round(ms / size)
        if count > 1 or (count and unit != "minute" and ms >= size):
            return f"{count} {unit}s" if count > 1 else f"{'an' if unit == 'hour' else 'a'} {unit}"
    return "a minute"


def span(seconds: float | None) -> str:
    """A length of time in a word or two."""
    if seconds is None:
        return "–"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
