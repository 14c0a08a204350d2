"""Webhooks: the addresses that alerts are posted to, and what became of each message.

A user manages the user's own; an administrator those of the whole tenant as well; a platform all of
its tenant. Whatever is somebody else's is not there. What posts is the service `webhooks`: the API
itself connects to no address that it is given.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace
from starlette.responses import Response

from mailwake.contracts import Id, Kind, Millis, User
from mailwake.guard import RefusedError, check_url
from mailwake.ids import now_ms
from mailwake.tokens import TokenError
from mailwake.webhook import (
    DELIVERY,
    SECRET_BYTES,
    WEBHOOK,
    Delivery,
    DeliveryState,
    DisabledFor,
    MessageType,
    Outcome,
    Secret,
    Webhook,
    WebhookUrl,
    lane_topic,
    secret_text,
    webhook_key,
)
from mailwake_api import conditions
from mailwake_api.bearer import Caller
from mailwake_api.call import Call, as_json
from mailwake_api.deliveries import PER_WEBHOOK
from mailwake_api.preferences import ForUser
from mailwake_api.problems import Problem, unavailable

MOST_OF_AN_OWNER = 10
"""So many webhooks a user has, and so many the whole tenant, at most."""
OVERLAP_MS = 24 * 3_600_000
"""So long the secret before the current one signs too."""
MORE_S = 5.0
"""So much longer than a webhook may take what comes of a test is waited for."""

Kinds = Annotated[list[Kind], Meta(min_length=1, max_length=2)]
StatusClass = Literal["1xx", "2xx", "3xx", "4xx", "5xx"]


class NewWebhook(Struct, frozen=True, forbid_unknown_fields=True):
    """A webhook to be made.

    Attributes:
        url: where messages are posted to: https, a public name, port 443 or from 1024.
        kinds: of what; of both, unless given.
        whole_tenant: for the alerts of all users of the tenant, which takes role admin or platform.
    """

    url: WebhookUrl
    kinds: Kinds | None = None
    whole_tenant: bool = False


class WebhookChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What a webhook is to be.

    Attributes:
        url: where messages are posted to.
        kinds: of what.
        enabled: whether it gets messages; true also enables one that was disabled by failures.
    """

    url: WebhookUrl
    kinds: Kinds
    enabled: bool


class WebhookNow(Struct, frozen=True):
    """A webhook as it is.

    Attributes:
        user: whose alerts; null for those of the whole tenant.
        disabled: why it gets nothing: by_user, gone (it answered 410), failing (all attempts
            failed, for days), no_secret (get it a new one); null while it gets messages.
        disabled_at: since when, in milliseconds since 1970.
        created_at: when it was made, in milliseconds since 1970.
        old_secret_until: until when messages are signed with the secret before the current one
            too, in milliseconds since 1970; null when they are not.
    """

    webhook_id: Id
    url: WebhookUrl
    kinds: list[Kind]
    user: User | None
    enabled: bool
    disabled: DisabledFor | None
    disabled_at: Millis | None
    created_at: Millis
    old_secret_until: Millis | None


class WebhookMade(WebhookNow, frozen=True):
    """A webhook with its secret, which is told this once.

    Attributes:
        secret: what its messages are verified with, as Standard Webhooks writes it.
    """

    secret: str


class WebhookList(Struct, frozen=True):
    """All webhooks that the caller manages, the oldest first."""

    webhooks: list[WebhookNow]


class DeliveryAttempt(Struct, frozen=True):
    """One attempt.

    Attributes:
        at: when it began, in milliseconds since 1970.
        outcome: how it ended; docs/webhooks.md tells of each.
        status: the status of the answer; null where there was none.
        took_ms: how long it took, in milliseconds.
    """

    at: Millis
    outcome: Outcome
    status: int | None
    took_ms: int


class DeliveryNow(Struct, frozen=True):
    """One message, and what became of it.

    Attributes:
        delivery_id: what the receiver got as `webhook-id`.
        alert_id: of what; null for a test.
        revision: of that alert.
        next_at: when the next attempt is due, in milliseconds since 1970; null where there is none.
        attempts: the last ones, the oldest first.
    """

    delivery_id: Id
    type: MessageType
    state: DeliveryState
    alert_id: Id | None
    revision: int | None
    next_at: Millis | None
    attempts: list[DeliveryAttempt]


class DeliveryList(Struct, frozen=True):
    """The last deliveries of a webhook, the one that was last tried first."""

    deliveries: list[DeliveryNow]


class LastDeliveries(ForUser, frozen=True, forbid_unknown_fields=True):
    """How many deliveries.

    Attributes:
        user: named by a token of role platform, and by no other.
        limit: so many at most.
    """

    limit: Annotated[int, Meta(ge=1, le=PER_WEBHOOK)] = PER_WEBHOOK


