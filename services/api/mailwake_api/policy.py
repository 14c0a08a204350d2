"""The policy: what a tenant's administrator allows, and on which basis."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from mailwake import contracts
from mailwake.contracts import Ceiling, LawfulBasis, Millis, RetentionDays
from mailwake.ids import now_ms
from mailwake_api import conditions
from mailwake_api.call import Call


class PolicyWish(Struct, frozen=True, forbid_unknown_fields=True):
    """What the administrator allows.

    Attributes:
        ceiling: the most that any user may track: off, anonymous (counts alone) or identified.
        basis: what makes tracking lawful (GDPR, article 6, 1). As long as it is consent, a
            recipient who has not been asked is not tracked.
        retention_days: for how many days a mail is tracked that is sent from now on; as before,
            unless given.
    """

    ceiling: Ceiling
    basis: LawfulBasis
    retention_days: RetentionDays | None = None


class PolicyNow(Struct, frozen=True):
    """The policy that holds.

    Attributes:
        retention_days: for how many days a mail is tracked that is sent now.
        at: when it was last changed, in milliseconds since 1970; 0 when it never was.
    """

    ceiling: Ceiling
    basis: LawfulBasis
    retention_days: RetentionDays
    at: Millis


async def show(call: Call) -> Response:
    """The tenant's policy."""
    await call.parts.register.current()
    return conditions.answer(call.request, _now(call))


async def put(call: Call) -> Response:
    """Sets the tenant's policy."""
    wish: PolicyWish = call.body
    tenant = call.caller.tenant
    async with call.parts.locks.of(tenant.encode()):
        await call.parts.register.current()
        before = _now(call)
        conditions.check(call.request, before)
        kept = before.retention_days if wish.retention_days is None else wish.retention_days
        made = contracts.Policy(tenant, now_ms(), wish.ceiling, wish.basis, kept)
        async with call.parts.connection.writing():
            await call.parts.register.write_policy(made)
    return conditions.answer(call.request, _shown(made))


def _now(call: Call) -> PolicyNow:
    return _shown(call.parts.register.policy(call.caller.tenant))


def _shown(policy: contracts.Policy) -> PolicyNow:
    return PolicyNow(policy.ceiling, policy.basis, policy.retention_days, policy.at)
