# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""`/v1/messages/{message_id}/mute`: whether a mail alerts its sender."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from mailwake.contracts import MUTE, Mute, mute_key
from mailwake.ids import now_ms
from mailwake_api.call import Call, as_json
from mailwake_api.mails import OF_USER
from mailwake_api.messages import not_found, path_id

_IS_THERE = f"SELECT 1 FROM sends WHERE {OF_USER} AND message_id = %(mail)s LIMIT 1"


class Muted(Struct, frozen=True):
    """Whether a mail is muted."""

    muted: bool


async def mute(call: Call) -> Response:
    """From now on the mail alerts nobody."""
    return await _set(call, muted=True)


async def unmute(call: Call) -> Response:
    """From now on it alerts again."""
    return await _set(call, muted=False)


async def _set(call: Call, *, muted: bool) -> Response:
    """Returns when it is written and known here. Raises Problem for a mail that is not the user's,
    and UnavailableError."""
    tenant, user = call.caller.tenant, call.user(call.asked.user)
    message_id = path_id(call, "message_id")
    found = await call.parts.reader.rows(_IS_THERE, tenant=tenant, user=user, mail=message_id)
    if not found:
        raise not_found()
    mutes = call.parts.mutes
    await mutes.current()
    if mutes.muted(tenant, user, message_id) != muted:
        value = MUTE.encode(Mute(tenant, user, message_id, now_ms())) if muted else None
        record = mute_key(tenant, user, message_id), value
        await call.parts.connection.write("mutes", [record])
        await mutes.current()
    return as_json(Muted(muted))
