"""What a send or a hit makes of a track: pure, without clock, Kafka or store.

A step changes the track it is given in place and tells what else came of it in an `Outcome`. The
same sends and hits in the same order always give the same tracks and the same events, which is
what makes a redelivery harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from mailwake.contracts import PERSON, Event, Hit, Mode, Send, Track, TrackedSend
from mailwake.ids import event_id
from mailwake_enricher.classify import classify
from mailwake_enricher.seen import LAST, see

DropReason = Literal["duplicate", "not_tracked", "repeat"]
"""Why a hit gave no event."""

UnmatchedReason = Literal["no_send", "waiting_full"]
"""Why a hit went to `hits.unmatched` (its header `mailwake-reason`)."""

WAITING_HITS = 64
WAITING_CHARS = 65_536
"""Most hits that wait in one track for their send, and most characters of their targets: a track
must fit into a Kafka record (1 MiB) whatever stands in the targets."""

READERS = 40
READERS_KEPT = 16
READERS_MS = 3_600_000
"""Above `READERS_KEPT` readers those are forgotten whose last event is an hour (and the repeat
window) older than the newest, above `READERS` the oldest; 40 keep the hottest track below 2 KB."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that deciding needs, in milliseconds.

    Attributes:
        keep_ms: how long after its last sign of life a track is kept; as long as `tracks` keeps a
            record (schemas/topics/tracks.yaml).
    """

    repeat_window_ms: int
    join_wait_ms: int
    keep_ms: int


@dataclass(slots=True)
class Outcome:
    """What came of a record's sends and hits beside the changed tracks.

    Attributes:
        mismatched: waiting hits whose tenant is not their send's.
    """

    events: list[Event] = field(default_factory=list)
    drops: list[DropReason] = field(default_factory=list)
    unmatched: list[tuple[Hit, UnmatchedReason]] = field(default_factory=list)
    mismatched: list[Hit] = field(default_factory=list)


def take_send(track: Track, send: Send, rules: Rules, outcome: Outcome) -> bool:
    """Makes a send the track's and joins the hits that waited for it; whether the track changed."""
    tracked = TrackedSend(
        tenant=send.tenant,
        user=send.user,
        recipient_count=send.recipient_count,
        recipient_id=send.recipients[0] if len(send.recipients) == 1 else None,
        mode=send.mode,
        opens=send.opens,
        clicks=send.clicks,
        sent_at=send.sent_at,
        tag=send.tag,
    )
    if track.send == tracked:
        return False
    track.send = tracked
    waited, track.waiting = track.waiting, []
    for hit in waited:
        join_send(track, tracked, hit, rules, outcome)
    return True


def take_hit(track: Track, hit: Hit, rules: Rules, outcome: Outcome) -> bool:
    """Takes a hit into the track, now or when its send comes; whether the track changed."""
    if not see(track.seen, hit.hit_id, hit.at, replayed=hit.replayed):
        outcome.drops.append("duplicate")
        return False
    if track.send is not None:
        join_send(track, track.send, hit, rules, outcome)
    elif _has_room(track, hit):
        track.waiting.append(hit)
    else:
        outcome.unmatched.append((hit, "waiting_full"))
    return True


def is_due(track: Track, now: int, rules: Rules) -> bool:
    """Whether the track's hits have waited for their send long enough; `now` in milliseconds."""
    return track.send is None and now >= due_at(track, rules)


def due_at(track: Track, rules: Rules) -> int:
    """When the waiting hits are given up, in milliseconds; 0 when none waits."""
    oldest = min((hit.at for hit in track.waiting), default=None)
    return 0 if oldest is None else oldest + rules.join_wait_ms


def is_over(track: Track, now: int, rules: Rules) -> bool:
    """Whether the track has lived its time: nothing was sent or fetched for so long."""
    seconds = max((entry[LAST] for entry in track.seen.values()), default=0)
    sent_at = track.send.sent_at if track.send else 0
    return not track.waiting and max(seconds * 1000, sent_at) + rules.keep_ms <= now


