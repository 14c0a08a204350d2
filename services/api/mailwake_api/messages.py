# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""`GET /v1/messages`: the user's sent mails, filtered, a page at a time; and one of them whole."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace
from starlette.responses import Response

from mailwake.contracts import Id, Millis, Purpose, Tag, User
from mailwake.errors import UnavailableError
from mailwake_api import conditions, cursor, timeline
from mailwake_api.call import Call
from mailwake_api.cursor import Place
from mailwake_api.mails import OF_USER, SENT, TRACKED, Mail, chosen, moment, read_mails
from mailwake_api.problems import Problem
from mailwake_api.reading import Reader, Row, Value
from mailwake_api.withheld import Denials, Hiding

MOST = 200
MOST_WORDS = 8
_KNOWN_S = 1.0

Sort = Literal["newest", "oldest", "opened", "clicked"]
Cursor = Annotated[str, Meta(max_length=64)]
Limit = Annotated[int, Meta(ge=1, le=MOST)]


class MessagesQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which mails, in what order, and how many.

    Attributes:
        tracked: only those that are tracked, or only those that are not.
        opened: only those that a person opened, or only the others.
        clicked: only those in which a person clicked a link, or only the others.
        q: words that stand in the subject, or in the name or the address of a recipient.
        recipient: only those to this recipient (a recipient_id).
        tag: only those of this campaign or label.
        since, until: only those sent from then on, and before then; milliseconds since 1970.
        sort: newest or oldest first; opened or clicked: what a person did last first, and none of
            those where nobody did.
        cursor: the `next` of the page before.
        limit: how many in one page.
        user: named by a token of role platform, and by no other.
    """

    tracked: bool | None = None
    opened: bool | None = None
    clicked: bool | None = None
    q: Annotated[str, Meta(max_length=200)] = ""
    recipient: Id | None = None
    tag: Tag | None = None
    since: Millis | None = None
    until: Millis | None = None
    sort: Sort = "newest"
    cursor: Cursor | None = None
    limit: Limit = 50
    user: User | None = None


class OneMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose mail it is.

    Attributes:
        user: named by a token of role platform, and by no other.
    """

    user: User | None = None


class Messages(Struct, frozen=True):
    """A page of mails.

    Attributes:
        next: the cursor of the next page; None at the end.
    """

    messages: list[Mail]
    next: str | None


async def messages(call: Call) -> Response:
    """A page of the user's mails."""
    asked: MessagesQuery = call.asked
    parts = call.parts
    user = call.user(asked.user)
    found = await page(parts.reader, parts.denials, call.caller.tenant, user, asked)
    return conditions.answer(call.request, found)


async def message(call: Call) -> Response:
    """One mail with its links and what happened to it."""
    asked: OneMessage = call.asked
    parts = call.parts
    tenant, user = call.caller.tenant, call.user(asked.user)
    message_id = path_id(call, "message_id")
    muted = await _is_muted(call, user, message_id)
    found = await timeline.view(parts.reader, parts.denials, tenant, user, message_id, muted=muted)
    if found is None:
        raise not_found()
    return conditions.answer(call.request, found)


async def _is_muted(call: Call, user: str, message_id: str) -> bool:
    """Whether a mail is muted; while Kafka is away, as far as that is known here."""
    mutes = call.parts.mutes
    if call.parts.connection.connected.is_set():
        with contextlib.suppress(UnavailableError):
            await mutes.current(_KNOWN_S)
    return mutes.muted(call.caller.tenant, user, message_id)


def path_id(call: Call, name: str) -> str:
    """The id in the address. Raises Problem (404): what is no id names nothing."""
    text: str = call.request.path_params[name]
    if len(text) != 32 or text.strip("0123456789abcdef"):
        raise not_found()
    return text


def not_found() -> Problem:
    """The same whether it is somebody else's or nobody's."""
    return Problem(404, "not_found", "there is no such thing among what this user has sent")


async def page(
    reader: Reader, denials: Denials, tenant: str, user: str, asked: MessagesQuery
) -> Messages:
    """A page of a user's mails, and the cursor of the next. Raises Problem."""
    limit = asked.limit
    query = (tenant, user, replace(asked, cursor=None, limit=1, user=None))
    after = cursor.read(asked.cursor, query) if asked.cursor else None

    async def read(*, sifted: bool) -> tuple[list[Row], list[Mail]]:
        hidden = {
            purpose: await denials.hiding(tenant, purpose)
            for purpose, done in _wishes(asked).items()
            if done is False or (done and sifted)
        }
        table, sql, values = _rows(asked, after, hidden)
        rows = await reader.rows(sql, tenant=tenant, user=user, limit=limit + 1, **values)
        shown = rows[:limit]
        ids = [row[0] for row in shown]
        return rows, await read_mails(reader, denials, tenant, user, ids, **{table: shown})

    rows, mails = await read(sifted=False)
    if any(_is_out(mail, asked) for mail in mails):
        rows, mails = await read(sifted=True)
        # ClickHouse may not have yet what was denied just now.
        mails = [mail for mail in mails if not _is_out(mail, asked)]
    last = Place(rows[limit - 1][-1], rows[limit - 1][0]) if len(rows) > limit else None
    return Messages(mails, cursor.write(last, query) if last else None)