class Tested(Struct, frozen=True):
    """What came of a test.

    Attributes:
        status_class: of the answer; null where there was none.
        took_ms: how long it took, in milliseconds.
    """

    delivered: bool
    outcome: Outcome
    status_class: StatusClass | None
    took_ms: int


async def listed(call: Call) -> Response:
    """The webhooks that the caller manages."""
    await call.parts.webhooks.current()
    caller, webhooks = call.caller, call.parts.webhooks
    if caller.role == "platform" and call.asked.user is None:
        found = webhooks.of_tenant(caller.tenant)
    else:
        found = webhooks.of(caller.tenant, call.user(call.asked.user))
        if caller.role == "admin":
            found = webhooks.of(caller.tenant, None) + found
    return as_json(WebhookList(list(map(_shown, found))))


async def make(call: Call) -> Response:
    """Makes a webhook, and tells its secret."""
    wish: NewWebhook = call.body
    tenant, owner = call.caller.tenant, _owner(call, wish.whole_tenant)
    url, webhook_id = _checked(call, wish.url), uuid.uuid4().hex
    secret, sealed = _new_secret(call, webhook_key(tenant, webhook_id))
    kinds: list[Kind] = sorted(set(wish.kinds or ("open", "click")), reverse=True)
    webhook = Webhook(webhook_id, tenant, url, kinds, [sealed], now_ms(), owner)
    async with call.parts.locks.of(b"webhooks of " + webhook_key(tenant, owner or "")):
        await call.parts.webhooks.current()
        if len(call.parts.webhooks.of(tenant, owner)) >= MOST_OF_AN_OWNER:
            raise Problem(
                409, "too_many", f"there are {MOST_OF_AN_OWNER} webhooks already; delete one"
            )
        await _write(call, webhook)
    made = as_json(_with_secret(webhook, secret))
    made.status_code = 201
    made.headers["Location"] = f"/v1/webhooks/{webhook_id}"
    return made


async def show(call: Call) -> Response:
    """One webhook."""
    return conditions.answer(call.request, _shown(await _found(call)))


async def put(call: Call) -> Response:
    """Changes a webhook; what waits for it goes to where it now is."""
    change: WebhookChange = call.body
    url = _checked(call, change.url)
    async with call.parts.locks.of(_key(call)):
        known = await _found(call)
        conditions.check(call.request, _shown(known))
        disabled = None if change.enabled else known.disabled or "by_user"
        since = 0 if disabled is None else known.disabled_at or now_ms()
        kinds: list[Kind] = sorted(set(change.kinds), reverse=True)
        changed = replace(known, url=url, kinds=kinds, disabled=disabled, disabled_at=since)
        await _write(call, changed)
    return conditions.answer(call.request, _shown(changed))


async def delete(call: Call) -> Response:
    """Deletes a webhook; what waits for it is not delivered any more."""
    async with call.parts.locks.of(_key(call)):
        await _found(call)
        await call.parts.connection.write("webhooks", [(_key(call), None)])
        await call.parts.webhooks.current()
    return Response(None, 204)


async def rotate(call: Call) -> Response:
    """Gives a webhook a new secret; the one before it signs too for a day."""
    async with call.parts.locks.of(_key(call)):
        known = await _found(call)
        secret, sealed = _new_secret(call, _key(call))
        secrets, before = [sealed], known.secrets[0]
        try:
            call.parts.keyring.open_secret(before.sealed, _key(call))
            secrets.append(replace(before, expires_at=now_ms() + OVERLAP_MS))
        except TokenError:
            pass  # the key it was sealed with is revoked
        if known.disabled == "no_secret":
            known = replace(known, disabled=None, disabled_at=0)
        changed = replace(known, secrets=secrets)
        await _write(call, changed)
    return as_json(_with_secret(changed, secret))