def join_send(track: Track, send: TrackedSend, hit: Hit, rules: Rules, outcome: Outcome) -> None:
    """Makes an event of a hit that was not seen before, or tells why there is none."""
    if hit.tenant != send.tenant:
        outcome.mismatched.append(hit)
    elif not (send.opens if hit.kind == "open" else send.clicks):
        outcome.drops.append("not_tracked")
    else:
        mode: Mode = "anonymous" if "anonymous" in (hit.mode, send.mode) else "identified"
        if is_repeat(track, hit, mode, rules.repeat_window_ms):
            track.repeats += 1
            outcome.drops.append("repeat")
        else:
            outcome.events.append(make_event(track, send, hit, mode))


def is_repeat(track: Track, hit: Hit, mode: Mode, window_ms: int) -> bool:
    """Whether the same reader gave an event for the same pixel or link within the window.

    When not, the hit is noted as this reader's last event. In mode anonymous all are one reader.
    """
    reader = _reader(hit, mode)
    last = track.readers.get(reader)
    if last is not None and abs(hit.at - last) < window_ms:
        return True
    track.readers[reader] = hit.at if last is None else max(last, hit.at)
    if len(track.readers) > READERS_KEPT:
        _forget_readers(track, max(READERS_MS, window_ms))
    return False


def make_event(track: Track, send: TrackedSend, hit: Hit, mode: Mode) -> Event:
    """The event of a hit, counted in the track."""
    verdict, reasons = classify(hit)
    person = verdict in PERSON
    first = False
    if hit.kind == "open":
        if person:
            first = track.opens == 0
            track.opens += 1
            track.first_open_at = hit.at if first else min(track.first_open_at, hit.at)
            track.last_open_at = max(track.last_open_at, hit.at)
        else:
            track.machine_opens += 1
    elif person:
        assert hit.link is not None  # noqa: S101 (the contract of a click)
        if track.clicks == 0:
            track.first_click_at = hit.at
        track.clicks += 1
        track.first_click_at = min(track.first_click_at, hit.at)
        track.last_click_at = max(track.last_click_at, hit.at)
        if hit.link not in track.clicked:
            first = True
            track.clicked.append(hit.link)
    else:
        track.machine_clicks += 1
    anonymous = mode == "anonymous"
    return Event(
        event_id=event_id(hit.hit_id, hit.kind),
        revision=1,
        hit_id=hit.hit_id,
        kind=hit.kind,
        at=hit.at,
        tenant=send.tenant,
        user=send.user,
        message_id=hit.message_id,
        recipient=0 if anonymous else hit.recipient,
        recipient_count=send.recipient_count,
        mode=mode,
        verdict=verdict,
        reasons=list(reasons),
        first=first,
        sent_at=send.sent_at,
        recipient_id=None if anonymous else send.recipient_id,
        link=hit.link,
        target=hit.target,
        network="" if anonymous else hit.network,
        agent="" if anonymous else hit.agent,
        tag=send.tag,
    )


def _reader(hit: Hit, mode: Mode) -> str:
    """40 bits of a digest: two of a track's 40 readers share one once in 10^9 full tracks."""
    if mode == "identified":
        told = f"{hit.kind}\0{hit.link}\0{hit.recipient}\0{hit.network}\0{hit.agent}"
    else:
        told = f"{hit.kind}\0{hit.link}"
    return blake2b(told.encode(), digest_size=5).hexdigest()


def _forget_readers(track: Track, after_ms: int) -> None:
    since = max(track.readers.values()) - after_ms
    kept = [(at, reader) for reader, at in track.readers.items() if at > since]
    kept = sorted(kept)[-READERS:]
    track.readers = {reader: at for at, reader in kept}


def _has_room(track: Track, hit: Hit) -> bool:
    chars = sum(len(waiting.target or "") for waiting in track.waiting)
    return len(track.waiting) < WAITING_HITS and (
        chars + len(hit.target or "") <= WAITING_CHARS or not track.waiting
    )