def _is_out(mail: Mail, asked: MessagesQuery) -> bool:
    """Whether the mail was found by what may not be told of it."""
    opened = asked.opened is True or asked.sort == "opened"
    clicked = asked.clicked is True or asked.sort == "clicked"
    return (opened and mail.opens.withheld) or (clicked and mail.clicks.withheld)


def _wishes(asked: MessagesQuery) -> dict[Purpose, bool | None]:
    """Whether mails are wanted that persons opened, or clicked, or the others; None: all."""
    opened = _both(asked.opened) if asked.sort == "opened" else asked.opened
    clicked = _both(asked.clicked) if asked.sort == "clicked" else asked.clicked
    return {"opens": opened, "clicks": clicked}


def _rows(
    asked: MessagesQuery,
    after: Place | None,
    hidden: Mapping[Purpose, Hiding],
) -> tuple[Literal["sent", "tracked"], str, dict[str, Value]]:
    """The query for the rows of a page, with its parameters but tenant, user and limit, and which
    rows it gives: `SENT` or `TRACKED`, then the time that they are sorted by.

    To leave out what recipients deny takes longer than the page itself, and mostly that is nothing:
    so mails that persons opened or clicked are found without it first. `hidden` are the conditions
    for what may not be told, where it is to be left out.

    What a person did is filtered in the tracks, which know nothing of recipients; the rest in the
    sends.
    """
    wishes = _wishes(asked)
    key = {"opened": "last_open_at", "clicked": "last_click_at"}.get(asked.sort, "sent_at")
    by_tracks = True in wishes.values()
    values: dict[str, Value] = {}
    which = [OF_USER]
    for purpose, done in wishes.items():
        out = hidden.get(purpose)
        if out is not None:
            values |= out.values
        if done is True:
            which.append(f"{purpose} > 0")
            if out is not None:
                which.append(f"NOT {out.by_id}")
        elif done is False:
            which.append(f"({_not_done(purpose, hidden[purpose], by_tracks=by_tracks)})")
    in_sends: list[str] = []
    if asked.tracked is not None:
        in_sends.append(("" if asked.tracked else "NOT ") + "(opens OR clicks)")
    if asked.recipient is not None:
        in_sends.append("has(recipients, %(recipient)s)")
        values["recipient"] = asked.recipient
    if in_sends and by_tracks:
        both = " AND ".join([OF_USER, *in_sends])
        in_sends = [f"message_id IN (SELECT message_id FROM sends FINAL WHERE {both})"]
    which += in_sends
    if asked.q.strip():
        which.append(_with_words(asked.q.split()[:MOST_WORDS], values))
    which += chosen(asked.tag, asked.since, asked.until, "sent_at", values)
    way, beyond = ("ASC", ">") if asked.sort == "oldest" else ("DESC", "<")
    if after is not None:
        which.append(f"({key}, message_id) {beyond} ({moment('at')}, %(id)s)")
        values |= {"at": after.at, "id": after.id}
    return (
        "tracked" if by_tracks else "sent",
        f"SELECT {TRACKED if by_tracks else SENT}, toUnixTimestamp64Milli({key})"
        f" FROM {'tracks' if by_tracks else 'sends'} FINAL WHERE {' AND '.join(which)}"
        f" ORDER BY {key} {way}, message_id {way} LIMIT %(limit)s",
        values,
    )


def _not_done(purpose: Purpose, hidden: Hiding, *, by_tracks: bool) -> str:
    """A condition of rows of tracks, or of sends: no person did it, as far as may be told."""
    if by_tracks:
        return f"{purpose} = 0 OR {hidden.by_id}"
    did = f"(SELECT message_id FROM tracks FINAL WHERE {OF_USER} AND {purpose} > 0)"
    return f"message_id NOT IN {did} OR {hidden.by_recipients}"


def _both(wanted: bool | None) -> bool:
    if wanted is False:
        raise Problem(
            422, "sort", "sorted by what a person did last, those where nobody did are out"
        )
    return True


def _with_words(words: list[str], values: dict[str, Value]) -> str:
    each = []
    for number, word in enumerate(words):
        name = f"word{number}"
        values[name] = word
        each.append(
            f"(positionCaseInsensitiveUTF8(subject, %({name})s) > 0"
            f" OR arrayExists(x -> positionCaseInsensitiveUTF8(x, %({name})s) > 0,"
            " arrayConcat(recipient_names, recipient_addresses)))"
        )
    which = " AND ".join([OF_USER, *each])
    return f"message_id IN (SELECT message_id FROM displays FINAL WHERE {which})"
