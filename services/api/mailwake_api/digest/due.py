"""Who is to get a digest now, and of what time it tells: pure."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import NamedTuple

from mailwake.contracts import Digest, Preference
from mailwake.quiet import zone_of

SETTLE_MS = 120_000
"""What happened so shortly before may not be judged yet; it is told by the next."""
DAY_MS = 86_400_000
MOST_MS = 7 * DAY_MS
"""So far back a digest tells at the most, as after a long time without one."""


class Period(NamedTuple):
    """What a digest tells of.

    Attributes:
        day: the user's day that it is for, `YYYY-MM-DD`.
        since, until: from then on, and before then, in milliseconds.
    """

    day: str
    since: int
    until: int


def due(preference: Preference, last: Digest | None, now: int) -> Period | None:
    """What the user's next digest tells of; None when it is not time for one.

    It is time from the hour of the user's day on, by the clock on the wall; also much later, if
    nobody could send before. One that was begun and is not known to be sent is the next, whatever
    time it is. The day on which the digest is switched on has one only if its hour is yet to come.
    """
    wish = preference.daily_digest
    if wish is None:
        return None
    if last is not None and last.state == "sending" and last.until > preference.daily_digest_at:
        return Period(last.day, last.since, last.until)
    zone = zone_of(wish.zone) or UTC
    day = datetime.fromtimestamp(now // 1000, zone).date()
    # An hour that is left out when the clocks change comes when the next begins.
    hour = int(datetime.combine(day, time(wish.hour), zone).timestamp() * 1000)
    told = last is not None and last.day >= day.isoformat()
    if told or now < hour or hour < preference.daily_digest_at:
        return None
    since = max(
        now - MOST_MS,
        preference.daily_digest_at or now - DAY_MS,
        last.until if last is not None else 0,
    )
    until = now - SETTLE_MS
    return Period(day.isoformat(), since, until) if since < until else None
