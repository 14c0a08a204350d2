"""Made values of the contracts, and records that hold them."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord
from msgspec.structs import replace

from mailwake.contracts import Consent, Display, Event, Hit, Party, Send, new_consent
from mailwake.track import Track, TrackedSend

AT = 1_767_225_600_000
ID = "0199b8f3a0007abc8def0123456789ab"

BEYOND_2100 = (1 << 42) - 1
NARROWER = (
    "ALTER TABLE events ADD CONSTRAINT narrower CHECK at < toDateTime64('2100-01-01', 3, 'UTC')"
)
"""Makes a table that takes less than the contract, whose times reach to 2109."""


def message_id(number: int = 0) -> str:
    return f"{number:032x}"


def send(number: int = 0, **more: Any) -> Send:
    made = Send(
        message_id=message_id(number),
        tenant="acme",
        user="anna",
        sent_at=AT,
        recipient_count=1,
        mode="identified",
        opens=True,
        clicks=True,
        recipients=[ID],
        links=["https://example.com/"],
    )
    return replace(made, **more)


def display(number: int = 0, subject: str = "Offer") -> Display:
    party = Party("bob@example.com", "Bob")
    return Display(message_id(number), "acme", "anna", subject, [party, Party("x@y")], ["here"])


def hit(number: int = 0, **more: Any) -> Hit:
    made = Hit(
        hit_id=f"{number:032x}",
        kind="open",
        at=AT,
        tenant="acme",
        message_id=message_id(number),
        recipient=1,
        mode="identified",
    )
    return replace(made, **more)


def event(number: int = 0, **more: Any) -> Event:
    made = Event(
        event_id=f"{number:032x}",
        revision=1,
        hit_id=f"{number:032x}",
        kind="open",
        at=AT,
        tenant="acme",
        user="anna",
        message_id=message_id(number),
        recipient=1,
        recipient_count=1,
        mode="identified",
        verdict="human",
        reasons=["browser"],
        first=True,
        sent_at=AT,
    )
    return replace(made, **more)


def track(revision: int = 1, *, sent: bool = True) -> Track:
    send = TrackedSend("acme", "anna", 1, ID, "identified", True, True, AT, None)
    return Track(revision=revision, send=send if sent else None, opens=revision, first_open_at=AT)


def consent(number: int = 0, **more: Any) -> Consent:
    said: dict[str, Any] = {"state": "denied", "purpose": "opens", "at": AT} | more
    return new_consent("acme", message_id(number), method="withdrawal_page", **said)


def record(
    topic: str, value: bytes | None, key: bytes | None = None, offset: int = 0, partition: int = 0
) -> Any:
    return ConsumerRecord(
        topic, partition, offset, 0, 0, key, value, None, len(key or b""), len(value or b""), ()
    )
