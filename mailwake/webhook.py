"""Webhooks: the addresses that alerts are posted to, and each delivery on its way.

A webhook follows the specification Standard Webhooks (https://www.standardwebhooks.com): the ids,
the signature, the secrets' form and the schedule are its.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from mailwake.codec import Codec
from mailwake.contracts import Alert, Count, Id, Kind, Millis, Tenant, User, Version

SECRET_BYTES = 32
MOST_ATTEMPTS = 16
"""So many of its attempts a delivery tells of; the oldest are forgotten first."""

WebhookUrl = Annotated[str, Meta(min_length=1, max_length=2048)]
SealedSecret = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{67}$(?!\\n)")]

DisabledFor = Literal["by_user", "gone", "failing", "no_secret"]
"""Why a webhook gets nothing: its owner said so; it answered 410; all attempts of a delivery failed
and no other succeeded meanwhile; its secret was sealed with a key that is revoked."""

MessageType = Literal["alert.opened", "alert.clicked", "alert.withdrawn", "mailwake.test"]

Outcome = Literal[
    "delivered",
    "status",
    "busy",
    "redirect",
    "gone",
    "timeout",
    "dns",
    "refused",
    "connect",
    "tls",
    "broken",
    "disabled",
    "withheld",
    "no_secret",
]
"""How an attempt ended: 2xx; a status that is none of the others; 429 or 503; 3xx, never followed;
410; no answer in time; the name is not known; the target is not on the public Internet; no
connection; no TLS that holds; the connection broke or spoke no HTTP. The last three were not
posted: the webhook is disabled; the recipient does not agree any more; nothing can be signed."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

DeliveryState = Literal["pending", "delivered", "failed"]

LANES: dict[str, int] = {
    "now": 0,
    "5s": 5,
    "1m": 60,
    "5m": 300,
    "30m": 1800,
    "2h": 7200,
    "5h": 18000,
}
"""The retry topics, `webhooks.retry.<lane>`, and how long a record waits in each, in seconds."""


class Secret(Struct, frozen=True, omit_defaults=True):
    """One secret of a webhook.

    Attributes:
        sealed: the 32 bytes, sealed with a key of the keyring; see `Keyring.seal_secret`.
        expires_at: until then messages are signed with it too; 0 is for good.
    """

    sealed: SealedSecret
    expires_at: Millis = 0


class Webhook(Struct, frozen=True, omit_defaults=True):
    """An address that alerts are posted to. Key: `tenant/webhook_id`; see `webhook_key`.

    Attributes:
        user: whose alerts; None for all of the tenant.
        kinds: of what.
        secrets: the current one, then the one before it as long as it signs too.
        created_at: alerts that were told before are not for it.
        disabled: why it gets nothing; None while it does.
    """

    webhook_id: Id
    tenant: Tenant
    url: WebhookUrl
    kinds: Annotated[list[Kind], Meta(min_length=1, max_length=2)]
    secrets: Annotated[list[Secret], Meta(min_length=1, max_length=2)]
    created_at: Millis
    user: User | None = None
    disabled: DisabledFor | None = None
    disabled_at: Millis = 0
    v: Version = 1


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One attempt to deliver.

    Attributes:
        at: when it began.
        status: the status of the answer; 0 where there was none.
        took_ms: how long it took, in milliseconds.
    """

    at: Millis
    outcome: Outcome
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    took_ms: Count = 0


class Delivery(Struct, frozen=True, omit_defaults=True):
    """One message for one webhook, and what became of it so far. Key: `delivery_key` in
    `webhook_deliveries`, `webhook_key` in `webhooks.retry.*`.

    Attributes:
        delivery_id: the same for every attempt; what the receiver gets as `webhook-id`.
        made_at: when its alert was told, or when a test or replay was asked for.
        state: pending as long as there is a next attempt.
        due_at: when that is; 0 where there is none.
        tries: attempts of the schedule that is under way; a replay begins it anew.
        attempts: the last of all attempts, the oldest first.
        alert: what it tells; None for a test.
    """

    delivery_id: Id
    webhook_id: Id
    tenant: Tenant
    type: MessageType
    made_at: Millis
    state: DeliveryState = "pending"
    due_at: Millis = 0
    tries: Count = 0
    attempts: Annotated[list[Attempt], Meta(max_length=MOST_ATTEMPTS)] = []
    alert: Alert | None = None
    v: Version = 1


WEBHOOK: Codec[Webhook] = Codec(Webhook)
DELIVERY: Codec[Delivery] = Codec(Delivery)


def webhook_key(tenant: str, webhook_id: str) -> bytes:
    """The key of a webhook, and of its deliveries that wait."""
    return f"{tenant}/{webhook_id}".encode()


def delivery_key(delivery: Delivery) -> bytes:
    """The key of a delivery in `webhook_deliveries`."""
    return f"{delivery.tenant}/{delivery.webhook_id}/{delivery.delivery_id}".encode()


def delivery_of(alert: Alert, webhook: Webhook, told_at: int) -> Delivery:
    """The delivery that a revision of an alert gives to a webhook: the same whenever it is asked.

    `told_at` is the time of the alert's record, in milliseconds.
    """
    told = {"open": "alert.opened", "click": "alert.clicked"}[alert.kind]
    parts = ("delivery", alert.alert_id, str(alert.revision), webhook.webhook_id)
    return Delivery(
        delivery_id=hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest(),
        webhook_id=webhook.webhook_id,
        tenant=webhook.tenant,
        type="alert.withdrawn" if alert.withdrawn else told,  # type: ignore[arg-type]
        made_at=told_at,
        due_at=told_at,
        alert=alert,
    )


def lane_topic(lane: str) -> str:
    """The topic of a lane, without the installation's prefix."""
    return f"webhooks.retry.{lane}"


def lane_of(wait_ms: int) -> str:
    """The lane of a delivery that is due in so many milliseconds: the longest that is not too long.

    Whatever is still early at its end is put into the next; the least wait is told by `due_at`.
    """
    if wait_ms <= 0:
        return "now"
    return max(
        (lane for lane, wait in LANES.items() if lane != "now" and wait * 1000 <= wait_ms),
        key=LANES.__getitem__,
        default="5s",
    )


def secret_text(secret: bytes) -> str:
    """A secret as its owner gets it: `whsec_` and base64, as Standard Webhooks has it."""
    return "whsec_" + base64.b64encode(secret).decode()
