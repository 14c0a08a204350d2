"""What comes of sends and hits beside the tracks: events, told once and, in another light, again.

The revision of an event is one more than hits of its mail have come since its own
(docs/decisions/0011-meaning.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from mailwake.contracts import RETENTION_DAYS, Event, Hit, Kind
from mailwake.ids import event_id
from mailwake.track import Mark, TrackedSend
from mailwake_enricher.marks import hit_id_of
from mailwake_enricher.meaning import judge
from mailwake_enricher.rules import Judgement, RuleSet
from mailwake_enricher.signs import FIRST, FORWARD, IMPLIES, REPEAT, RETURNED, TOLD, WITHHELD

DropReason = Literal["duplicate", "erased", "not_tracked", "repeat", "too_late"]
"""Why a hit gave no event."""

UnmatchedReason = Literal["no_send", "waiting_full"]
"""Why a hit went to `hits.unmatched` (its header `mailwake-reason`)."""


@dataclass(slots=True)
class Outcome:
    """What came of a record's sends and hits beside the changed tracks.

    Attributes:
        events: some in several revisions, in their order, where `revised` says so.
        mismatched: waiting hits whose tenant is not their send's.
        joined: when those hits were seen (milliseconds) that waited for their send.
    """

    events: list[Event] = field(default_factory=list)
    drops: list[DropReason] = field(default_factory=list)
    unmatched: list[tuple[Hit, UnmatchedReason]] = field(default_factory=list)
    mismatched: list[Hit] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    revised: bool = False


class Teller:
    """Tells the events of a mail's hits to an outcome.

    Args:
        texts: what the marks point to.
        hits: how many hits the mail has; a revision is one more than have come since the mark's.
        joining: whether hits that waited for their send are taken one by one: all that is told
            meanwhile is under one revision, so nothing may stay as it was in between.
    """

    __slots__ = ("_hits", "_joining", "_message_id", "_outcome", "_rules", "_send", "_texts")

    def __init__(
        self,
        outcome: Outcome,
        texts: list[str],
        send: TrackedSend,
        message_id: str,
        hits: int,
        rules: RuleSet,
        *,
        joining: bool,
    ) -> None:
        self._outcome, self._texts, self._send = outcome, texts, send
        self._message_id, self._hits, self._rules = message_id, hits, rules
        self._joining = joining

    def tell(self, mark: Mark, hit_id: str, judgement: Judgement) -> None:
        """Tells the events of a new mark; of a repeat there are none.

        Of a hit that waited while others came, what counts for nothing is told as well: had its
        send come sooner, it may have counted before the others came.
        """
        state, waited = mark.state, mark.came < self._hits
        if state & REPEAT and not waited:
            self._outcome.drops.append("repeat")
            return
        mark.told = True
        event = self._event(mark, hit_id, judgement)
        self._outcome.events.append(event)
        if state & IMPLIES or (waited and mark.link >= 0 and self._send.opens):
            self._outcome.events.append(_implied(event, state, judgement))

    def tell_again(self, mark: Mark, was: int, judgement: Judgement) -> None:
        """Tells those events of a mark again that are others than in the state it had."""
        self._outcome.revised = True
        otherwise = judgement != judge(self._texts, mark, was, self._rules)[1]
        state = mark.state
        event = self._event(mark, hit_id_of(self._texts, mark), judgement)
        tells = otherwise or (was ^ state) & TOLD
        if tells if mark.told else not state & REPEAT:
            mark.told = True
            self._outcome.events.append(event)
        implied = state & IMPLIES or (self._joining and mark.link >= 0 and self._send.opens)
        if (was ^ state) & IMPLIES or (implied and otherwise):
            self._outcome.events.append(_implied(event, state, judgement))

    def _event(self, mark: Mark, hit_id: str, judgement: Judgement) -> Event:
        state, link, texts, send = mark.state, mark.link, self._texts, self._send
        kind: Kind = "open" if link < 0 else "click"
        anonymous, forward = bool(mark.flags & WITHHELD), bool(state & FORWARD)
        return Event(
            event_id(hit_id, kind),
            self._hits - mark.came + 1,
            hit_id,
            kind,
            mark.at,
            send.tenant,
            send.user,
            self._message_id,
            mark.recipient,
            send.recipient_count,
            "anonymous" if anonymous else "identified",
            judgement.verdict,
            judgement.told,
            bool(state & FIRST),
            send.sent_at,
            None if anonymous or forward else send.recipient_id,
            None if link < 0 else link,
            None if link < 0 else texts[mark.target],
            texts[mark.network],
            texts[mark.agent],
            send.tag,
            judgement.score,
            self._rules.version,
            bool(state & REPEAT),
            False,
            forward,
            bool(state & RETURNED),
            send.retention_days or RETENTION_DAYS,
        )


def _implied(click: Event, state: int, judgement: Judgement) -> Event:
    """The open that a click implies; where it does not, or no more, one that counts for nothing."""
    wanted = bool(state & IMPLIES)
    return replace(
        click,
        event_id=event_id(click.hit_id, "open"),
        kind="open",
        reasons=["implied_by_click", *judgement.told],
        first=wanted,
        link=None,
        target=None,
        repeat=not wanted,
        implied=True,
        returned=False,
    )
