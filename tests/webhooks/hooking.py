"""Webhooks and alerts for them, on a real Kafka."""

from __future__ import annotations

import dataclasses
import os
import uuid
from pathlib import Path
from typing import Any

from mailwake.contracts import ALERT, Alert, user_key
from mailwake.ids import now_ms
from mailwake.keyring import Keyring
from mailwake.setting_values import networks
from mailwake.settings import Settings
from mailwake.webhook import DELIVERY, WEBHOOK, Delivery, Secret, Webhook, webhook_key
from tests.following import put, standing
from tests.running import Service

SECRET = os.urandom(32)


def trial(settings: Settings, **more: Any) -> Settings:
    """The settings of a trial on this machine, in which days are seconds."""
    usual: dict[str, Any] = {
        "webhook_http": "yes",
        "webhook_networks": networks("127.0.0.0/8"),
        "webhook_timeout_s": 4.0,  # so that a busy machine is no failure
        "webhook_schedule": (0.2, 0.3, 0.4, 0.5, 0.6),
    }
    return dataclasses.replace(settings, **usual | more)


def service(settings: Settings, folder: Path, name: str = "webhooks") -> Service:
    return Service("webhooks", settings, folder / f"{name}.log")


def webhook(keyring: Keyring, tenant: str, user: str | None, url: str, **more: Any) -> Webhook:
    webhook_id = uuid.uuid4().hex
    sealed = keyring.seal_secret(SECRET, webhook_key(tenant, webhook_id))
    fields: dict[str, Any] = {
        "webhook_id": webhook_id,
        "tenant": tenant,
        "url": url,
        "kinds": ["open", "click"],
        "secrets": [Secret(sealed)],
        "created_at": now_ms() - 60_000,
        "user": user,
    }
    return Webhook(**fields | more)


async def write_webhooks(settings: Settings, *webhooks: Webhook) -> None:
    await put(
        settings,
        "webhooks",
        [(webhook_key(each.tenant, each.webhook_id), WEBHOOK.encode(each)) for each in webhooks],
    )


def alerts(tenant: str, user: str, count: int, **more: Any) -> list[Alert]:
    fields: dict[str, Any] = {
        "revision": 1,
        "kind": "open",
        "at": now_ms(),
        "tenant": tenant,
        "user": user,
        "message_id": "2" * 32,
        "recipient": 1,
        "recipient_count": 1,
        "verdict": "human",
        "reasons": ["browser"],
        "recipient_id": "3" * 32,
    }
    made = []
    for _ in range(count):
        one = uuid.uuid4().hex
        made.append(Alert(**fields | {"alert_id": one, "event_id": one} | more))
    return made


async def ring(settings: Settings, some: list[Alert]) -> None:
    await put(
        settings,
        "alerts",
        [(user_key(each.tenant, each.user), ALERT.encode(each)) for each in some],
    )


async def log_of(settings: Settings) -> list[Delivery]:
    """The last that is known of each delivery."""
    found = await standing(settings, "webhook_deliveries")
    return [DELIVERY.decode(value) for value in found.values()]


async def webhook_now(settings: Settings, of: Webhook) -> Webhook:
    found = await standing(settings, "webhooks")
    return WEBHOOK.decode(found[webhook_key(of.tenant, of.webhook_id)])
