# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""What happened to one mail: its links with their clicks, and its events in the order of time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from msgspec import Struct

from mailwake.contracts import (
    PERSON,
    PURPOSE,
    Count,
    Id,
    Index,
    Kind,
    Millis,
    Percent,
    Revision,
    Verdict,
)
from mailwake.reasons import sentences
from mailwake_api.clients import client_of
from mailwake_api.mails import (
    BY_PERSON,
    OF_USER,
    Mail,
    Values,
    mail_of,
    read_known,
)
from mailwake_api.reading import Reader, Row
from mailwake_api.withheld import Denials

MOST_EVENTS = 500
"""As many events the view of a mail shows, the newest."""

MOST_RECIPIENTS = 1_000
"""As many recipients it names."""

_OF_MAIL = f"{OF_USER} AND message_id = %(mail)s"
# The last revision by LIMIT BY: for one mail of many FINAL takes several times as long.
_TOLD = (
    f"(SELECT * FROM events WHERE {_OF_MAIL} AND kind IN %(kinds)s"
    " ORDER BY event_id, revision DESC LIMIT 1 BY event_id) WHERE NOT repeat"
)

_COLUMNS = (
    "event_id, revision, kind, toUnixTimestamp64Milli(at), verdict, score, reasons, rules_version,"
    " first, implied, forward, recipient, link, target, agent"
)
_EVENTS = f"SELECT {_COLUMNS} FROM {_TOLD} ORDER BY at DESC, event_id DESC LIMIT {MOST_EVENTS + 1}"
# All that most mails have: a query without a subquery costs a fifth less. All revisions of an
# event are of one time.
_LATEST = (
    f"SELECT {_COLUMNS}, repeat FROM events WHERE {_OF_MAIL}"
    " ORDER BY at DESC, event_id DESC, revision DESC LIMIT 1 BY event_id"
    f" LIMIT {MOST_EVENTS + 1}"
)
_CLICKS = (
    f"SELECT link, countIf({BY_PERSON}) AS persons, count() - persons,"
    f" toUnixTimestamp64Milli(minOrNullIf(at, {BY_PERSON})),"
    f" toUnixTimestamp64Milli(maxOrNullIf(at, {BY_PERSON}))"
    f" FROM {_TOLD} AND kind = 'click' GROUP BY link"
)

Link = int | None
Clicked = tuple[int, int, int | None, int | None]
"""Of a link: clicks by persons, by machines, the first and the last by a person."""


class LinkView(Struct, frozen=True):
    """One link of a mail.

    Attributes:
        link: its index, from 0.
        target: where it leads.
        text: what stood on it; empty where that is not kept.
        clicks: how often persons followed it.
        machines: how often machines and the sender did.
        first_at, last_at: when persons followed it first and last.
    """

    link: Index
    target: str
    text: str
    clicks: Count
    machines: Count
    first_at: Millis | None
    last_at: Millis | None


class Why(Struct, frozen=True):
    """One reason of a verdict.

    Attributes:
        sentence: what the code says, for people; empty for a code from a later release.
    """

    code: str
    sentence: str


class EventView(Struct, frozen=True):
    """One open or click.

    Attributes:
        revision: how often it was judged anew, from 1.
        person: whether the verdict says that a person did it.
        score: how sure the verdict is, 0 to 100.
        why: its reasons, the strongest first.
        rules_version: the rule set that gave the verdict.
        first: the first open of the mail, or the first click of the link, by a person.
        implied: an open that follows from a click; no pixel was asked for.
        forward: an open by one reader more than the mail has recipients.
        recipient: the recipient index, from 1; None where it is only known that someone did it.
        link, target: of a click.
        client: the mail service or program; `unknown` where nothing of it is kept.
    """

    event_id: Id
    revision: Revision
    kind: Kind
    at: Millis
    verdict: Verdict
    person: bool
    score: Percent
    why: list[Why]
    rules_version: Count
    first: bool
    implied: bool
    forward: bool
    recipient: Index | None
    link: Index | None
    target: str | None
    client: str


