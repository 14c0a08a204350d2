"""Alerts with everything filled in but what a test is about."""

from __future__ import annotations

from typing import Any

from mailwake.contracts import Alert

NOW = 1_767_225_600_000


def alert(number: int, revision: int = 1, at: int = NOW, **more: Any) -> Alert:
    """An alert of Ben's, by the number that makes its id."""
    fields: dict[str, Any] = {
        "alert_id": f"{number:032x}",
        "revision": revision,
        "event_id": f"{number:032x}",
        "kind": "open",
        "at": at,
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
