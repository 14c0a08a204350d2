"""Which mails an erased recipient was taken out of: the topic `removals`, followed in memory.

What stood in Kafka before an erasure stands there until its topic forgets it, and comes again when
a topic is replayed. Whoever stores anything of a mail asks here first.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from mailwake.contracts import NOBODY, REMOVAL, Display, Event, Hit, Party, Removal, Send
from mailwake.following import Follower
from mailwake.settings import Settings

WHOLE: frozenset[int] = frozenset()
"""In place of recipient indexes: the mail is gone as a whole."""

ERASED = Party("")
"""Stands in a display for a recipient who was erased, so that the others keep their indexes."""

A = TypeVar("A", Hit, Event)


class Removed:
    """One for a process.

    Attributes:
        follower: follows `removals`; to be started and stopped.
        of: tenant and message_id -> the recipient indexes that are nobody's now, or `WHOLE`.
        by_erasure: erasure_id -> the message_ids that it has to do with.
    """

    def __init__(self, settings: Settings) -> None:
        self.of: dict[tuple[str, str], frozenset[int]] = {}
        self.by_erasure: dict[str, set[str]] = {}
        self.follower = Follower(settings, "removals", REMOVAL, self.take)

    def take(self, key: bytes, removal: Removal | None) -> None:
        """Notes a record; what several erasures take out of one mail adds up."""
        if removal is None:
            return
        mail = removal.tenant, removal.message_id
        before, now = self.of.get(mail), frozenset(removal.recipients)
        self.of[mail] = now if before is None else before | now if before and now else WHOLE
        self.by_erasure.setdefault(removal.erasure_id, set()).add(removal.message_id)

    def is_whole(self, tenant: str, message_id: str) -> bool:
        """Whether nothing of a mail may be kept."""
        return self.of.get((tenant, message_id)) == WHOLE

    def rest_of_send(self, send: Send) -> Send | None:
        """What of a send may be kept; None for nothing."""
        gone = self.of.get((send.tenant, send.message_id))
        if not gone:
            return send if gone is None else None
        ids = [NOBODY if at in gone else each for at, each in enumerate(send.recipients, 1)]
        return replace(send, recipients=ids)

    def rest_of_display(self, display: Display) -> Display | None:
        """What of a display may be kept; None for nothing."""
        gone = self.of.get((display.tenant, display.message_id))
        if not gone:
            return display if gone is None else None
        return replace(display, recipients=without(display.recipients, gone))

    def rest_of_act(self, act: A) -> A | None:
        """A hit or an event, if it may be kept."""
        gone = self.of.get((act.tenant, act.message_id))
        return act if gone is None or (gone and act.recipient not in gone) else None


def without(parties: list[Party], gone: frozenset[int]) -> list[Party]:
    """The recipients of a display, those at some indexes (first is 1) erased."""
    return [ERASED if at in gone else party for at, party in enumerate(parties, 1)]
