"""Preferences: a user's switches, and what the compose window's toggles were last."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace
from starlette.responses import Response

from mailwake.contracts import (
    Ceiling,
    DailyDigest,
    Millis,
    Preference,
    QuietHours,
    Toggles,
    User,
    user_key,
)
from mailwake.ids import now_ms
from mailwake.permission import toggles_of
from mailwake.quiet import zone_of
from mailwake_api import conditions
from mailwake_api.call import Call
from mailwake_api.problems import Problem


class ForUser(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a platform acts for.

    Attributes:
        user: named by a token of role platform, and by no other.
    """

    user: User | None = None


class Switches(Struct, frozen=True, forbid_unknown_fields=True):
    """A user's switches.

    Attributes:
        opens: whether the user wants to know of opens.
        clicks: whether the user wants to know of clicks.
        notifications: whether the user wants to be alerted.
        quiet: the hours in which the bell does not ring; null for none. They stay as they are
            where this is left out.
        daily_digest: where the daily digest is sent, and when; null for none. It stays as it is
            where this is left out.
    """

    opens: bool
    clicks: bool
    notifications: bool
    quiet: QuietHours | UnsetType | None = UNSET
    daily_digest: DailyDigest | UnsetType | None = UNSET


class Preferences(Struct, frozen=True):
    """A user's switches and what comes of them.

    Attributes:
        at: when they were last changed, in milliseconds since 1970; 0 when they never were.
        last: the toggles of the last mail for which the user set them, if that was after `at`.
        effective: what the next mail is tracked for, unless it says otherwise; never above the
            ceiling. Consent may still take away from it.
        ceiling: the most that the tenant's administrator allows.
        quiet: the hours in which the bell does not ring, by the clock on the user's wall; null for
            none.
        daily_digest: where a mail a day is sent about what was opened and clicked, and when; null
            for none.
    """

    opens: bool
    clicks: bool
    notifications: bool
    at: Millis
    last: Toggles | None
    effective: Toggles
    ceiling: Ceiling
    quiet: QuietHours | None
    daily_digest: DailyDigest | None


async def show(call: Call) -> Response:
    """The caller's preferences, with all that was written before."""
    user = call.user(call.asked.user)
    await call.parts.register.current()
    return conditions.answer(call.request, _shown(call, _found(call, user)))


async def put(call: Call) -> Response:
    """Sets the switches. A wish above the ceiling is kept; the ceiling cuts what comes of it."""
    switches: Switches = call.body
    user = call.user(call.asked.user)
    async with call.parts.locks.of(user_key(call.caller.tenant, user)):
        await call.parts.register.current()
        known = _found(call, user)
        conditions.check(call.request, _shown(call, known))
        wish = _wished(known, switches, now_ms())
        async with call.parts.connection.writing():
            await call.parts.register.write_preference(wish)
    return conditions.answer(call.request, _shown(call, wish))


async def put_toggles(call: Call) -> Response:
    """Notes what the toggles were at the last mail; they are the default of the next."""
    toggles: Toggles = call.body
    user = call.user(call.asked.user)
    async with call.parts.locks.of(user_key(call.caller.tenant, user)):
        await call.parts.register.current()
        known = _found(call, user)
        noted = replace(known, at=now_ms(), last=toggles)
        async with call.parts.connection.writing():
            await call.parts.register.write_preference(noted)
    return conditions.answer(call.request, _shown(call, noted))


def _wished(known: Preference, switches: Switches, now: int) -> Preference:
    """What is known, changed as the switches say. Raises Problem for a zone that is none."""
    quiet = known.quiet if switches.quiet is UNSET else switches.quiet
    digest = known.daily_digest if switches.daily_digest is UNSET else switches.daily_digest
    for name, given in (("quiet", quiet), ("daily_digest", digest)):
        if given is not None and zone_of(given.zone) is None:
            raise Problem(
                422, "zone", f"`zone` of `{name}` is no time zone; name one such as Europe/Berlin"
            )
    switched = switches.notifications != known.notifications
    return Preference(
        known.tenant,
        known.user,
        now,
        switches.opens,
        switches.clicks,
        switches.notifications,
        notifications_at=now if switched else known.notifications_at,
        quiet=quiet,
        daily_digest=digest,
        daily_digest_at=now if digest and not known.daily_digest else known.daily_digest_at,
    )


def _found(call: Call, user: str) -> Preference:
    return call.parts.register.preference(call.caller.tenant, user)


def _shown(call: Call, preference: Preference) -> Preferences:
    ceiling = call.parts.register.policy(call.caller.tenant).ceiling
    next_mail = toggles_of(preference)
    allowed = ceiling != "off"
    return Preferences(
        preference.opens,
        preference.clicks,
        preference.notifications,
        preference.at,
        preference.last,
        Toggles(next_mail.opens and allowed, next_mail.clicks and allowed),
        ceiling,
        preference.quiet,
        preference.daily_digest,
    )
