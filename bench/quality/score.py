"""How well events and alerts meet what is true."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from bench.quality.arrival import Labels
from bench.quality.enriched import Enriched
from bench.quality.mail import Fetch, Mail, first_clicks, first_open, is_burst, visits
from bench.quality.parameters import Burst, Who
from mailwake.contracts import PERSON, Alert, Event, Kind, Verdict
from mailwake_notifier.notice import alert_of

WHO: tuple[Who, ...] = get_args(Who)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
TRUE_VERDICT: dict[Who, Verdict] = {
    "person": "human",
    "proxy": "proxy",
    "prefetch": "prefetch",
    "scanner": "scanner",
    "self": "self",
}
PEOPLE: frozenset[Who] = frozenset({"person", "proxy"})
"""Labels of hits that a person is behind."""

ALERTS = "alerts made by people"
ALERTS_AT_ONCE = "alerts made by people, before revisions"
CLICKS = "people's first clicks that alerted"
OPENS = "people's first seen opens that alerted"
BURSTS = "bursts whose first hit counts as a person"
SMALL_VISITS = "smaller visits of scanners, likewise"

NOT_FIRST = "an earlier click on the link counted as a person's"
AS_MACHINE = "was judged a machine's"
NO_EVENT = "gave no event: taken for a repeat, or lost"
"""Why a person's first click did not alert."""


@dataclass(slots=True)
class Share:
    """A part of a whole; shares add up."""

    part: int = 0
    whole: int = 0

    @property
    def value(self) -> float:
        """The share; 0 of nothing."""
        return self.part / self.whole if self.whole else 0.0

    def count(self, counts: bool) -> None:
        """One more in the whole, and in the part if it counts."""
        self.part += counts
        self.whole += 1

    def __add__(self, other: Share) -> Share:
        return Share(self.part + other.part, self.whole + other.whole)


Shares = defaultdict[str, Share]
"""Shares by the name of the measure."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was made of a mail's requests.

    Attributes:
        seen: those that gave an event.
        persons: those of them that count as a person's.
        alerts: those that alerted, with the kind of the alert.
    """

    seen: list[Fetch]
    persons: list[Fetch]
    alerts: list[tuple[Kind, Fetch]]


