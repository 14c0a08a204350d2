"""Sends and hits with everything filled in but what a test is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from mailwake.contracts import Event, Hit, Send
from mailwake.ids import HitStream
from mailwake.track import Track
from mailwake_enricher.decide import Rules, take_hit, take_send
from mailwake_enricher.telling import Outcome

MESSAGE = f"{1_790_000_000_000 - 60_000:012x}7d8e9f00112233445566"
RECIPIENT = "aa" * 16
NOW = 1_790_000_000_000
RULES = Rules(repeat_window_ms=60_000, join_wait_ms=86_400_000, keep_ms=180 * 86_400_000)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def send(**given: Any) -> Send:
    values: dict[str, Any] = {
        "message_id": MESSAGE,
        "tenant": "acme",
        "user": "u1",
        "sent_at": NOW - 60_000,
        "recipient_count": 1,
        "mode": "identified",
        "opens": True,
        "clicks": True,
        "recipients": [RECIPIENT],
        "links": ["https://example.org/a", "https://example.org/b"],
        "tag": "spring",
    }
    return Send(**(values | given))


_stream = HitStream(NOW)


def hit(**given: Any) -> Hit:
    """An open by a browser; a click when `link` is given. Each has a hit_id of its own."""
    values: dict[str, Any] = {
        "hit_id": _stream.next(),
        "kind": "open",
        "at": NOW,
        "tenant": "acme",
        "message_id": MESSAGE,
        "recipient": 1,
        "mode": "identified",
        "network": "203.0.113.0/24",
        "agent": BROWSER,
    }
    if "link" in given:
        values |= {"kind": "click", "target": f"https://example.org/{given['link']}"}
    return Hit(**(values | given))


def copy(track: Track) -> Track:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(track), type=Track)


def run(track: Track, *values: Send | Hit, rules: Rules = RULES) -> Outcome:
    """Takes sends and hits in order."""
    outcome = Outcome()
    for value in values:
        if isinstance(value, Send):
            take_send(track, value, rules, outcome)
        else:
            take_hit(track, value, rules, outcome)
    return outcome


def last(events: Iterable[Event]) -> dict[str, Event]:
    """The last revision of each event, but for those that count for nothing; revisions left out."""
    told: dict[str, Event] = {}
    for event in events:
        before = told.get(event.event_id)
        if before is None or event.revision > before.revision:
            told[event.event_id] = event
    return {
        event_id: msgspec.structs.replace(event, revision=1)
        for event_id, event in told.items()
        if not event.repeat
    }


def plain(track: Track) -> dict[str, Any]:
    """A track without revisions and without the order of its texts."""
    said = {name: getattr(track, name) for name in Track.__struct_fields__}
    texts = said.pop("texts")
    del said["revision"]
    said["marks"] = [
        (
            (mark.at, texts[mark.stream], mark.number, mark.link, mark.recipient, mark.flags),
            (mark.asn, texts[mark.network], texts[mark.agent], texts[mark.target], mark.state),
        )
        for mark in track.marks
    ]
    return said
