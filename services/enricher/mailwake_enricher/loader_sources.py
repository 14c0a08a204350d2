"""What the loader reads: the topics, what a record of each gives, and the table it goes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mailwake.codec import InvalidError, T
from mailwake.contracts import (
    CONSENT,
    DISPLAY,
    EVENT,
    HIT,
    SEND,
    Consent,
    Display,
    Event,
    Hit,
    Send,
)
from mailwake.removed import Removed
from mailwake.track import TRACK
from mailwake_enricher.loader_screen import Screen
from mailwake_enricher.rows import (
    Columns,
    TrackRow,
    display_columns,
    event_columns,
    hit_columns,
    proof_columns,
    send_columns,
    track_columns,
)

V = TypeVar("V")
_ID = re.compile(rb"[0-9a-f]{32}")


@dataclass
class Reading(Generic[V]):
    """What one record gives.

    Attributes:
        values: what becomes rows.
        bad: the parts that keep no contract, with what is wrong with each.
        erased: the message_id whose row goes (the record is a tombstone).
    """

    values: list[V] = field(default_factory=list)
    bad: list[tuple[bytes, InvalidError]] = field(default_factory=list)
    erased: str | None = None


@dataclass(frozen=True)
class Source(Generic[V]):
    """A topic, and the table of the same name.

    Attributes:
        read: what a record gives; never raises.
        columns: the rows of values, column by column.
        encode: a value as bytes again, for the reject topic.
        key: of a topic whose records replace each other, what is the same in them; None for a
            topic where every value is a row of its own.
        rejects: whether the loader is the one that writes the topic's reject topic.
        screen: of a batched topic, what is to check the values; `read` did not.
        rest: what of a value may be kept once somebody was erased, None for nothing; itself None
            where everything may.
    """

    name: str
    read: Callable[[Any], Reading[V]]
    columns: Callable[[Sequence[V]], Columns]
    encode: Callable[[V], bytes]
    key: Callable[[V], str] | None = None
    rejects: bool = False
    screen: Screen[Any] | None = None
    rest: Callable[[Removed, V], V | None] | None = None


def batched(
    name: str,
    screen: Screen[T],
    columns: Callable[[Sequence[T]], Columns],
    rest: Callable[[Removed, T], T | None],
) -> Source[T]:
    """A topic whose records hold one value or an array of them."""

    def read(record: Any) -> Reading[T]:
        return Reading(*screen.read(record.value or b""))

    return Source(
        *(name, read, columns, screen.codec.encode),
        rejects=name == "events",
        screen=screen,
        rest=rest,
    )


def read_display(record: Any) -> Reading[Display]:
    """A display or, in a tombstone, the message_id whose display is erased.

    The key must be the display's message_id, or a later tombstone would not find its row.
    """
    key = record.key or b""
    try:
        _check_id(key)
        if record.value is None:
            return Reading(erased=key.decode())
        display = DISPLAY.decode(record.value)
        if display.message_id.encode() != key:
            raise InvalidError("contract", "the record's key is not the display's message_id")
    except InvalidError as error:
        return Reading(bad=[(record.value or b"", error)])
    return Reading([display])


def read_track(record: Any) -> Reading[TrackRow]:
    """A track of the changelog with its message_id; nothing while it waits for its send.

    One of which an erasure left nothing is as a tombstone.
    """
    key = record.key or b""
    try:
        _check_id(key)
        if record.value is None:
            return Reading(erased=key.decode())
        track = TRACK.decode(record.value)
    except InvalidError as error:
        return Reading(bad=[(record.value or b"", error)])
    if track.erased and track.send is None:
        return Reading(erased=key.decode())
    return Reading([(key.decode(), track)] if track.send else [])


def read_proof(record: Any) -> Reading[Consent]:
    """A statement about consent."""
    data = record.value or b""
    try:
        return Reading([CONSENT.decode(data)])
    except InvalidError as error:
        return Reading(bad=[(data, error)])


def _check_id(key: bytes) -> None:
    if not _ID.fullmatch(key):
        raise InvalidError("contract", "the record's key is not a message_id")


def _display_key(display: Display) -> str:
    return display.message_id


def _track_key(row: TrackRow) -> str:
    return row[0]


def _rest_of_track(removed: Removed, row: TrackRow) -> TrackRow | None:
    send = row[1].send
    return None if send and removed.is_whole(send.tenant, row[0]) else row


def _encode_track(row: TrackRow) -> bytes:
    return TRACK.encode(row[1])


SOURCES: tuple[Source[Any], ...] = (
    batched("sends", Screen(Send, SEND), send_columns, Removed.rest_of_send),
    Source(
        "displays",
        read_display,
        display_columns,
        DISPLAY.encode,
        key=_display_key,
        rejects=True,
        rest=Removed.rest_of_display,
    ),
    batched("hits", Screen(Hit, HIT), hit_columns, Removed.rest_of_act),
    batched("events", Screen(Event, EVENT), event_columns, Removed.rest_of_act),
    Source("tracks", read_track, track_columns, _encode_track, key=_track_key, rest=_rest_of_track),
    Source("consent_proofs", read_proof, proof_columns, CONSENT.encode),
)
"""Every topic the loader reads. Where nothing is said of `rejects`, what is bad is only counted
here: sends and hits are rejected by the enricher, tracks are its own, and proofs stay in their
topic for good."""
