# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""What a digest tells: what persons did with the user's mails, as far as that may be told.

It is read from `consented_events`: of whoever has denied by then nothing is told, and what has
turned out to be a machine's is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mailwake_api.digest.due import Period
from mailwake_api.mails import BY_PERSON, Mail, moment, read_mails
from mailwake_api.reading import Reader
from mailwake_api.withheld import Denials

MOST_MAILS = 50
"""So many mails a digest names."""
_MOST_ROWS = 10_000

_HAPPENED = (
    "SELECT message_id, countIf(kind = 'open' AND NOT forward), countIf(kind = 'click'),"
    " countIf(forward), uniqExactIf(link, kind = 'click')"
    " FROM consented_events(tenant = %(tenant)s, user = %(user)s)"
    f" WHERE {BY_PERSON} AND NOT repeat AND at >= {moment('since')} AND at < {moment('until')}"
    f" GROUP BY message_id ORDER BY max(at) DESC, message_id LIMIT {_MOST_ROWS}"
)


class Told(NamedTuple):
    """What happened to one mail.

    Attributes:
        opens: how often it was opened, forwards apart.
        clicks: how often links were followed, and `links` how many of them.
        forwards: opens by likely others than its recipients.
    """

    mail: Mail
    opens: int
    clicks: int
    links: int
    forwards: int


class Report(NamedTuple):
    """What happened.

    Attributes:
        mails: what happened last first, `MOST_MAILS` at most.
        opened, clicked: how many mails were opened, and in how many a link was followed, of all.
        more: how many mails are not named.
    """

    mails: list[Told]
    opened: int
    clicked: int
    more: int


async def tell(
    reader: Reader, tenant: str, user: str, period: Period, muted: Callable[[str], bool]
) -> Report | None:
    """What happened to the user's mails, those that are muted left out; None where nothing did.

    Raises Problem.
    """
    rows = [
        row
        for row in await reader.rows(
            _HAPPENED, tenant=tenant, user=user, since=period.since, until=period.until
        )
        if not muted(row[0])
    ]
    found = await read_mails(
        reader, Denials(reader), tenant, user, [row[0] for row in rows[:MOST_MAILS]]
    )
    mails = {mail.message_id: mail for mail in found}
    told = [
        Told(mails[message_id], opens, clicks, links, forwards)
        for message_id, opens, clicks, forwards, links in rows[:MOST_MAILS]
        if message_id in mails
    ]
    if not told:
        return None
    return Report(
        told,
        sum(bool(row[1] or row[3]) for row in rows),
        sum(bool(row[2]) for row in rows),
        len(rows) - len(told),
    )
