"""A user's alerts: the list, and what of it is read."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from mailwake.contracts import Alert, Id, Millis
from mailwake_api.bell import PER_USER
from mailwake_api.call import Call, as_json
from mailwake_api.feed import Item
from mailwake_api.preferences import ForUser
from mailwake_api.problems import Problem

Cursor = Annotated[str, Meta(pattern="^[0-9]{1,13}-[0-9a-f]{32}$(?!\\n)")]


class Listed(ForUser, frozen=True, forbid_unknown_fields=True):
    """Which alerts.

    Attributes:
        user: named by a token of role platform, and by no other.
        unread: only those that are not read.
        cursor: `next` of the page before.
        limit: so many at most.
    """

    unread: bool = False
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=PER_USER)] = 50


class Shown(Alert, frozen=True, omit_defaults=False):
    """An alert, as the record of the topic `alerts` has it.

    Attributes:
        alert_id: the same in every revision; by it alerts are told apart.
        revision: of two with the same alert_id the higher replaces the other.
        at: when the recipient did it, in milliseconds since 1970.
        recipient: which recipient (the first is 1); 0 when one of all.
        recipient_count: how many recipients the body went to.
        recipient_id: the recipient, where the body went to one alone.
        link, target: of a click, which link (the first is 0) and where it led.
        count: how many opens of the mail, or clicks of the link, it tells of.
        last_at: when the last of them was; 0 when there is but one.
        returned: the mail had been quiet for long before.
        quiet: it came in the user's quiet hours: it is listed and rings no bell.
        withdrawn: it turned out to be a machine's, or another alert tells of it; take it off what
            you show. Of the list such alerts are left out.
        read: whether it is marked as read.
    """

    read: bool = False


class Alerts(Struct, frozen=True):
    """A page of alerts.

    Attributes:
        alerts: newest first, by the time of what they tell of.
        unread: how many of all alerts are not read.
        next: the cursor of the next page; null when this is the last.
        last_event_id: a stream that is given this as `Last-Event-ID` goes on where this list ends.
    """

    alerts: list[Shown]
    unread: int
    next: str | None
    last_event_id: str


class Reading(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be marked as read: alerts by their ids, or all up to one.

    Attributes:
        alert_ids: these; unknown ones are passed over.
        up_to: all there are up to this time, in milliseconds since 1970, or up to this alert. One
            that is told of later is unread, whatever time it is of.
    """

    alert_ids: Annotated[list[Id], Meta(max_length=1000)] | None = None
    up_to: Millis | Id | None = None


class Unread(Struct, frozen=True):
    """How many alerts are not read."""

    unread: int


_SHOWN = msgspec.json.Decoder(Shown)


def shown(item: Item, read: frozenset[str]) -> Shown:
    """An alert as it is shown."""
    alert = _SHOWN.decode(item.data)
    return msgspec.structs.replace(alert, read=True) if item.alert_id in read else alert


async def listed(call: Call) -> Response:
    """A page of the user's alerts."""
    asked: Listed = call.asked
    tenant, user, bell = call.caller.tenant, call.user(asked.user), call.parts.bell
    await bell.current()
    read, items = bell.read(tenant, user), bell.shown(tenant, user)
    unread = [item for item in items if item.alert_id not in read]
    wanted = unread if asked.unread else items
    if asked.cursor is not None:
        at, _, alert_id = asked.cursor.partition("-")
        wanted = [item for item in wanted if item.rank < (int(at), alert_id)]
    page = wanted[: asked.limit]
    more = f"{page[-1].at}-{page[-1].alert_id}" if len(wanted) > len(page) else None
    here = str(bell.here(tenant, user))
    return as_json(Alerts([shown(item, read) for item in page], len(unread), more, here))


async def mark_read(call: Call) -> Response:
    """Marks alerts as read."""
    reading: Reading = call.body
    tenant, user, bell = call.caller.tenant, call.user(call.asked.user), call.parts.bell
    if (reading.alert_ids is None) == (reading.up_to is None):
        raise Problem(422, "what", "give either `alert_ids` or `up_to`")
    await bell.current()
    await bell.mark(tenant, user, reading.alert_ids or _up_to(call, user, reading.up_to))
    return as_json(Unread(bell.unread(tenant, user)))


def _up_to(call: Call, user: str, up_to: int | str | None) -> list[str]:
    """The alerts up to a time or to one of them. Raises Problem."""
    items = call.parts.bell.shown(call.caller.tenant, user)
    if isinstance(up_to, str):
        rank = next((item.rank for item in items if item.alert_id == up_to), None)
        if rank is None:
            raise Problem(422, "no_such_alert", "`up_to` names no alert that is shown")
        return [item.alert_id for item in items if item.rank <= rank]
    return [item.alert_id for item in items if up_to is not None and item.at <= up_to]
