# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""`GET /v1/reports/…`: what a user's mails came to, in rows that a chart or a spreadsheet takes.

`overview`, `links` and `clients` group by when the mails were sent, so that what a day's mails came
to stands beside their number; `times` groups by when something happened. Whoever denies is left
out, of the counts of tracks by `mails_of_user` and of the events by the view `consented_events`.

`overview` also tells of days whose mails are gone (docs/decisions/0021-retention.md): as they were
counted before, by days of UTC, without medians, and not by the hour. The other reports tell nothing
of these mails. Each report says how many mails it leaves out for that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct
from starlette.responses import Response

from mailwake.contracts import Count, Millis, Tag, User
from mailwake.quiet import zone_of
from mailwake_api import conditions
from mailwake_api.call import Call
from mailwake_api.clients import CLIENT
from mailwake_api.export import Format, as_csv, wanted
from mailwake_api.mails import BY_PERSON, OF_USER, chosen
from mailwake_api.parquet import MEDIA, as_parquet
from mailwake_api.problems import Problem
from mailwake_api.reading import MOST_ROWS, Reader, Row, Value
from mailwake_api.withheld import mails_of_user

MOST = 10_000
By = Literal["all", "day", "hour", "tag"]


class ReportQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What a report is to tell of.

    Attributes:
        by: how rows are grouped: all together, by day, by hour, or by tag (the campaign or label).
        zone: the time zone of days and hours, as the tz database names it.
        since, until: from when on, and before when, the mails were sent (of `times`: it happened);
            milliseconds since 1970.
        tag: only mails with this tag.
        format: json, csv or parquet; what Accept says, unless given.
        limit: how many rows at most; whether there are more is said.
        user: named by a token of role platform, and by no other.
    """

    by: By = "all"
    zone: Annotated[str, Meta(max_length=64)] = "UTC"
    since: Millis | None = None
    until: Millis | None = None
    tag: Tag | None = None
    format: Format | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 1_000
    user: User | None = None


class OverviewRow(Struct, frozen=True):
    """What the mails of a group came to.

    Attributes:
        group: the day, the hour with its offset, or the tag; empty for all together, or no tag.
        mails: how many were sent.
        opened, clicked: how many of them a person opened, or clicked a link in.
        opens, clicks: how often.
        machine_opens, machine_clicks: how often machines and the sender did.
        forwards: opens by readers beyond the recipients.
        withheld: of how many mails opens or clicks are not told, since a recipient does not agree.
        open_after_s, click_after_s: the median of the seconds from sending to the first one.
    """

    group: str
    mails: Count
    opened: Count
    clicked: Count
    opens: Count
    clicks: Count
    machine_opens: Count
    machine_clicks: Count
    forwards: Count
    withheld: Count
    open_after_s: float | None
    click_after_s: float | None


class LinkRow(Struct, frozen=True):
    """What a link came to, in all mails of a group.

    Attributes:
        group: the day, the hour with its offset, or the tag.
        target: where the link leads.
        mails: in how many mails a person followed it.
        clicks: how often persons followed it.
        machine_clicks: how often machines and the sender did.
        first_at, last_at: when persons followed it first and last.
    """

    group: str
    target: str
    mails: Count
    clicks: Count
    machine_clicks: Count
    first_at: Millis | None
    last_at: Millis | None


class TimeRow(Struct, frozen=True):
    """What persons did in one hour of the week.

    Attributes:
        group: the day or the hour in which it happened, or the tag.
        weekday: 1 is Monday, 7 is Sunday.
        hour: 0 to 23, in the zone of the report.
    """

    group: str
    weekday: Annotated[int, Meta(ge=1, le=7)]
    hour: Annotated[int, Meta(ge=0, le=23)]
    opens: Count
    clicks: Count


class ClientRow(Struct, frozen=True):
    """What was read with one mail service or program.

    Attributes:
        group: the day, the hour with its offset, or the tag.
        client: the mail service or program.
        mails: how many mails persons opened or clicked with it.
        opens, clicks: how often persons did.
        machines: how often machines and the sender did, opens and clicks.
    """

    group: str
    client: str
    mails: Count
    opens: Count
    clicks: Count
    machines: Count


R = TypeVar("R", bound=Struct)


class Report(Struct, Generic[R], frozen=True):
    """A report.

    Attributes:
        more: whether there are more rows than `limit`.
        gone: how many mails of this time and tag the rows do not tell of, since what is kept of
            their days is no more than `overview` tells by day.
    """

    by: By
    zone: str
    rows: list[R]
    more: bool
    gone: Count


@dataclass(frozen=True)
class _Kind:
    """How a report is made.

    Attributes:
        sql: with `{group}` and `{where}`; ends before LIMIT.
        clock: the column that groups and limits in time.
        past: the same of days whose mails are gone; then `sql` ends before ORDER BY, and both name
            their columns as the row's.
    """

    name: str
    row: type[Struct]
    sql: str
    clock: Literal["sent_at", "at"] = "sent_at"
    past: str = ""


_EVENTS = "consented_events(tenant = %(tenant)s, user = %(user)s)"
_COUNTS = (
    "if(no_opens, 0, t.opens) AS opens_, if(no_clicks, 0, t.clicks) AS clicks_,"
    " if(no_opens, 0, t.machine_opens) AS machine_opens_,"
    " if(no_clicks, 0, t.machine_clicks) AS machine_clicks_,"
    " if(no_opens, 0, t.forwards) AS forwards_,"
    " dateDiff('millisecond', s.sent_at, t.first_open_at) / 1000 AS open_after,"
    " dateDiff('millisecond', s.sent_at, t.first_click_at) / 1000 AS click_after"
)
_PAST_DAY = "toDateTime64(day, 3, 'UTC')"
_PAST = f"(SELECT day, tag, retention_days FROM v_past_days WHERE {OF_USER})"
OVERVIEW = _Kind(
    "overview",
    OverviewRow,
    "SELECT {group} AS grp, count() AS mails, countIf(opens_ > 0) AS opened,"
    " countIf(clicks_ > 0) AS clicked, sum(opens_) AS opens, sum(clicks_) AS clicks,"
    " sum(machine_opens_) AS machine_opens, sum(machine_clicks_) AS machine_clicks,"
    " sum(forwards_) AS forwards, countIf(no_opens OR no_clicks) AS withheld,"
    " quantileExactOrNullIf(0.5)(open_after, opens_ > 0) AS open_after_s,"
    " quantileExactOrNullIf(0.5)(click_after, clicks_ > 0) AS click_after_s"
    " FROM (SELECT s.sent_at AS sent_at, s.tag AS tag,"
    f" s.message_id IN {mails_of_user('opens')} AS no_opens,"
    f" s.message_id IN {mails_of_user('clicks')} AS no_clicks, {_COUNTS}"
    f" FROM (SELECT message_id, sent_at, tag FROM sends FINAL WHERE {OF_USER}"
    f" AND (toDate(sent_at), tag, retention_days) NOT IN {_PAST}) AS s"
    " LEFT JOIN (SELECT message_id, opens, clicks, machine_opens, machine_clicks, forwards,"
    f" first_open_at, first_click_at FROM tracks FINAL WHERE {OF_USER}) AS t USING message_id)"
    " WHERE {where} GROUP BY grp",
    past="SELECT {group} AS grp, sum(p.mails) AS mails, sum(p.opened) AS opened,"
    " sum(p.clicked) AS clicked, sum(p.opens) AS opens, sum(p.clicks) AS clicks,"
    " sum(p.machine_opens) AS machine_opens, sum(p.machine_clicks) AS machine_clicks,"
    " sum(p.forwards) AS forwards, sum(p.withheld) AS withheld, NULL AS open_after_s,"
    f" NULL AS click_after_s FROM v_past_days AS p WHERE {OF_USER} AND {{where}} GROUP BY grp",
)
LINKS = _Kind(
    "links",
    LinkRow,
    f"SELECT {{group}} AS grp, target, uniqExactIf(message_id, {BY_PERSON}),"
    f" countIf({BY_PERSON}) AS persons, count() - persons,"
    f" toUnixTimestamp64Milli(minOrNullIf(at, {BY_PERSON})),"
    f" toUnixTimestamp64Milli(maxOrNullIf(at, {BY_PERSON}))"
    f" FROM {_EVENTS} WHERE kind = 'click' AND {{where}}"
    " GROUP BY grp, target ORDER BY grp, persons DESC, target",
)
TIMES = _Kind(
    "times",
    TimeRow,
    "SELECT {group} AS grp, toDayOfWeek(at, 0, %(zone)s) AS weekday, toHour(at, %(zone)s) AS hour,"
    " countIf(kind = 'open' AND NOT forward), countIf(kind = 'click')"
    f" FROM {_EVENTS} WHERE {BY_PERSON} AND {{where}}"
    " GROUP BY grp, weekday, hour ORDER BY grp, weekday, hour",
    clock="at",
)
CLIENTS = _Kind(
    "clients",
    ClientRow,
    f"SELECT {{group}} AS grp, {CLIENT} AS client, uniqExactIf(message_id, {BY_PERSON}),"
    f" countIf({BY_PERSON} AND kind = 'open' AND NOT forward) AS opened,"
    f" countIf({BY_PERSON} AND kind = 'click') AS clicked, countIf(NOT {BY_PERSON})"
    f" FROM {_EVENTS} WHERE NOT implied AND {{where}}"
    " GROUP BY grp, client ORDER BY grp, opened + clicked DESC, client",
)


async def overview(call: Call) -> Response:
    """What the mails came to."""
    return await _report(call, OVERVIEW)


async def links(call: Call) -> Response:
    """What the links came to."""
    return await _report(call, LINKS)


async def times(call: Call) -> Response:
    """When persons opened and clicked."""
    return await _report(call, TIMES)


async def clients(call: Call) -> Response:
    """What the mails were read with."""
    return await _report(call, CLIENTS)


async def read(
    reader: Reader, tenant: str, user: str, asked: ReportQuery, kind: _Kind
) -> tuple[list[Row], bool]:
    """The rows of a report on a user's mails, at most `asked.limit`; whether there are more.

    Raises Problem.
    """
    _check(asked)
    values: dict[str, Value] = {
        "tenant": tenant,
        "user": user,
        "zone": asked.zone,
        "limit": min(asked.limit, MOST_ROWS) + 1,
    }
    found = await reader.rows(_sql(asked, kind, values), **values)
    rows = [(_named(asked, row[0]), *row[1:]) for row in found[: asked.limit]]
    return rows, len(found) > asked.limit


async def gone(reader: Reader, tenant: str, user: str, asked: ReportQuery, kind: _Kind) -> int:
    """How many mails of the user's a report leaves out, since their days are past.

    Raises Problem.
    """
    _check(asked)
    if kind.past and asked.by != "hour":
        return 0
    values: dict[str, Value] = {"tenant": tenant, "user": user}
    which = chosen(asked.tag, asked.since, asked.until, _PAST_DAY, values)
    where = " AND ".join([OF_USER, *which])
    rows = await reader.rows(f"SELECT sum(mails) FROM v_past_days WHERE {where}", **values)
    return sum(int(row[0]) for row in rows)


def _check(asked: ReportQuery) -> None:
    """Raises Problem when what is asked cannot be reported."""
    if zone_of(asked.zone) is None:
        raise Problem(422, "zone", "`zone` is no time zone; name one such as Europe/Berlin")


async def _report(call: Call, kind: _Kind) -> Response:
    asked: ReportQuery = call.asked
    of = call.parts.reader, call.caller.tenant, call.user(asked.user), asked, kind
    (rows, more), missing = await asyncio.gather(read(*of), gone(*of))
    form = wanted(call.request, asked.format)
    if form != "json":
        data, media = await _table(form, kind, rows)
        return conditions.answer_bytes(
            call.request,
            data,
            media,
            {
                "Content-Disposition": f'attachment; filename="mailwake-{kind.name}.{form}"',
                "Mailwake-More": "true" if more else "false",
                "Mailwake-Gone": str(missing),
                "Vary": "Accept",
            },
        )
    report: Report[Any] = Report(
        asked.by, asked.zone, [kind.row(*row) for row in rows], more, missing
    )
    return conditions.answer(call.request, report, {"Vary": "Accept"})


async def _table(form: Format, kind: _Kind, rows: list[Row]) -> tuple[bytes, str]:
    """The rows as a file, and its media type."""
    if form == "parquet":
        return await asyncio.to_thread(as_parquet, kind.row, rows), MEDIA
    return as_csv(kind.row.__struct_fields__, rows), "text/csv; charset=utf-8; header=present"


def _sql(asked: ReportQuery, kind: _Kind, values: dict[str, Value]) -> str:
    """The query; its values are added to `values`."""

    def filled(sql: str, group: str, clock: str) -> str:
        where = " AND ".join(chosen(asked.tag, asked.since, asked.until, clock, values)) or "1"
        return sql.replace("{group}", group).replace("{where}", where)

    sql = filled(kind.sql, _group(asked.by, kind.clock), kind.clock)
    if kind.past:
        parts = sql
        # Of a day that is gone no hours are known, and it is a day of UTC in any zone.
        if asked.by != "hour":
            group = "toString(day)" if asked.by == "day" else _group(asked.by, kind.clock)
            parts += " UNION ALL " + filled(kind.past, group, _PAST_DAY)
        *counts, open_after, click_after = kind.row.__struct_fields__[1:]
        sums = ", ".join(f"sum(r.{name})" for name in counts)
        sql = (
            f"SELECT grp, {sums}, any(r.{open_after}), any(r.{click_after}) FROM ({parts}) AS r"
            " GROUP BY grp ORDER BY grp"
        )
    return sql + " LIMIT %(limit)s"


def _group(by: By, clock: str) -> str:
    return {
        "all": "''",
        "day": f"toString(toDate({clock}, %(zone)s))",
        "hour": f"toUnixTimestamp(toStartOfHour({clock}, %(zone)s))",
        "tag": "toString(tag)",
    }[by]


def _named(asked: ReportQuery, group: Any) -> str:
    if asked.by != "hour":
        return str(group)
    return datetime.fromtimestamp(group, ZoneInfo(asked.zone)).isoformat(timespec="minutes")
