"""What a send or a hit makes of a track: pure, without clock, Kafka or store.

A step changes the track it is given in place and tells what else came of it in an `Outcome`. The
same sends and hits in the same order always give the same tracks and the same events, which is
what makes a redelivery harmless. In another order they give the same events and the same track in
the end, as long as hits are not later than the track remembers (docs/decisions/0011-meaning.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailwake.contracts import RETENTION_DAYS, Hit, Mode, Removal, Send
from mailwake.ids import message_time
from mailwake.track import Track, TrackedSend
from mailwake_enricher.company import note_company, note_itself
from mailwake_enricher.marks import insert_mark, make_mark
from mailwake_enricher.meaning import (
    LEAST,
    begin,
    remembered_since,
    settle,
    settle_mark,
    weigh,
    weigh_alone,
)
from mailwake_enricher.rules import RuleSet, packaged_rules
from mailwake_enricher.seen import LAST, see
from mailwake_enricher.telling import Outcome, Teller

WAITING_HITS = 64
WAITING_CHARS = 65_536
"""Most hits that wait in one track for their send, and most characters of their targets: a track
must fit into a Kafka record (1 MiB) whatever stands in the targets."""

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that deciding needs, in milliseconds.

    Attributes:
        return_ms: an open or click by a person after so long without one is a return.
        keep_ms: how long a mail is tracked at the most (its send may say less), and how long after
            its last sign of life its track is kept; as long as `tracks` keeps a record
            (schemas/topics/tracks.yaml).
        meaning: the rule set.
    """

    repeat_window_ms: int
    join_wait_ms: int
    keep_ms: int
    return_ms: int = 86_400_000
    meaning: RuleSet = field(default_factory=packaged_rules)


def take_send(track: Track, send: Send, rules: Rules, outcome: Outcome) -> bool:
    """Makes a send the track's and joins the hits that waited for it; whether the track changed.

    A mail that was erased as a whole takes no send any more.
    """
    if track.erased and track.send is None:
        return False
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
        sender_network=send.sender_network,
        sender_agent=rules.meaning.family(send.sender_agent),
        retention_days=send.retention_days if send.retention_days < RETENTION_DAYS else 0,
    )
    if track.send == tracked:
        return False
    track.send = tracked
    waited, track.waiting = track.waiting, []
    joining = [hit for hit in waited if not _is_late(hit, tracked, rules)]
    if late := len(waited) - len(joining):
        outcome.drops += ["too_late"] * late
        track.hits -= late  # had the send come first, they had not counted either
    if joining:
        first = track.hits - len(joining) + 1
        joined = Outcome(drops=outcome.drops, mismatched=outcome.mismatched)
        in_time = sorted(enumerate(joining, first), key=lambda each: (each[1].at, each[1].hit_id))
        for came, hit in in_time:
            join_send(track, tracked, hit, came, rules, joined, joining=True)
        outcome.events += {event.event_id: event for event in joined.events}.values()
        outcome.joined += [hit.at for hit in joining]
    return True


def take_hit(track: Track, hit: Hit, rules: Rules, outcome: Outcome) -> bool:
    """Takes a hit into the track, now or when its send comes; whether the track changed."""
    if track.erased:
        outcome.drops.append("erased")
        return False
    if _is_late(hit, track.send, rules):
        outcome.drops.append("too_late")
        return False
    full = track.send is None and not _has_room(track, hit)
    if full and hit.replayed:
        # It goes back to where it came from, and must not count as seen when it comes again.
        outcome.unmatched.append((hit, "waiting_full"))
        return False
    if not see(track.seen, hit.hit_id, hit.at, replayed=hit.replayed):
        outcome.drops.append("duplicate")
        return False
    if full:
        outcome.unmatched.append((hit, "waiting_full"))
        return True
    track.hits += 1
    if track.send is None:
        track.waiting.append(hit)
    else:
        join_send(track, track.send, hit, track.hits, rules, outcome)
    return True


def take_removal(track: Track, removal: Removal) -> bool:
    """Takes an erased recipient out of a mail's track; whether the track changed.

    Of a mail to that recipient alone nothing stays but when it was erased. A track of several
    names none of them and stays; it takes no further hits, since the recipient who was erased
    counts as one who denies, and nobody knows who a hit is from.
    """
    if track.send is not None and track.send.tenant != removal.tenant:
        return False
    if removal.recipients:
        changed = not track.erased
    else:
        changed = not track.erased or track.send is not None
        if changed:
            _empty(track)
    track.erased = track.erased or removal.at
    return changed