@dataclass(slots=True)
class Score:
    """The figures of a run; scores add up.

    Attributes:
        shares: the measures by name, as the rules make them.
        naive: the same of a tracker that believes every hit.
        confusion: events by their maker and their last verdict; None counts hits without an event.
        missed: why people's first clicks did not alert.
        sources: by label and source: hits, events, events counted as a person's, alerts.
    """

    mails: int = 0
    hits: int = 0
    events: int = 0
    revised: int = 0
    lost: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    shares: Shares = field(default_factory=lambda: defaultdict(Share))
    naive: Shares = field(default_factory=lambda: defaultdict(Share))
    confusion: Counter[tuple[Who, Verdict | None]] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    sources: defaultdict[tuple[Who, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def precision(self, verdict: Verdict) -> Share:
        """Of the events with this verdict, those that are what it says."""
        right = sum(
            count
            for (who, given), count in self.confusion.items()
            if given == verdict and TRUE_VERDICT[who] == verdict
        )
        return Share(right, sum(n for (_, given), n in self.confusion.items() if given == verdict))

    def recall(self, verdict: Verdict) -> Share:
        """Of the events that are so, those that the verdict says it of."""
        so = {
            given: count
            for (who, given), count in self.confusion.items()
            if TRUE_VERDICT[who] == verdict and given is not None
        }
        return Share(so.get(verdict, 0), sum(so.values()))

    def __add__(self, other: Score) -> Score:
        total = Score(
            self.mails + other.mails,
            self.hits + other.hits,
            self.events + other.events,
            self.revised + other.revised,
            self.lost + other.lost,
            self.drops + other.drops,
            confusion=self.confusion + other.confusion,
            missed=self.missed + other.missed,
        )
        for each in (self, other):
            for name, share in each.shares.items():
                total.shares[name] += share
            for name, share in each.naive.items():
                total.naive[name] += share
            for source, counts in each.sources.items():
                total.sources[source] += counts
        return total


def score(mails: Sequence[Mail], labels: Labels, enriched: Enriched, burst: Burst) -> Score:
    """Compares what came out with what is true."""
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for event in enriched.events.values():
        # A repeat counts for nothing, and what a click implies is told of the click.
        if not event.repeat and not event.implied:
            events[event.message_id].append(event)
    at_once: defaultdict[str, list[Event]] = defaultdict(list)
    for event in enriched.told.values():
        if not event.implied:
            at_once[event.message_id].append(event)
    total = Score(len(mails), len(labels), len(enriched.events), lost=enriched.lost)
    total.drops.update(enriched.drops)
    for mail in mails:
        mine = events[mail.send.message_id]
        total.revised += sum(event.revision > 1 for event in mine)
        judged = judge(mine, labels)
        measure(total.shares, mail, judged, burst)
        measure(total.naive, mail, believe(mail), burst)
        total.missed.update(missed(mail, judged))
        for _, fetch in judge(at_once[mail.send.message_id], labels).alerts:
            total.shares[ALERTS_AT_ONCE].count(fetch.who in PEOPLE)
        for _, fetch in believe(mail).alerts:
            total.naive[ALERTS_AT_ONCE].count(fetch.who in PEOPLE)
        for event in mine:
            total.confusion[labels[event.hit_id].who, event.verdict] += 1
        for fetch in mail.fetches:
            total.sources[fetch.who, fetch.source]["hits"] += 1
            if fetch not in judged.seen:
                total.confusion[fetch.who, None] += 1
        for name, fetches in (
            ("events", judged.seen),
            ("persons", judged.persons),
            ("alerts", [fetch for _, fetch in judged.alerts]),
        ):
            for fetch in fetches:
                total.sources[fetch.who, fetch.source][name] += 1
    return total


def judge(events: Sequence[Event], labels: Labels) -> Judged:
    """What a mail's events say of its requests."""
    told = [alert_of(event, event.at, 0) for event in events]  # each at once, so none is too old
    alerts = [alert for alert in told if isinstance(alert, Alert)]
    hit_of = {event.event_id: event.hit_id for event in events}
    return Judged(
        seen=[labels[event.hit_id] for event in events],
        persons=[labels[event.hit_id] for event in events if event.verdict in PERSON],
        alerts=[(alert.kind, labels[hit_of[alert.event_id]]) for alert in alerts],
    )


def believe(mail: Mail) -> Judged:
    """What a tracker makes of them that takes every request for a person's."""
    first: dict[int | None, Fetch] = {}
    for fetch in mail.fetches:
        first.setdefault(fetch.link, fetch)
    alerts: list[tuple[Kind, Fetch]] = [
        ("open" if link is None else "click", fetch) for link, fetch in first.items()
    ]
    return Judged(list(mail.fetches), list(mail.fetches), alerts)


def measure(shares: Shares, mail: Mail, judged: Judged, burst: Burst) -> None:
    """Counts a mail into the measures.

    A person's first click has alerted when the alert on that link is that person's own; so too the
    first open.
    """
    for _, fetch in judged.alerts:
        shares[ALERTS].count(fetch.who in PEOPLE)
    for first in first_clicks(mail).values():
        shares[CLICKS].count(has_alerted(first, judged))
    opened = first_open(mail)
    if opened is not None:
        shares[OPENS].count(
            any(
                kind == "open" and fetch.actor == opened.actor and fetch.who in PEOPLE
                for kind, fetch in judged.alerts
            )
        )
    for visit in visits(mail):
        first_seen = next((fetch for fetch in visit if fetch in judged.seen), None)
        name = BURSTS if is_burst(visit, burst) else SMALL_VISITS
        shares[name].count(first_seen is not None and first_seen in judged.persons)


def has_alerted(first: Fetch, judged: Judged) -> bool:
    """Whether a person's first click on a link has; a doubled click speaks for the first."""
    return any(
        kind == "click"
        and (fetch.link, fetch.actor, fetch.who) == (first.link, first.actor, "person")
        for kind, fetch in judged.alerts
    )


def missed(mail: Mail, judged: Judged) -> list[str]:
    """Why those first clicks of people did not alert that did not."""
    return [
        NO_EVENT
        if first not in judged.seen
        else NOT_FIRST
        if first in judged.persons
        else AS_MACHINE
        for first in first_clicks(mail).values()
        if not has_alerted(first, judged)
    ]
