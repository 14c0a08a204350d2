"""What a receiver gets, checked by the library that receivers use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Receiver
from standardwebhooks.webhooks import WebhookVerificationError

from mailwake.contracts import Kind
from mailwake.ids import now_ms
from mailwake.keyring import new_keyring
from mailwake.tokens import TokenError
from mailwake.webhook import (
    DELIVERY,
    Delivery,
    delivery_of,
    secret_text,
    webhook_key,
)
from mailwake_webhooks.message import body_of, headers_of
from tests.unit.webhooks.values import NOW, alert, delivery, webhook

OLD, NEW, OTHER = (bytes([each]) * 32 for each in (1, 2, 3))


def sent(secrets: list[bytes], told: Delivery | None = None) -> tuple[str, dict[str, str]]:
    body = body_of(told or delivery())
    headers = headers_of(told or delivery(), body, secrets, now_ms())
    return body.decode(), {name.decode(): value.decode() for name, value in headers}


def test_a_receiver_verifies_it_with_its_secret_and_with_no_other() -> None:
    body, headers = sent([NEW])
    payload: Any = Receiver(secret_text(NEW)).verify(body, headers)
    assert payload["type"] == "alert.opened"
    for wrong in (OTHER, OLD):
        with pytest.raises(WebhookVerificationError):
            Receiver(secret_text(wrong)).verify(body, headers)
    for changed in (body + " ", body.replace("open", "shut")):
        with pytest.raises(WebhookVerificationError):
            Receiver(secret_text(NEW)).verify(changed, headers)
    with pytest.raises(WebhookVerificationError):
        Receiver(secret_text(NEW)).verify(body, headers | {"webhook-id": "f" * 32})


def test_while_a_secret_is_changed_both_verify() -> None:
    body, headers = sent([NEW, OLD])
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (OLD, NEW):
        Receiver(secret_text(secret)).verify(body, headers)


def test_a_sealed_secret_opens_for_its_webhook_alone() -> None:
    keyring = new_keyring()
    sealed = keyring.seal_secret(NEW, webhook_key("acme", "e" * 32))
    rotated = keyring.rotate()
    assert rotated.open_secret(sealed, webhook_key("acme", "e" * 32)) == NEW
    for key in (webhook_key("globex", "e" * 32), webhook_key("acme", "f" * 32)):
        with pytest.raises(TokenError, match="forged"):
            keyring.open_secret(sealed, key)
    with pytest.raises(TokenError, match="unknown_key"):
        rotated.revoke(1).open_secret(sealed, webhook_key("acme", "e" * 32))


@pytest.mark.parametrize(
    ("kind", "withdrawn", "told"),
    [
        ("open", False, "alert.opened"),
        ("click", False, "alert.clicked"),
        ("open", True, "alert.withdrawn"),
        ("click", True, "alert.withdrawn"),
    ],
)
def test_the_body_tells_all_of_an_alert(kind: Kind, withdrawn: bool, told: str) -> None:
    one = alert(kind=kind, withdrawn=withdrawn, count=3, last_at=NOW + 5000)
    body = json.loads(body_of(delivery_of(one, webhook(), NOW)))
    assert (body["type"], body["timestamp"]) == (told, "2026-01-01T00:00:05.000Z")
    data = body["data"]
    assert (data["count"], data["withdrawn"], data["quiet"], data["link"]) == (
        3,
        withdrawn,
        False,
        None,
    )
    assert (data["tenant"], data["user"], data["alert_id"]) == ("acme", "ben", "1" * 32)


def test_a_test_tells_of_no_mail() -> None:
    body = json.loads(body_of(delivery(alert=None, type="mailwake.test")))
    assert body == {
        "type": "mailwake.test",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "data": {"webhook_id": "e" * 32},
    }


@pytest.mark.fault(19)
def test_a_revision_has_one_id_for_a_webhook_and_one_body() -> None:
    one = delivery_of(alert(), webhook(), NOW)
    assert delivery_of(alert(), webhook(), NOW + 1).delivery_id == one.delivery_id
    others = [
        delivery_of(alert(revision=2), webhook(), NOW),
        delivery_of(alert(alert_id="5" * 32), webhook(), NOW),
        delivery_of(alert(), webhook(webhook_id="f" * 32), NOW),
    ]
    assert len({one.delivery_id, *(each.delivery_id for each in others)}) == 4
    through_kafka = DELIVERY.decode(DELIVERY.encode(one))
    assert body_of(through_kafka) == body_of(one)
