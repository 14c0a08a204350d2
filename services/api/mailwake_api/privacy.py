"""A recipient's rights: a copy of all that is kept, and erasure, with a receipt.

The recipient is named by address or id, as in consents; an address is hashed as soon as it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Literal

import msgspec
from msgspec import Struct
from starlette.responses import Response, StreamingResponse

from mailwake.clickhouse import ClickHouse, ClickHouseError, secured_url
from mailwake.contracts import NOBODY, Erasure, Id, Millis
from mailwake.errors import UnavailableError
from mailwake.ids import now_ms
from mailwake.topics import Topic, registry
from mailwake_api.call import Call, as_json
from mailwake_api.consents import Consents, Whom, recipient_of, said_of
from mailwake_api.kept import Kept, Mails, in_lots
from mailwake_api.problems import Problem, not_set_up, unavailable

ANSWER_S = 8.0
"""An erasure that takes longer is answered with 202, and goes on."""

MAILS_AT_ONCE = 100
"""So many mails of an export are in memory at once."""

DAY_MS = 86_400_000
_SEGMENT_MS = 7 * DAY_MS
"""Kafka's default `segment.ms`: a topic forgets segments, and one may be filled for so long."""

_WITHOUT_PERSONS = frozenset({"removals", "erasures", "policies", "preferences", "webhooks"})
"""Topics that hold nothing of recipients but, in `erasures`, the receipt itself."""

State = Literal["under_way", "done"]


class Expiry(Struct, frozen=True):
    """A place that forgets by itself.

    Attributes:
        topic: in Kafka.
        at: by when it has forgotten, in milliseconds since 1970, as long as the topic's settings
            are those that Mailwake gives it.
    """

    topic: str
    at: Millis


class Staying(Struct, frozen=True):
    """Something that stays, and why."""

    place: str
    why: str


class Receipt(Struct, frozen=True):
    """What became of an erasure. It holds no address.

    Attributes:
        state: done when it was looked for what is left, and nothing was.
        asked_at: when it was asked for, in milliseconds since 1970.
        done_at: when it was done; null as long as it is under way.
        mails: how many went to the recipient alone; they are gone as a whole.
        shared: how many went to others too; they name nobody in the recipient's place.
        rows: how many rows were deleted or changed, by table of ClickHouse.
        expires: what holds something still, and forgets it by itself.
        stays: what is kept.
    """

    erasure_id: Id
    recipient_id: Id
    state: State
    asked_at: Millis
    done_at: Millis | None
    mails: int
    shared: int
    rows: dict[str, int]
    expires: list[Expiry]
    stays: list[Staying]


class Export(Struct, frozen=True):
    """All that is kept of a recipient.

    Attributes:
        made_at: when, in milliseconds since 1970.
        consents: what the recipient says now.
        consent_proofs: every statement that was recorded.
        erasures: the receipts of earlier erasures.
        notes: what this tells and what it cannot.
        mails: each mail with its rows in the tables: `send`, `display`, `track`, `hits`, `events`.
            Of other recipients nothing stands in it. A mail that is `shared` has no `track`, and
            neither hits nor events, since nobody can tell who did what.
    """

    recipient_id: Id
    tenant: str
    made_at: Millis
    consents: Consents
    consent_proofs: list[dict[str, Any]]
    erasures: list[Receipt]
    notes: list[str]
    mails: list[dict[str, Any]]


_STAYS = [
    Staying(
        "topic consents, view consents",
        "that the recipient counts as one who denies, so that late requests leave nothing",
    ),
    Staying(
        "topic and table consent_proofs",
        "what the recipient has said about consent, by id: the proof of it (GDPR, article 7, 1)",
    ),
    Staying("topic erasures", "that, when and of what the recipient was erased, by id"),
    Staying(
        "shared mails",
        "what somebody of several did; it names nobody in the recipient's place",
    ),
]
_NOTES = [
    "Times are milliseconds since 1970. A recipient_id is a keyed hash of the address.",
    "A mail that is `shared` went to several in one body. Its opens and clicks are somebody's: "
    "nobody can tell whose, so they are not told here, nor is anything of the other recipients.",
    "A network is the /24 or /48 that a request came from; a full IP address is never kept.",
    "Kafka's topics hold the same as these tables, for as long as docs/privacy.md says.",
]


