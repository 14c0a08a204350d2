"""The alert that an event gives: pure."""

from __future__ import annotations

from mailwake import ids
from mailwake.contracts import Alert, Event
from mailwake_notifier.decide import NO_ACT, Drop, begins, drop_of


def notice(event: Event, *, quiet: bool = False) -> Alert:
    """What an event tells the user of its send, as an alert of that event alone.

    Its id derives from the event's and the user, so a later revision of the event, or a replay, has
    the same. It says neither network nor agent.
    """
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
        returned=event.returned,
        quiet=quiet,
    )


def alert_of(event: Event, told_at: int, max_age_ms: int) -> Alert | Drop:
    """The alert that an event begins were there no other, or why it begins none."""
    drop = drop_of(event, told_at, max_age_ms)
    if drop in NO_ACT or begins(event):
        return drop or notice(event)
    return Drop.NOT_FIRST
