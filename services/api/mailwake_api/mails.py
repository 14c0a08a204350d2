# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""What is told of a mail: to whom it was sent, whether it was opened and clicked, how sure it is.

Counts and how sure they are come from the track, which follows every revision.
Names, addresses and subjects come from the displays, for the sender alone; without one (erased, or
never kept) the mail is told without them.

What a query costs ClickHouse is mostly that it is one, whatever it reads (decision 6), so a page
asks each table once, and all that it still has to know at once: what it has read already goes into
`read_mails`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from mailwake.contracts import NOBODY, PERSON, Count, Id, Millis, Mode, Percent, Purpose
from mailwake.tokens import MAX_READERS
from mailwake_api.reading import Reader, Row, Value
from mailwake_api.withheld import Denials

NAMED = MAX_READERS
"""Recipients that a list names of one mail; more than so many share an anonymous one only."""
OF_USER = "tenant = %(tenant)s AND user = %(user)s"
BY_PERSON = f"verdict IN ({', '.join(map(repr, sorted(PERSON)))})"
Values = dict[str, Any]
_OF_MAILS = f"{OF_USER} AND message_id IN %(mails)s"

SENT = (
    "message_id, toUnixTimestamp64Milli(sent_at), recipient_count, mode, opens, clicks, recipients,"
    " tag"
)
"""The columns of `sends` that a mail is told by."""
SHOWN = "message_id, subject, recipient_names, recipient_addresses"
"""Those of `displays`."""
TRACKED = (
    "message_id, opens, machine_opens, toUnixTimestamp64Milli(first_open_at),"
    " toUnixTimestamp64Milli(last_open_at), clicks, machine_clicks,"
    " toUnixTimestamp64Milli(first_click_at), toUnixTimestamp64Milli(last_click_at), forwards,"
    " readers_about, readers_least, open_score, click_score"
)
"""Those of `tracks`."""

_ROW = msgspec.json.Decoder(tuple[Any, ...])
_NOTHING = (0, 0, None, None, 0, 0, None, None, 0, 0, 0, 0, 0)
"""`TRACKED` without the message_id, of a mail to which nothing has happened."""


class Recipient(Struct, frozen=True):
    """A recipient as the sender's mailbox shows it.

    Attributes:
        recipient_id: None in mode anonymous.
        name: empty where none is known.
        address: None where none is kept.
    """

    recipient_id: Id | None
    name: str
    address: str | None


class Happened(Struct, frozen=True):
    """The opens, or the clicks, of a mail.

    Attributes:
        tracked: whether it could be seen at all.
        withheld: a recipient does not agree to it now, so nothing is told.
        count: how often persons did it.
        machines: how often machines and the sender did it.
        first_at, last_at: when persons did it first and last; None where they did not.
        score: how sure the surest of those by persons is, 1 to 100; None where there is none.
    """

    tracked: bool
    withheld: bool
    count: Count
    machines: Count
    first_at: Millis | None
    last_at: Millis | None
    score: Percent | None


class Readers(Struct, frozen=True):
    """Who has read a mail, as far as that can be told.

    Attributes:
        recipients: how many the mail went to.
        about: how many have read it, by estimate.
        least: how many people that are at the least.
        line: the same as a sentence.
    """

    recipients: Count
    about: Count
    least: Count
    line: str


class Mail(Struct, frozen=True):
    """One mail of the user's.

    Attributes:
        sent_at: in milliseconds since 1970, as all times.
        subject: None where it is not kept, or was erased.
        recipients: some of them, by recipient index.
        recipient_count: how many there are.
        tag: the campaign or label; None without one.
        opened, clicked: whether a person did it, as far as it may be told.
        forwards: opens by one reader more than the mail has recipients; likely it was handed on.
        readers: None where opens or clicks are withheld.
    """

    message_id: Id
    sent_at: Millis
    subject: str | None
    recipients: list[Recipient]
    recipient_count: Count
    mode: Mode
    tag: str | None
    opened: bool
    clicked: bool
    opens: Happened
    clicks: Happened
    forwards: Count
    readers: Readers | None


def moment(name: str) -> str:
    """A parameter that holds milliseconds since 1970, as a time."""
    return f"fromUnixTimestamp64Milli(toInt64(%({name})s), 'UTC')"


def chosen(
    tag: str | None, since: int | None, until: int | None, clock: str, values: dict[str, Value]
) -> list[str]:
    """The conditions of a tag and of limits in time, by the column `clock`; their values are added
    to `values`."""
    limits = (
        ("tag", tag, "tag = %(tag)s"),
        ("since", since, f"{clock} >= {moment('since')}"),
        ("until", until, f"{clock} < {moment('until')}"),
    )
    values |= {name: value for name, value, _ in limits if value is not None}
    return [where for _, value, where in limits if value is not None]


@dataclass
class Known:
    """What was read of mails: rows by message_id, each beginning with the columns of its table.

    Attributes:
        hidden: of each mail that was sent, what may not be told.
    """

    sent: dict[str, Row]
    shown: dict[str, Row]
    tracked: dict[str, Row]
    hidden: Mapping[str, frozenset[Purpose]]


