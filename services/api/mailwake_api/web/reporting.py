"""Reports: what a user's mails came to, as tiles, charts and tables."""

from __future__ import annotations

import time
from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from mailwake_api import reports
from mailwake_api.call import Handler
from mailwake_api.reports import (
    By,
    ClientRow,
    LinkRow,
    OverviewRow,
    Report,
    ReportQuery,
    TimeRow,
)
from mailwake_api.web import charts
from mailwake_api.web.frame import HEADERS
from mailwake_api.web.visit import Visit, none_of_yours

PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "a year"}
_DEFAULT = "30"
_FILES: dict[str, tuple[Handler, By]] = {
    "overview": (reports.overview, "day"),
    "links": (reports.links, "all"),
    "clients": (reports.clients, "all"),
    "times": (reports.times, "all"),
    "tags": (reports.overview, "tag"),
}
_SHOWN = 12
MOST_BARS = 31
"""Of more days than that a chart shows weeks."""


async def show(visit: Visit) -> Response:
    """`GET /reports`."""
    period, tag = _period(visit), visit.word("tag", 64)
    asked = _asker(visit, period, tag)
    (total,) = (
        await visit.ask(reports.overview, Report[OverviewRow], asked=asked("all"))
    ).rows or [_NOTHING]
    days = await visit.ask(reports.overview, Report[OverviewRow], asked=asked("day"))
    tags = await visit.ask(reports.overview, Report[OverviewRow], asked=asked("tag"))
    links = await visit.ask(reports.links, Report[LinkRow], asked=asked("all"))
    times = await visit.ask(reports.times, Report[TimeRow], asked=asked("all"))
    clients = await visit.ask(reports.clients, Report[ClientRow], asked=asked("all"))
    hours: Counter[tuple[int, int]] = Counter()
    for row in times.rows:
        hours[row.weekday, row.hour] += row.opens + row.clicks
    read_with = [row for row in clients.rows if row.opens + row.clicks]
    kept = {"days": period, "tag": tag}
    return visit.page(
        "reports.html",
        periods=[(days_, word, _link({**kept, "days": days_})) for days_, word in PERIODS.items()],
        period=period,
        tag=tag,
        total=total,
        days=days.rows,
        bars=charts.bars(_days(days.rows, int(period), visit.clock.zone)),
        chart=charts,
        unit="day" if int(period) <= MOST_BARS else "week",
        gone=links.gone,
        week=charts.week(hours),
        hours=sum(hours.values()),
        best=max(hours, key=lambda each: hours[each]) if hours else None,
        tags=[row for row in tags.rows if row.group],
        links=[row for row in links.rows if row.clicks][:_SHOWN],
        clients=read_with[:_SHOWN],
        most_client=max((row.opens + row.clicks for row in read_with), default=0),
        files={name: f"/reports/{name}.csv?{urlencode(kept)}" for name in _FILES},
        without_tag=_link({**kept, "tag": ""}),
    )


async def file(visit: Visit) -> Response:
    """`GET /reports/{name}.csv`: the same as a file for spreadsheets."""
    found = _FILES.get(visit.request.path_params["name"])
    if found is None:
        raise none_of_yours()
    handler, by = found
    asked = _asker(visit, _period(visit), visit.word("tag", 64))(by, "csv", reports.MOST)
    answer = await visit.answer(handler, asked=asked)
    for name in ("X-Content-Type-Options", "Cross-Origin-Resource-Policy"):
        answer.headers[name] = HEADERS[name]
    return answer


_NOTHING = OverviewRow("", 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None)


def _period(visit: Visit) -> str:
    period = visit.word("days", 4)
    return period if period in PERIODS else _DEFAULT


def _asker(visit: Visit, period: str, tag: str) -> Any:
    since = _midnight(visit.clock.zone, int(period) - 1)

    def asked(by: By, form: Any = "json", limit: int = 1000) -> ReportQuery:
        return ReportQuery(
            by=by, zone=visit.clock.zone, since=since, tag=tag or None, format=form, limit=limit
        )

    return asked


def _midnight(zone: str, days_ago: int) -> int:
    info = ZoneInfo(zone)
    day = datetime.fromtimestamp(time.time(), info).date() - timedelta(days=days_ago)
    return int(datetime(day.year, day.month, day.day, tzinfo=info).timestamp() * 1000)


def _days(rows: list[OverviewRow], days: int, zone: str) -> list[tuple[str, dict[str, int]]]:
    """Every day of the period, also those without mail; by weeks where there are many."""
    by_day = {row.group: row for row in rows}
    today = datetime.fromtimestamp(time.time(), ZoneInfo(zone)).date()
    all_days = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    size = 1 if days <= MOST_BARS else 7
    chunks = [all_days[start : start + size] for start in range(0, len(all_days), size)]
    return [(_word(chunk[0]), _sum(chunk, by_day)) for chunk in chunks]


def _sum(days: list[date], by_day: dict[str, OverviewRow]) -> dict[str, int]:
    found = [by_day[day.isoformat()] for day in days if day.isoformat() in by_day]
    return {
        "sent": sum(row.mails for row in found),
        "opened": sum(row.opened for row in found),
        "clicked": sum(row.clicked for row in found),
    }


def _word(day: date) -> str:
    return f"{day.day} {day:%b}"


def _link(parameters: dict[str, str]) -> str:
    return "/reports?" + urlencode({name: value for name, value in parameters.items() if value})
