"""Deliveries and webhooks with everything filled in but what a test is about."""

from __future__ import annotations

from typing import Any

from mailwake.contracts import Alert
from mailwake.webhook import Delivery, Secret, Webhook

NOW = 1_767_225_600_000


def alert(**more: Any) -> Alert:
    fields: dict[str, Any] = {
        "alert_id": "1" * 32,
        "revision": 1,
        "event_id": "4" * 32,
        "kind": "open",
        "at": NOW - 1000,
        "tenant": "acme",
        "user": "ben",
        "message_id": "2" * 32,
        "recipient": 1,
        "recipient_count": 1,
        "verdict": "human",
        "reasons": ["browser"],
        "recipient_id": "3" * 32,
    }
    return Alert(**fields | more)


def delivery(**more: Any) -> Delivery:
    fields: dict[str, Any] = {
        "delivery_id": "d" * 32,
        "webhook_id": "e" * 32,
        "tenant": "acme",
        "type": "alert.opened",
        "made_at": NOW,
        "alert": alert(),
    }
    return Delivery(**fields | more)


def webhook(**more: Any) -> Webhook:
    fields: dict[str, Any] = {
        "webhook_id": "e" * 32,
        "tenant": "acme",
        "url": "https://crm.acme.example/hooks",
        "kinds": ["open", "click"],
        "secrets": [Secret("x" * 67)],
        "created_at": NOW - 10_000,
        "user": "ben",
    }
    return Webhook(**fields | more)
