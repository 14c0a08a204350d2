"""What a receiver gets: the body and the headers of Standard Webhooks, version 1.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from mailwake import __version__
from mailwake.contracts import ALERT, Alert
from mailwake.webhook import Delivery, MessageType


class Told(Alert, frozen=True, omit_defaults=False):
    """An alert with all its fields, so that receivers need not know what stands for what is left
    out."""


class Tested(Struct, frozen=True):
    """What a test message tells."""

    webhook_id: str


class Message(Struct, frozen=True):
    """The body.

    Attributes:
        timestamp: when what it tells of happened (RFC 3339, UTC).
    """

    type: MessageType
    timestamp: str
    data: Told | Tested


_TOLD = msgspec.json.Decoder(Told)


def body_of(delivery: Delivery) -> bytes:
    """The body: the same bytes at every attempt."""
    alert = delivery.alert
    at = delivery.made_at if alert is None else alert.last_at or alert.at
    data = Tested(delivery.webhook_id) if alert is None else _TOLD.decode(ALERT.encode(alert))
    return msgspec.json.encode(Message(delivery.type, _written(at), data))


def headers_of(
    delivery: Delivery, body: bytes, secrets: Sequence[bytes], now_ms: int
) -> list[tuple[bytes, bytes]]:
    """The headers of one attempt, signed with each of the secrets."""
    seconds = str(now_ms // 1000)
    signed = f"{delivery.delivery_id}.{seconds}.".encode() + body
    signatures = " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        for secret in secrets
    )
    fields = {
        "content-type": "application/json",
        "user-agent": f"Mailwake/{__version__}",
        "webhook-id": delivery.delivery_id,
        "webhook-timestamp": seconds,
        "webhook-signature": signatures,
    }
    return [(name.encode(), value.encode()) for name, value in fields.items()]


def _written(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
