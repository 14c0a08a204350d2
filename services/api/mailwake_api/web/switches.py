"""Preferences: what a user wants to know of."""

from __future__ import annotations

from starlette.responses import Response

from mailwake_api import preferences
from mailwake_api.preferences import ForUser, Preferences, Switches
from mailwake_api.web.visit import Visit


async def show(visit: Visit) -> Response:
    """`GET /preferences`."""
    now = await visit.ask(preferences.show, Preferences, asked=ForUser())
    return visit.page("preferences.html", now=now, saved=visit.word("told") == "saved")


async def save(visit: Visit) -> Response:
    """`POST /preferences`."""
    switches = Switches(*(name in visit.form for name in ("opens", "clicks", "notifications")))
    await visit.ask(preferences.put, Preferences, asked=ForUser(), body=switches)
    return visit.go("/preferences?told=saved")