def _empty(track: Track) -> None:
    """Makes a track as a new one, but for its revision."""
    new = Track(revision=track.revision, erased=track.erased)
    for name in Track.__struct_fields__:
        setattr(track, name, getattr(new, name))


def is_due(track: Track, now: int, rules: Rules) -> bool:
    """Whether the track's hits have waited for their send long enough; `now` in milliseconds."""
    return track.send is None and not track.erased and now >= due_at(track, rules)


def due_at(track: Track, rules: Rules) -> int:
    """When the waiting hits are given up, in milliseconds; 0 when none waits."""
    oldest = min((hit.at for hit in track.waiting), default=None)
    return 0 if oldest is None else oldest + rules.join_wait_ms


def is_over(track: Track, now: int, rules: Rules) -> bool:
    """Whether the track has lived its time: nothing was sent or fetched for so long.

    It outlives a send's own, shorter time, for it is what later hits are known by as too late.
    """
    seconds = max((entry[LAST] for entry in track.seen.values()), default=0)
    sent_at = track.send.sent_at if track.send else 0
    last = max(seconds * 1000, sent_at, track.erased)
    return not track.waiting and last + rules.keep_ms <= now


def join_send(
    track: Track,
    send: TrackedSend,
    hit: Hit,
    came: int,
    rules: Rules,
    outcome: Outcome,
    *,
    joining: bool = False,
) -> None:
    """Makes an event of a hit that was not seen before, or tells why there is none.

    It is the `came`-th hit of the mail; when it waited, `joining`, others that came later may have
    been taken already. Events of other hits that it puts in another light are told again.
    """
    if hit.tenant != send.tenant:
        outcome.mismatched.append(hit)
        return
    if not (send.opens if hit.kind == "open" else send.clicks):
        outcome.drops.append("not_tracked")
        return
    mode: Mode = "anonymous" if "anonymous" in (hit.mode, send.mode) else "identified"
    meaning, marks = rules.meaning, track.marks
    window, quiet = rules.repeat_window_ms, rules.return_ms
    since = 0
    if marks:
        since = remembered_since(max(hit.at, marks[-1].at), meaning, window)
        if marks[0].at < since:
            settle(track, since, send, meaning, window)
    else:
        begin(track)
    # A hit from before all marks changes nothing of them: it is settled at once.
    late = hit.at < since
    texts = [] if late else track.texts
    new = make_mark(texts, hit, mode, came)
    note_itself(texts, new, send, meaning)
    teller = Teller(outcome, texts, send, hit.message_id, track.hits, meaning, joining=joining)
    if late:
        judgement = weigh_alone(track, texts, new, (), send, meaning, window, quiet)
        teller.tell(new, hit.hit_id, judgement)
        settle_mark(track, texts, new, send, meaning)
        return
    insert_mark(track, new)
    told = [mark.state for mark in marks]
    added = len(marks) > 1 and note_company(track, new, send, meaning)
    if new is marks[-1] and not added:
        judgement = weigh_alone(track, texts, new, marks, send, meaning, window, quiet)
        teller.tell(new, hit.hit_id, judgement)
    else:
        weighed = weigh(track, new, send, meaning, window, quiet)
        for mark, was, (state, judgement) in zip(marks, told, weighed, strict=True):
            mark.state = state
            if mark is new:
                teller.tell(new, hit.hit_id, judgement)
            elif state != was:
                teller.tell_again(mark, was, judgement)
    if len(marks) > LEAST:
        settle(track, since, send, meaning, window)


def _is_late(hit: Hit, send: TrackedSend | None, rules: Rules) -> bool:
    """Whether a hit came when its mail was tracked no more.

    As long as the send is not known, the message's id tells when that was, if anything does.
    """
    if send is None:
        sent_at, keep_ms = message_time(hit.message_id), rules.keep_ms
    else:
        sent_at = send.sent_at
        keep_ms = min((send.retention_days or RETENTION_DAYS) * _DAY_MS, rules.keep_ms)
    return bool(sent_at) and hit.at - sent_at > keep_ms


def _has_room(track: Track, hit: Hit) -> bool:
    chars = sum(len(waiting.target or "") for waiting in track.waiting)
    return len(track.waiting) < WAITING_HITS and (
        chars + len(hit.target or "") <= WAITING_CHARS or not track.waiting
    )
