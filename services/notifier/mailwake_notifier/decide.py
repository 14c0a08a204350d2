"""What an event is to alerts: pure, of the event and of when it was told, so that a replay says the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailwake.contracts import PERSON, Event
from mailwake.settings import Settings

CERTAIN = 95
"""From this score on an event is certainly a person's, where something speaks for one."""

DOUBTFUL = 90
"""Below this score something speaks for a machine: a data centre, a scanner's network, or that it
came right after sending (docs/verdicts.md)."""

_SAYS_NOTHING = frozenset({"no_machine_sign", "agent_withheld"})
"""The strongest reasons of events for which nothing speaks but that nothing speaks against them. So
does the first hit of a scanner's burst look."""


class Drop(StrEnum):
    """Why an event begins no alert; the label of `mailwake_notifier_dropped_total`."""

    UNREADABLE = "unreadable"  # no event at all; the loader puts it into events.rejected
    NOT_A_PERSON = "not_a_person"
    NOT_FIRST = "not_first"  # nor a return; it may be counted in an alert
    TOLD_OTHERWISE = "told_otherwise"  # a repeat, or an open whose click is told
    NOT_WANTED = "not_wanted"  # the user had switched alerts off when it was told of
    MUTED = "muted"  # the user wants none of this mail
    TOO_OLD = "too_old"  # it would have been an alert in its time


NO_ACT = frozenset({Drop.NOT_A_PERSON, Drop.TOLD_OTHERWISE, Drop.NOT_FIRST})
"""Of an event that no alert may count, though one did before the event was revised."""


@dataclass(frozen=True, slots=True)
class Times:
    """The settings that alerting needs, in milliseconds."""

    settle_ms: int = 5_000
    doubtful_ms: int = 15_000
    coalesce_ms: int = 600_000
    max_age_ms: int = 86_400_000


def times_of(settings: Settings) -> Times:
    """The times that settings name."""
    return Times(
        settle_ms=round(settings.settle_s * 1000),
        doubtful_ms=round(settings.settle_doubtful_s * 1000),
        coalesce_ms=settings.coalesce_s * 1000,
        max_age_ms=settings.alert_age_s * 1000,
    )


def drop_of(event: Event, told_at: int, max_age_ms: int) -> Drop | None:
    """Why an event is no act that an alert could tell of; None when it is one.

    `told_at` is when the enricher told of the event, in milliseconds: the time of its record, which
    is the same whenever it is read, and not the time now. An act that was older then than
    `max_age_ms`, as when it was judged anew or replayed, is no news.
    """
    if event.verdict not in PERSON:
        return Drop.NOT_A_PERSON
    if event.repeat or event.implied:
        return Drop.TOLD_OTHERWISE
    if event.forward:
        return Drop.NOT_FIRST
    if told_at - event.at > max_age_ms:
        return Drop.TOO_OLD
    return None


def begins(event: Event) -> bool:
    """Whether an act begins an alert: the first open of a mail, the first click of a link, or a
    return. Any other may be counted in one."""
    return event.first or event.returned


def settle_ms(event: Event, times: Times) -> int:
    """How long an alert of an act waits for the act to turn out a machine's.

    Not at all where it certainly is a person's; longer where it is doubtful. An event of an earlier
    release, which has no score, waits as most do.
    """
    if not event.rules_version:
        return times.settle_ms
    if event.score < DOUBTFUL:
        return times.doubtful_ms
    if event.score >= CERTAIN and event.reasons and event.reasons[0] not in _SAYS_NOTHING:
        return 0
    return times.settle_ms