class MessageView(Struct, frozen=True):
    """One mail whole.

    Attributes:
        message: the mail as in the list, with more of its recipients.
        links: in the order of the mail; with nothing of their clicks where these are withheld.
        events: the timeline, the newest first; what only repeats another is left out.
        more_events: whether there are older ones that are not shown.
        muted: whether the user wants no alerts of it.
    """

    message: Mail
    links: list[LinkView]
    events: list[EventView]
    more_events: bool
    muted: bool


async def view(
    reader: Reader,
    denials: Denials,
    tenant: str,
    user: str,
    message_id: str,
    *,
    muted: bool = False,
) -> MessageView | None:
    """The mail with what happened to it; None when it is none of the user's. Raises Problem."""
    of: Values = {"tenant": tenant, "user": user, "mail": message_id}
    mails: Values = {"tenant": tenant, "user": user, "mails": [message_id]}
    known, events = await asyncio.gather(
        read_known(reader, denials, mails, links=True),
        reader.rows(_LATEST, **of),
    )
    if message_id not in known.sent:
        return None
    told: list[str] = [
        kind for kind, purpose in PURPOSE.items() if purpose not in known.hidden[message_id]
    ]
    events, clicks = await _told(reader, of, told, events)
    texts = known.shown[message_id][-1] if message_id in known.shown else []
    return MessageView(
        mail_of(known, message_id, MOST_RECIPIENTS),
        _links(clicks, known.sent[message_id][-1], texts),
        [_event(row) for row in events[:MOST_EVENTS]],
        len(events) > MOST_EVENTS,
        muted,
    )


async def _told(
    reader: Reader, of: Values, kinds: list[str], latest: list[Row]
) -> tuple[list[Row], dict[Link, Clicked]]:
    """What may be told of a mail's events, read before that was known (rows of `_LATEST`): of these
    kinds the events, and the clicks by link.

    Of most mails all events were read, so they are counted here; of one with more, by ClickHouse.
    """
    if len(latest) <= MOST_EVENTS:
        events = [row[:-1] for row in latest if row[2] in kinds and not row[-1]]
        return events, clicked(events)
    if not kinds:
        return [], {}
    events, clicks = await asyncio.gather(
        reader.rows(_EVENTS, **of, kinds=kinds), reader.rows(_CLICKS, **of, kinds=kinds)
    )
    return events, {row[0]: row[1:] for row in clicks}


def clicked(events: Iterable[Row]) -> dict[Link, Clicked]:
    """The clicks by link, as `_CLICKS` counts them, of rows of `_EVENTS`."""
    found: dict[Link, tuple[list[int], list[int]]] = {}
    for event in events:
        if event[2] == "click":
            persons, machines = found.setdefault(event[12], ([], []))
            (persons if event[4] in PERSON else machines).append(event[3])
    return {
        link: (len(persons), len(machines), min(persons, default=None), max(persons, default=None))
        for link, (persons, machines) in found.items()
    }


def _links(counted: Mapping[Link, Clicked], targets: list[str], texts: list[str]) -> list[LinkView]:
    return [
        LinkView(
            link,
            target,
            texts[link] if link < len(texts) else "",
            *counted.get(link, (0, 0, None, None)),
        )
        for link, target in enumerate(targets)
    ]


def _event(row: Row) -> EventView:
    event_id, revision, kind, at, verdict, score, reasons, rules_version, *rest = row
    first, implied, forward, recipient, link, target, agent = rest
    return EventView(
        event_id,
        revision,
        kind,
        at,
        verdict,
        verdict in PERSON,
        score,
        [Why(code, " ".join(sentences([code]))) for code in reasons],
        rules_version,
        first,
        implied,
        forward,
        recipient or None,
        link,
        target or None,
        client_of(agent, reasons),
    )
