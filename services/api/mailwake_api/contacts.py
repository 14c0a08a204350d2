# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""`GET /v1/contacts/{recipient_id}`: the mails to one recipient, and what came of them."""

from __future__ import annotations

import asyncio

from msgspec import Struct
from starlette.responses import Response

from mailwake.contracts import ConsentState, Count, Id, Millis, Purpose, User
from mailwake_api import conditions
from mailwake_api.call import Call
from mailwake_api.mails import OF_USER, Mail, Recipient
from mailwake_api.messages import Cursor, Limit, MessagesQuery, Sort, not_found, page, path_id

_SENT = (
    "SELECT count(), toUnixTimestamp64Milli(max(sent_at)) FROM sends FINAL"
    f" WHERE {OF_USER} AND has(recipients, %(recipient)s)"
)
_SAID = (
    "SELECT purpose, state, toUnixTimestamp64Milli(at) FROM consents"
    " WHERE tenant = %(tenant)s AND recipient_id = %(recipient)s"
)


class ContactQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the mails to a recipient, and how many.

    Attributes:
        sort: as in the list of messages.
        cursor: the `next` of the page before.
        limit: how many in one page.
        user: named by a token of role platform, and by no other.
    """

    sort: Sort = "newest"
    cursor: Cursor | None = None
    limit: Limit = 50
    user: User | None = None


class SaidNow(Struct, frozen=True):
    """What a recipient says about one purpose.

    Attributes:
        at: when it was said; None when nothing was.
    """

    state: ConsentState
    at: Millis | None


class ContactConsent(Struct, frozen=True):
    """What a recipient says about being tracked."""

    opens: SaidNow
    clicks: SaidNow


class Contact(Struct, frozen=True):
    """A recipient, as one user knows it.

    Attributes:
        name, address: as in the first of these messages that has them; None where none does.
        sent: how many mails the user has sent to this recipient, alone or among others.
        last_sent_at: when the last one was sent.
        messages: a page of them.
        next: the cursor of the next page; None at the end.
    """

    recipient_id: Id
    name: str | None
    address: str | None
    consent: ContactConsent
    sent: Count
    last_sent_at: Millis
    messages: list[Mail]
    next: str | None


async def contact(call: Call) -> Response:
    """One recipient with the user's mails to it."""
    asked: ContactQuery = call.asked
    tenant, user = call.caller.tenant, call.user(asked.user)
    recipient_id = path_id(call, "recipient_id")
    reader, of = call.parts.reader, {"tenant": tenant, "recipient": recipient_id}
    chosen = MessagesQuery(
        recipient=recipient_id, sort=asked.sort, cursor=asked.cursor, limit=asked.limit
    )
    ((sent, last_sent_at),), said, found = await asyncio.gather(
        reader.rows(_SENT, **of, user=user),
        reader.rows(_SAID, **of),
        page(reader, call.parts.denials, tenant, user, chosen),
    )
    if not sent:
        raise not_found()
    known = _known(recipient_id, found.messages)
    states = {purpose: SaidNow(state, at) for purpose, state, at in said}
    return conditions.answer(
        call.request,
        Contact(
            recipient_id,
            known.name or None,
            known.address,
            ContactConsent(_said(states, "opens"), _said(states, "clicks")),
            sent,
            last_sent_at,
            found.messages,
            found.next,
        ),
    )


def _known(recipient_id: str, mails: list[Mail]) -> Recipient:
    """The recipient as the first of the mails that knows it by name or address has it."""
    for mail in mails:
        for each in mail.recipients:
            if each.recipient_id == recipient_id and (each.name or each.address):
                return each
    return Recipient(recipient_id, "", None)


def _said(states: dict[str, SaidNow], purpose: Purpose) -> SaidNow:
    return states.get(purpose, SaidNow("unknown", None))
