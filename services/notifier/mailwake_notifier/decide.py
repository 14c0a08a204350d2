"""Which events become alerts: pure, of an event and of when it was told, so that a replay says the
same.
"""

from __future__ import annotations

from enum import StrEnum

from mailwake import ids
from mailwake.contracts import PERSON, Alert, Event, Preference


class Drop(StrEnum):
    """Why an event gives no alert; the label of `mailwake_notifier_dropped_total`."""

    UNREADABLE = "unreadable"  # no event at all; the loader puts it into events.rejected
    NOT_A_PERSON = "not_a_person"
    NOT_FIRST = "not_first"
    TOLD_OTHERWISE = "told_otherwise"  # a repeat, or an open whose click is told
    NOT_WANTED = "not_wanted"  # the user had switched alerts off when it was told of
    TOO_OLD = "too_old"  # it would have been an alert in its time


def alert_of(event: Event, told_at: int, max_age_ms: int) -> Alert | Drop:
    """The alert an event gives to the user of its send, or why it gives none.

    `told_at` is when the enricher told of the event, in milliseconds: the time of its record, which
    is the same whenever it is read, and not the time now. An act that was older then than
    `max_age_ms`, as when it was judged anew or replayed, is no news.

    A later revision of an event gives the same alert_id with that revision, if it gives one at all.
    """
    if event.verdict not in PERSON:
        return Drop.NOT_A_PERSON
    if event.repeat or event.implied:
        return Drop.TOLD_OTHERWISE
    if not event.first:
        return Drop.NOT_FIRST
    if told_at - event.at > max_age_ms:
        return Drop.TOO_OLD
    return Alert(
        alert_id=ids.alert_id(event.event_id, event.tenant, event.user),
        revision=event.revision,
        event_id=event.event_id,
        kind=event.kind,
        at=event.at,
        tenant=event.tenant,
        user=event.user,
        message_id=event.message_id,
        recipient=event.recipient,
        recipient_count=event.recipient_count,
        verdict=event.verdict,
        reasons=event.reasons,
        recipient_id=event.recipient_id,
        link=event.link,
        target=event.target,
        tag=event.tag,
    )


def wanted(preference: Preference, told_at: int) -> bool:
    """Whether the user wanted alerts when the enricher told of an event (milliseconds).

    Before the last switch it was the other way. A replay says the same as long as the user has not
    switched again; the switches before the last are not known any more, and events of their time
    are judged by the state before the last.
    """
    return preference.notifications == (told_at >= preference.notifications_at)
