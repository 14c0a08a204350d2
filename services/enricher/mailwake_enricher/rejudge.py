"""Judges one mail anew by a rule set, and tells what must change of what stands; pure.

The hits of the mail go through the same steps as in the enricher, in the order of time: any order
gives the same events in the end (`mailwake_enricher.decide`). What comes of it is compared with the
events and the counts that stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from msgspec.structs import fields, replace

from mailwake.contracts import Event, Hit, Kind, Send
from mailwake.ids import event_id
from mailwake.track import Track
from mailwake_enricher.decide import Rules, take_hit, take_send
from mailwake_enricher.marks import hit_id_of
from mailwake_enricher.telling import Outcome

COUNTS = (
    *("opens", "clicks", "machine_opens", "machine_clicks", "repeats", "forwards"),
    *("first_open_at", "last_open_at", "first_click_at", "last_click_at"),
    *("clicked", "readers_about", "readers_least", "open_score", "click_score"),
)
"""The fields of a track that people see."""

_JUDGED = (
    *("verdict", "score", "reasons", "first", "repeat", "implied", "forward"),
    *("returned", "recipient_id"),
)
"""The fields of an event that rules decide."""

_TRIES = 4

Left = Literal["no_hits", "unsettled"]
"""Why a mail is left as it is: events stand whose hits are gone, so that the others cannot be
judged without them; or it never became clear which of its hits have been joined."""


@dataclass(frozen=True, slots=True)
class Mail:
    """All that is known of one mail.

    Attributes:
        revision: of its track.
        counts: the fields `COUNTS` of its track.
        hits: all that came, in any order.
        events: those that stand, one for each event_id.
    """

    send: Send
    revision: int
    counts: tuple[object, ...]
    hits: Sequence[Hit]
    events: Sequence[Event]


@dataclass(slots=True)
class Judged:
    """What a mail is under the rules.

    Attributes:
        pairs: each event as it stands (None: it does not) and as it must be.
        changed: of the latter those that are others than what stands, with their revisions.
        track: what all events come to, or None when the mail is left.
        differs: whether there is anything to write.
        strangers: hits that have no event and are no repeats: they were never joined.
        gone: events whose hits are no more.
    """

    pairs: list[tuple[Event | None, Event]] = field(default_factory=list)
    changed: list[Event] = field(default_factory=list)
    track: Track | None = None
    differs: bool = False
    left: Left | None = None
    strangers: int = 0
    gone: int = 0


def rejudge(mail: Mail, rules: Rules) -> Judged:
    """Judges a mail anew.

    A mail of which hits are gone is left as a whole. Hits that were never joined (they stand in
    `hits.unmatched`, or are on their way) are passed over, for the enricher has yet to see them.
    """
    standing = {event.event_id: event for event in mail.events}
    known = {hit.hit_id for hit in mail.hits}
    gone = sum(event.hit_id not in known for event in mail.events)
    if gone:
        return Judged(left="no_hits", gone=gone)
    hits = sorted(mail.hits, key=lambda hit: (hit.at, hit.hit_id))
    strangers: set[str] = set()
    for _ in range(_TRIES):
        track, told = _run(mail.send, hits, rules)
        strange = {
            event.hit_id
            for event in told.values()
            if not event.implied and not event.repeat and event.event_id not in standing
        }
        if not strange:
            break
        # What followed one of them at once was a repeat of it, and is so no more.
        strangers |= strange
        hits = [hit for hit in hits if hit.hit_id not in strange]
    else:
        return Judged(left="unsettled", strangers=len(strangers))
    judged = Judged(track=track, strangers=len(strangers))
    wanted = _wanted(standing, told, rules.meaning.version)
    for identity, event in wanted.items():
        stands = standing.get(identity)
        if stands is None:
            event = replace(event, revision=1)
        elif not _same(stands, event):
            event = replace(event, revision=stands.revision + 1)
        else:
            judged.pairs.append((stands, stands))
            continue
        judged.pairs.append((stands, event))
        judged.changed.append(event)
    revisions = {event.event_id: event.revision for _, event in judged.pairs}
    for mark in track.marks:
        # Its next revision must be above all that were told of it.
        hit_id = hit_id_of(track.texts, mark)
        told_of = [revisions.get(event_id(hit_id, kind), 0) for kind in get_args(Kind)]
        mark.came = track.hits + 1 - max(1, *told_of)
        mark.told = any(told_of)
    judged.differs = bool(judged.changed) or counts_of(track) != mail.counts
    return judged


def counts_of(track: Track) -> tuple[object, ...]:
    """The fields `COUNTS` of a track."""
    return tuple(getattr(track, name) for name in COUNTS)


def _run(send: Send, hits: Iterable[Hit], rules: Rules) -> tuple[Track, dict[str, Event]]:
    """The track that hits make, and the last revision of each event."""
    track = Track()
    outcome = Outcome()
    take_send(track, send, rules, outcome)
    told: dict[str, Event] = {}
    for hit in hits:
        # Each is there once. What counts as seen is the enricher's to say, by the order of coming.
        track.seen = {}
        take_hit(track, hit, rules, outcome)
        for event in outcome.events:
            told[event.event_id] = event
        outcome.events.clear()
        outcome.drops.clear()
    track.seen = {}
    return track, told


def _wanted(standing: dict[str, Event], told: dict[str, Event], version: int) -> dict[str, Event]:
    """The events as they must be, by their ids: what was told, save what need not be known; and
    what stands and was not told, which tells of nothing any more.
    """
    wanted: dict[str, Event] = {}
    for identity, event in told.items():
        # A repeat, or an implied open that was taken back, is told only where it stands.
        if identity in standing or not event.repeat:
            wanted[identity] = event
    for identity, stands in standing.items():
        if identity in told:
            continue
        if stands.repeat:
            wanted[identity] = stands
            continue
        changes: dict[str, object] = {
            "repeat": True,
            "first": False,
            "returned": False,
            "rules_version": version,
        }
        click = told.get(event_id(stands.hit_id, "click")) if stands.implied else None
        if click is not None:
            changes |= {
                "verdict": click.verdict,
                "score": click.score,
                "reasons": ["implied_by_click", *click.reasons],
                "recipient_id": click.recipient_id,
            }
        wanted[identity] = replace(stands, **changes)
    return wanted


def _same(stands: Event, event: Event) -> bool:
    """Whether the rules say of an event what stands.

    What counts for nothing may say anything: what it was told as last depends on the order in which
    the hits came.
    """
    if stands.repeat and event.repeat:
        return True
    return all(getattr(stands, name) == getattr(event, name) for name in _JUDGED)


# A field that is renamed in the contract must be renamed here.
assert {*COUNTS} <= {each.name for each in fields(Track)}  # noqa: S101
assert {*_JUDGED} <= {each.name for each in fields(Event)}  # noqa: S101