async def test(call: Call) -> Response:
    """Sends a test message, and tells what came of it."""
    webhook, deliveries = await _found(call), call.parts.deliveries
    now = now_ms()
    delivery = Delivery(
        uuid.uuid4().hex, webhook.webhook_id, webhook.tenant, "mailwake.test", now, due_at=now
    )
    # One at a time: nobody is to be flooded by way of us.
    async with call.parts.locks.of(b"test of " + _key(call)):
        with deliveries.awaited(delivery.delivery_id) as told:
            await _send(call, delivery)
            try:
                async with asyncio.timeout(call.parts.settings.webhook_timeout_s + MORE_S):
                    attempt = (await told).attempts[-1]
            except TimeoutError:
                raise unavailable(
                    "what came of the test is not known yet; look into the deliveries"
                ) from None
    status_class = _STATUS_CLASSES.get(attempt.status // 100)
    delivered = attempt.outcome == "delivered"
    return as_json(Tested(delivered, attempt.outcome, status_class, attempt.took_ms))


async def log(call: Call) -> Response:
    """The last deliveries of a webhook."""
    webhook = await _found(call)
    await call.parts.deliveries.current()
    found = call.parts.deliveries.of(webhook.tenant, webhook.webhook_id)
    return as_json(DeliveryList(list(map(_told, found[: call.asked.limit]))))


async def replay(call: Call) -> Response:
    """Sends a message once more, with a schedule of its own."""
    webhook, deliveries = await _found(call), call.parts.deliveries
    await deliveries.current()
    wanted: str = call.request.path_params["delivery_id"]
    found = deliveries.get(webhook.tenant, webhook.webhook_id, wanted)
    if found is None:
        raise Problem(404, "not_found", "there is no delivery of this id in the log")
    if found.alert is None:
        raise Problem(409, "a_test", "a test is not replayed; send another")
    if found.state == "pending":
        raise Problem(409, "pending", "it has a next attempt already; `next_at` tells when")
    if webhook.disabled is not None:
        raise Problem(409, "disabled", "the webhook is disabled; enable it, then replay")
    now = now_ms()
    again = replace(found, state="pending", tries=0, made_at=now, due_at=now)
    await _send(call, again)
    answer = as_json(_told(again))
    answer.status_code = 202
    return answer


_STATUS_CLASSES: dict[int, StatusClass] = {1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


def _may(caller: Caller, webhook: Webhook) -> bool:
    if caller.role == "platform" or webhook.user == caller.sub:
        return True
    return caller.role == "admin" and webhook.user is None


def _owner(call: Call, whole_tenant: bool) -> str | None:
    if not whole_tenant:
        return call.user(call.asked.user)
    if call.caller.role == "user":
        raise Problem(403, "role", "this needs a token of role admin or platform, not user")
    return None


def _key(call: Call) -> bytes:
    return webhook_key(call.caller.tenant, call.request.path_params["webhook_id"])


async def _found(call: Call) -> Webhook:
    """The webhook that the path names, if it is the caller's to manage. Raises Problem."""
    await call.parts.webhooks.current()
    webhook = call.parts.webhooks.get(call.caller.tenant, call.request.path_params["webhook_id"])
    if webhook is None or not _may(call.caller, webhook):
        raise Problem(404, "not_found", "there is no such webhook among those of the caller")
    return webhook


def _checked(call: Call, url: str) -> str:
    settings = call.parts.settings
    try:
        return check_url(
            url, http=settings.webhook_http == "yes", networks=settings.webhook_networks
        ).url
    except RefusedError as error:
        raise Problem(422, "url", str(error)) from None


def _new_secret(call: Call, key: bytes) -> tuple[str, Secret]:
    """A secret as its owner gets it, and as it is kept."""
    secret = os.urandom(SECRET_BYTES)
    return secret_text(secret), Secret(call.parts.keyring.seal_secret(secret, key))


async def _write(call: Call, webhook: Webhook) -> None:
    """Writes a webhook; returns when the next call of anybody finds it."""
    key = webhook_key(webhook.tenant, webhook.webhook_id)
    await call.parts.connection.write("webhooks", [(key, WEBHOOK.encode(webhook))])
    await call.parts.webhooks.current()


async def _send(call: Call, delivery: Delivery) -> None:
    key = webhook_key(delivery.tenant, delivery.webhook_id)
    await call.parts.connection.write(lane_topic("now"), [(key, DELIVERY.encode(delivery))])


def _shown(webhook: Webhook) -> WebhookNow:
    old = webhook.secrets[1].expires_at if len(webhook.secrets) > 1 else 0
    return WebhookNow(
        webhook.webhook_id,
        webhook.url,
        webhook.kinds,
        webhook.user,
        webhook.disabled is None,
        webhook.disabled,
        webhook.disabled_at or None,
        webhook.created_at,
        old if old > now_ms() else None,
    )


def _with_secret(webhook: Webhook, secret: str) -> WebhookMade:
    return WebhookMade(**asdict(_shown(webhook)), secret=secret)


def _told(delivery: Delivery) -> DeliveryNow:
    alert = delivery.alert
    return DeliveryNow(
        delivery.delivery_id,
        delivery.type,
        delivery.state,
        alert.alert_id if alert else None,
        alert.revision if alert else None,
        delivery.due_at or None,
        [
            DeliveryAttempt(each.at, each.outcome, each.status or None, each.took_ms)
            for each in delivery.attempts
        ],
    )