async def read_mails(
    reader: Reader,
    denials: Denials,
    tenant: str,
    user: str,
    message_ids: Sequence[str],
    *,
    sent: Sequence[Row] | None = None,
    tracked: Sequence[Row] | None = None,
) -> list[Mail]:
    """The user's mails with these ids, in their order; those that are not the user's are left out.

    `sent` and `tracked` are their rows (`SENT`, `TRACKED`) where these were read already. Raises
    Problem.
    """
    if not message_ids:
        return []
    of: Values = {"tenant": tenant, "user": user, "mails": list(message_ids)}
    known = await read_known(reader, denials, of, sent=sent, tracked=tracked)
    return [mail_of(known, each) for each in message_ids if each in known.sent]


async def read_known(
    reader: Reader,
    denials: Denials,
    of: Values,
    *,
    links: bool = False,
    sent: Sequence[Row] | None = None,
    tracked: Sequence[Row] | None = None,
) -> Known:
    """What is known of some of a user's mails; `of` is tenant, user and mails.

    With `links` the rows of sends and displays end in their links. `sent` and `tracked` are as in
    `read_mails`. Raises Problem.
    """
    end = ", links" if links else ""
    read = {"sends": sent, "tracks": tracked}
    known = {name: {row[0]: row for row in rows} for name, rows in read.items() if rows is not None}
    columns = {"sends": SENT + end, "displays": SHOWN + end, "tracks": TRACKED}
    missing = _rows_of(
        reader, of, {name: some for name, some in columns.items() if name not in known}
    )

    async def hidden() -> Mapping[str, frozenset[Purpose]]:
        return await denials.withheld(
            of["tenant"], {each: row[6] for each, row in known["sends"].items()}
        )

    if sent is None:  # to whom they went is to be read first
        known |= await missing
        out = await hidden()
    else:
        out, rest = await asyncio.gather(hidden(), missing)
        known |= rest
    return Known(known["sends"], known["displays"], known["tracks"], out)


async def _rows_of(
    reader: Reader, of: Values, columns: Mapping[str, str]
) -> dict[str, dict[str, Row]]:
    """Rows of several tables (their columns, the message_id first), in one query: to run one more
    costs more than to read a row (docs/decisions/0006-clickhouse-tables.md). They come as JSON, for
    their columns are not alike."""
    sql = " UNION ALL ".join(
        f"SELECT '{name}', formatRowNoNewline('JSONCompactEachRow', {some}) FROM {name} FINAL"
        f" WHERE {_OF_MAILS}"
        for name, some in columns.items()
    )
    found: dict[str, dict[str, Row]] = {name: {} for name in columns}
    for name, text in await reader.rows(sql, **of):
        row = _ROW.decode(text)
        found[name][row[0]] = row
    return found


def mail_of(known: Known, message_id: str, most_named: int = NAMED) -> Mail:
    """What is told of a mail whose send is known."""
    display = known.shown.get(message_id)
    track = known.tracked.get(message_id, (message_id, *_NOTHING))
    hidden = known.hidden[message_id]
    _, sent_at, of, mode, opens_tracked, clicks_tracked, recipients, tag = known.sent[message_id][
        :8
    ]
    _, opens, machine_opens, opened_at, reopened_at, clicks, machine_clicks = track[:7]
    clicked_at, reclicked_at, forwards, about, least, open_score, click_score = track[7:14]
    opened = _happened(
        bool(opens_tracked),
        "opens" in hidden,
        (opens, machine_opens, opened_at, reopened_at, open_score),
    )
    clicked = _happened(
        bool(clicks_tracked),
        "clicks" in hidden,
        (clicks, machine_clicks, clicked_at, reclicked_at, click_score),
    )
    return Mail(
        message_id=message_id,
        sent_at=sent_at,
        subject=display[1] if display else None,
        recipients=_recipients(recipients, display, most_named),
        recipient_count=of,
        mode=mode,
        tag=tag or None,
        opened=opened.count > 0,
        clicked=clicked.count > 0,
        opens=opened,
        clicks=clicked,
        forwards=0 if opened.withheld else forwards,
        readers=None if hidden else Readers(of, about, least, line(of, about, least, forwards)),
    )


def _happened(tracked: bool, hidden: bool, told: tuple[Any, ...]) -> Happened:
    if hidden:
        return Happened(tracked, True, 0, 0, None, None, None)
    count, machines, first_at, last_at, score = told
    return Happened(tracked, False, count, machines, first_at, last_at, score or None)


def _recipients(ids: Sequence[str], display: Row | None, most: int) -> list[Recipient]:
    names, addresses = (display[2], display[3]) if display else ((), ())
    return [
        Recipient(
            ids[place] if place < len(ids) and ids[place] != NOBODY else None,
            names[place] if place < len(names) else "",
            addresses[place] or None if place < len(addresses) else None,
        )
        for place in range(min(most, max(len(ids), len(addresses))))
    ]


def line(recipients: int, about: int, least: int, forwards: int) -> str:
    """Who has read a mail, as a sentence: never more than is known."""
    if not about:
        return (
            f"none of {recipients} recipients, as far as is known"
            if recipients > 1
            else "not the recipient, as far as is known"
        )
    who = f"someone of {recipients} recipients" if recipients > 1 else "the recipient"
    if recipients > 1 and least > 1:
        who += f", at least {least} readers"
    if about > max(least, 1):
        who += f", about {about} readers" if recipients > 1 else f", in about {about} places"
    if forwards:
        who += ", and likely someone it was forwarded to"
    return who
