# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""How long a mail had been quiet before a reader came back to it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from mailwake_api.mails import BY_PERSON, OF_USER
from mailwake_api.reading import Reader

_MOST = 1_000
"""So many times of a mail are looked at, the newest."""

# The last revision by argMax: for a few mails of many FINAL takes four times as long.
_TIMES = (
    f"SELECT message_id, arraySort(groupArray({_MOST})(at_)) FROM"
    " (SELECT message_id, toUnixTimestamp64Milli(argMax(at, revision)) AS at_,"
    f" argMax({BY_PERSON} AND NOT repeat, revision) AS counts"
    f" FROM events WHERE {OF_USER} AND message_id IN %(mails)s"
    " GROUP BY message_id, event_id ORDER BY at_ DESC) WHERE counts GROUP BY message_id"
)


async def times(
    reader: Reader, tenant: str, user: str, message_ids: Sequence[str]
) -> Mapping[str, Sequence[int]]:
    """When persons opened the user's mails or followed their links, in milliseconds, the earliest
    first. To be asked of mails that nobody denies. Raises Problem."""
    if not message_ids:
        return {}
    rows = await reader.rows(_TIMES, tenant=tenant, user=user, mails=list(message_ids))
    return dict(rows)


def quiet_before(times: Sequence[int], at: int) -> int | None:
    """For how many milliseconds nothing had happened before a time; None where nothing had."""
    place = bisect_left(times, at)
    return at - times[place - 1] if place else None
