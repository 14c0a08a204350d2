"""What is asked of the API without a network, and what an error must look like."""

from __future__ import annotations

from typing import Any

import httpx

from mailwake_api.app import make_app
from mailwake_api.call import Endpoint
from mailwake_api.endpoints import ENDPOINTS
from tests.unit.api.memory import Memory

WISH = {"opens": True, "clicks": False, "notifications": True}
HTML = '<body><a href="https://shop.example/">offer</a></body>'
SAID = {
    "address": "anna@example.com",
    "purposes": ["opens"],
    "state": "granted",
    "method": "form",
    "wording": "I agree.",
}
GOOD: dict[str, Any] = {
    "put_preferences": WISH,
    "post_toggles": {"opens": True, "clicks": True},
    "put_policy": {"ceiling": "anonymous", "basis": "contract"},
    "post_consents": SAID,
    "look_up_consents": {"address": "anna@example.com"},
    "post_alerts_read": {"up_to": 1_767_225_600_000},
    "export_recipient": {"address": "anna@example.com"},
    "erase_recipient": {"address": "anna@example.com"},
    "post_webhooks": {"url": "https://crm.acme.example/hooks"},
    "put_webhook": {
        "url": "https://crm.acme.example/hooks",
        "kinds": ["open"],
        "enabled": True,
    },
    "post_sends": {"html": HTML, "recipients": ["anna@example.com"]},
}
"""A body of each endpoint that takes one."""


def connect(
    memory: Memory, endpoints: tuple[Endpoint, ...] = ENDPOINTS, **more: Any
) -> httpx.AsyncClient:
    """A client of an app in memory; `more` is httpx's."""
    transport = httpx.ASGITransport(make_app(endpoints, memory.parts))
    return httpx.AsyncClient(transport=transport, base_url="http://api.example", **more)


def problem(answer: httpx.Response, status: int) -> str:
    """The code of an error, which must be a whole problem of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() == {"type", "title", "status", "detail", "code"}
    assert body["status"] == status
    return str(body["code"])
