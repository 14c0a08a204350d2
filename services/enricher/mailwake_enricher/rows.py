"""From contract values to the columns of ClickHouse's tables (schemas/clickhouse/); pure functions.

Each takes values and gives column name -> cells, in the form that clickhouse-driver sends fastest:
times stay whole milliseconds (a DateTime64(3) takes them as they are) and ids stay text. What is
absent becomes the empty text, save where zero or empty would say something else (NULL then).
docs/decisions/0006-clickhouse-tables.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from mailwake.contracts import RETENTION_DAYS, Consent, Display, Event, Hit, Send
from mailwake.track import Track

Columns = dict[str, list[Any]]

TrackRow = tuple[str, Track]
"""A message_id and its track, whose send is known."""


def send_columns(sends: Sequence[Send]) -> Columns:
    """The table `sends`."""
    return _same(
        sends,
        *("message_id", "tenant", "user", "sent_at", "recipient_count", "mode", "opens", "clicks"),
        *("recipients", "links", "sender_network", "sender_agent", "retention_days"),
    ) | _or_empty(sends, "tag", "basis")


def display_columns(displays: Sequence[Display]) -> Columns:
    """The table `displays`."""
    return _same(displays, "message_id", "tenant", "user", "subject", "links") | {
        "recipient_names": [[party.name for party in each.recipients] for each in displays],
        "recipient_addresses": [[party.address for party in each.recipients] for each in displays],
    }


def hit_columns(hits: Sequence[Hit]) -> Columns:
    """The table `hits`."""
    return _same(
        hits,
        *("hit_id", "kind", "at", "tenant", "message_id", "recipient", "mode", "method", "link"),
        *("network", "agent", "referer", "purpose", "replayed", "asn"),
    ) | _or_empty(hits, "target")


def event_columns(events: Sequence[Event]) -> Columns:
    """The table `events`."""
    return _same(
        events,
        *("event_id", "revision", "hit_id", "kind", "at", "tenant", "user", "message_id"),
        *("recipient", "recipient_count", "mode", "verdict", "reasons", "first", "sent_at"),
        *("link", "network", "agent", "score", "rules_version", "repeat", "implied", "forward"),
        *("returned", "retention_days"),
    ) | _or_empty(events, "recipient_id", "target", "tag")


def proof_columns(consents: Sequence[Consent]) -> Columns:
    """The table `consent_proofs`."""
    return _same(
        consents,
        *("consent_id", "tenant", "recipient_id", "purpose", "state", "at", "method"),
        *("wording", "source"),
    )


def track_columns(rows: Sequence[TrackRow]) -> Columns:
    """The table `tracks`."""
    tracks = [track for _, track in rows]
    sends = [track.send for track in tracks]
    return (
        {"message_id": [message_id for message_id, _ in rows]}
        | _same(
            tracks,
            *("revision", "opens", "clicks", "machine_opens", "machine_clicks", "repeats"),
            *("clicked", "forwards", "readers_about", "readers_least"),
            *("open_score", "click_score"),
        )
        | {
            name: [at or None for at in _cells(tracks, name)]
            for name in ("first_open_at", "last_open_at", "first_click_at", "last_click_at")
        }
        | _same(sends, "tenant", "user", "sent_at", "recipient_count", "mode")
        | {"retention_days": [send.retention_days or RETENTION_DAYS for send in sends if send]}
        | _or_empty(sends, "recipient_id", "tag")
    )


def _cells(values: Iterable[Any], name: str) -> Iterable[Any]:
    return map(attrgetter(name), values)


def _same(values: Sequence[Any], *names: str) -> Columns:
    return {name: list(_cells(values, name)) for name in names}


def _or_empty(values: Sequence[Any], *names: str) -> Columns:
    return {name: [cell or "" for cell in _cells(values, name)] for name in names}
