"""Preferences: what a user wants to know of, and when."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from starlette.responses import Response

from mailwake.contracts import DailyDigest, QuietHours
from mailwake.quiet import zones
from mailwake_api import preferences
from mailwake_api.preferences import ForUser, Preferences, Switches
from mailwake_api.problems import Problem
from mailwake_api.web.frame import sentence
from mailwake_api.web.visit import Visit
from mailwake_api.web.writing import WrongError, parties

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SWITCHES = ("opens", "clicks", "notifications", "quiet", "digest")
_FIELDS = ("zone", "start", "end", "address", "hour")
_FIRST = {"start": "22:00", "end": "07:00", "address": "", "hour": "7"}
"""What the fields hold before anything was chosen."""


async def show(visit: Visit) -> Response:
    """`GET /preferences`."""
    now = await visit.ask(preferences.show, Preferences, asked=ForUser())
    return _page(visit, now.ceiling, _given(now, visit.clock.zone))


async def save(visit: Visit) -> Response:
    """`POST /preferences`: saves, or shows what is wrong, with all that was chosen."""
    given: dict[str, Any] = {name: visit.form.get(name, "").strip() for name in _FIELDS}
    given |= {name: name in visit.form for name in _SWITCHES}
    given["days"] = [day for day in range(1, 8) if f"day{day}" in visit.form]
    try:
        wish = _wish(given)
        await visit.ask(preferences.put, Preferences, asked=ForUser(), body=wish)
    except WrongError as error:
        wrong = error.field, str(error)
    except Problem as problem:
        if problem.status != 422:
            raise
        wrong = "zone" if problem.code == "zone" else "", sentence(problem.detail)
    else:
        return visit.go("/preferences?told=saved")
    now = await visit.ask(preferences.show, Preferences, asked=ForUser())
    return _page(visit, now.ceiling, given, wrong)


def _given(now: Preferences, zone: str) -> dict[str, Any]:
    """What the form holds of what is set; where nothing is, times as many like them, in the zone
    that the browser says."""
    quiet, digest = now.quiet, now.daily_digest
    given: dict[str, Any] = {name: getattr(now, name) for name in _SWITCHES[:3]}
    given |= _FIRST | {"quiet": bool(quiet), "digest": bool(digest), "days": [*range(1, 8)]}
    if digest:
        given |= {"address": digest.address, "hour": str(digest.hour), "zone": digest.zone}
    if quiet:
        given |= {"start": quiet.start, "end": quiet.end, "zone": quiet.zone}
        given["days"] = sorted({*quiet.days}) or given["days"]
    return {"zone": zone} | given


def _wish(given: Mapping[str, Any]) -> Switches:
    """What the form asks for. Raises WrongError."""
    quiet = digest = None
    if given["quiet"]:
        start, end = _time(given["start"], "start"), _time(given["end"], "end")
        if not given["days"]:
            raise WrongError("days", "Choose at least one day, or switch quiet hours off")
        days = given["days"] if len(given["days"]) < 7 else []
        quiet = QuietHours(given["zone"], start, end, days)
    if given["digest"]:
        found = parties(given["address"], "address")
        if len(found) != 1:
            raise WrongError("address", "Say to which one address the daily mail goes")
        hour = given["hour"]
        if not hour.isdecimal() or int(hour) > 23:
            raise WrongError("hour", "Choose an hour of the day")
        digest = DailyDigest(found[0].address, given["zone"], int(hour))
    return Switches(given["opens"], given["clicks"], given["notifications"], quiet, digest)


def _time(text: str, field: str) -> str:
    """`HH:MM`; a browser may give seconds too. Raises WrongError."""
    hour, colon, rest = text.partition(":")
    minute = rest[:2]
    fits = colon and len(hour) == 2 and len(minute) == 2 and (hour + minute).isdecimal()
    if not fits or int(hour) > 23 or int(minute) > 59:
        raise WrongError(field, "Give a time such as 22:00")
    return f"{int(hour):02}:{int(minute):02}"


def _page(
    visit: Visit, ceiling: str, given: Mapping[str, Any], wrong: tuple[str, str] = ("", "")
) -> Response:
    return visit.page(
        "preferences.html",
        422 if wrong[1] else 200,
        given=given,
        ceiling=ceiling,
        days=DAYS,
        areas=_areas(given["zone"]),
        saved=not wrong[1] and visit.word("told") == "saved",
        wrong_field=wrong[0],
        wrong=wrong[1],
    )


def _areas(chosen: str) -> list[tuple[str, list[str]]]:
    """The zones by area; with what is chosen already, if it is none of them."""
    listed = zones()
    some = [(area, list(each)) for area, each in groupby(listed, lambda z: z.partition("/")[0])]
    return some if chosen in listed else [("Chosen", [chosen]), *some]