async def export(call: Call) -> Response:
    """All that is kept of a recipient, as one document, a few mails at a time."""
    whom: Whom = call.body
    tenant, recipient_id = call.caller.tenant, recipient_of(call, whom)
    erasing = call.parts.erasing
    await call.parts.register.current()
    receipts = [_receipt(each) for each in await erasing.of(tenant, recipient_id)]
    await erasing.loaded()
    async with AsyncExitStack() as stack:
        clickhouse = ClickHouse(secured_url(call.parts.settings))
        stack.push_async_callback(asyncio.to_thread, clickhouse.close)
        kept = erasing.kept(clickhouse, tenant, recipient_id)
        try:
            proofs = await asyncio.to_thread(kept.proofs)
            mails = await asyncio.to_thread(kept.find)
        except (UnavailableError, ClickHouseError) as error:
            raise _no_clickhouse(error) from None
        said = said_of(call, recipient_id)
        head = Export(recipient_id, tenant, now_ms(), said, proofs, receipts, _NOTES, [])
        open_yet = stack.pop_all()
    return StreamingResponse(
        _document(open_yet, head, kept, mails),
        media_type="application/json",
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="export-{recipient_id}.json"',
        },
    )


async def erase(call: Call) -> Response:
    """Erases a recipient; answers when that is done, or says that it goes on."""
    whom: Whom = call.body
    recipient_id = recipient_of(call, whom)
    if recipient_id == NOBODY:
        raise Problem(422, "nobody", "this id stands for those who were erased already")
    erasing = call.parts.erasing
    erasure = await erasing.begin(call.caller.tenant, recipient_id)
    return _answer(await erasing.wait(erasure, ANSWER_S))


async def erasure(call: Call) -> Response:
    """How far an erasure is."""
    erasure_id: str = call.request.path_params["erasure_id"]
    found = await call.parts.erasing.get(call.caller.tenant, erasure_id)
    if found is None:
        raise Problem(404, "no_such_erasure", "there is no erasure of this id")
    return _answer(found)


async def _document(
    stack: AsyncExitStack, head: Export, kept: Kept, mails: Mails
) -> AsyncIterator[bytes]:
    """The JSON of an export. When ClickHouse fails on the way, the document ends unfinished."""
    async with stack:
        yield msgspec.json.encode(head).removesuffix(b"]}")
        comma = b""
        for some in in_lots(sorted(mails), MAILS_AT_ONCE):
            documents = await asyncio.to_thread(kept.mails, {each: mails[each] for each in some})
            for document in documents:
                yield comma + msgspec.json.encode(document)
                comma = b","
        yield b"]}"


def _answer(erasure: Erasure) -> Response:
    response = as_json(_receipt(erasure))
    if not erasure.done_at:
        response.status_code = 202
        response.headers["Location"] = f"/v1/privacy/erasures/{erasure.erasure_id}"
        response.headers["Retry-After"] = "2"
    return response


def _receipt(erasure: Erasure) -> Receipt:
    return Receipt(
        erasure.erasure_id,
        erasure.recipient_id,
        "done" if erasure.done_at else "under_way",
        erasure.asked_at,
        erasure.done_at or None,
        erasure.mails,
        erasure.shared,
        dict(sorted(erasure.rows.items())),
        expiries(erasure.done_at) if erasure.done_at else [],
        _STAYS,
    )


def expiries(at: int) -> list[Expiry]:
    """When each topic has forgotten what stood in it at a time, the soonest first."""
    found = [
        Expiry(topic.name, at + after)
        for topic in registry().values()
        if topic.name not in _WITHOUT_PERSONS and (after := _forgets_after(topic)) is not None
    ]
    return sorted(found, key=lambda each: (each.at, each.topic))


def _forgets_after(topic: Topic) -> int | None:
    """So long after it was overwritten or came, a value may stand in a topic; None for ever."""
    config = topic.config
    segment = int(config.get("segment.ms", _SEGMENT_MS))
    if "compact" in config["cleanup.policy"] and topic.tombstone:
        return int(config["max.compaction.lag.ms"]) + int(config["delete.retention.ms"])
    retention = int(config["retention.ms"])
    return None if retention < 0 else retention + segment


def _no_clickhouse(error: Exception) -> Problem:
    if isinstance(error, UnavailableError):
        return unavailable("what is kept cannot be read while ClickHouse does not answer")
    return not_set_up()
