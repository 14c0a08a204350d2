"""Consents: what recipients have said, told by the platform that asked them.

An address is hashed as soon as it is read and stands nowhere after. To look one up it travels in a
body: the query of an address is written to the logs of every proxy on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from mailwake.contracts import Consent, ConsentState, Id, Millis, Purpose, new_consent
from mailwake.ids import now_ms
from mailwake.mime import addresses
from mailwake.permission import PURPOSES
from mailwake_api.call import Call, as_json
from mailwake_api.problems import Problem

MOST_STATEMENTS = 1_000
FUTURE_MS = 10 * 60_000
"""How far the clock of whoever tells may be ahead."""


class Statement(Struct, frozen=True, forbid_unknown_fields=True):
    """What one recipient has said, once.

    Attributes:
        address: the recipient; it is hashed and not kept.
        recipient_id: the same recipient, in place of the address.
        at: when it was said, in milliseconds since 1970; now, unless given. Give it, and telling
            the same again makes no second statement.
        method: how it was said, such as signup_form or import.
        wording: what the recipient was asked, word for word, or the name and version of that text;
            what was granted wants one, for it must be proved.
        source: where the statement comes from, such as the form's address; never a person's.
    """

    purposes: Annotated[list[Purpose], Meta(min_length=1, max_length=2)]
    state: ConsentState
    method: Annotated[str, Meta(min_length=1, max_length=64)]
    address: Annotated[str, Meta(max_length=320)] | None = None
    recipient_id: Id | None = None
    at: Millis | None = None
    wording: Annotated[str, Meta(max_length=4096)] = ""
    source: Annotated[str, Meta(max_length=256)] = ""


Statements = Statement | Annotated[list[Statement], Meta(max_length=MOST_STATEMENTS)]


class Recorded(Struct, frozen=True):
    """One statement about one purpose, as it was recorded.

    Attributes:
        in_force: whether it counts now; an older one than what is known does not.
    """

    consent_id: Id
    recipient_id: Id
    purpose: Purpose
    state: ConsentState
    at: Millis
    in_force: bool


class RecordedAll(Struct, frozen=True):
    """What was recorded, in the order it was told, one for each purpose."""

    statements: list[Recorded]


class Whom(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient, by address or by id."""

    address: Annotated[str, Meta(max_length=320)] | None = None
    recipient_id: Id | None = None


class Said(Struct, frozen=True):
    """What a recipient has said about one purpose; all but the state is None when nothing was."""

    state: ConsentState
    at: Millis | None = None
    method: str | None = None
    wording: str | None = None
    source: str | None = None


class Consents(Struct, frozen=True):
    """What a recipient has said about each purpose."""

    recipient_id: Id
    opens: Said
    clicks: Said


async def record(call: Call) -> Response:
    """Records statements, each as a proof, and tells which are in force."""
    told: Statement | list[Statement] = call.body
    now = now_ms()
    consents = [
        consent
        for place, statement in enumerate(told if isinstance(told, list) else [told], 1)
        for consent in _consents(call, place, statement, now)
    ]
    register = call.parts.register
    async with call.parts.connection.writing():
        await register.write_consents(consents)
    await register.current()
    return as_json(RecordedAll([_recorded(call, consent) for consent in consents]))


async def look_up(call: Call) -> Response:
    """What one recipient has said."""
    whom: Whom = call.body
    recipient_id = recipient_of(call, whom)
    await call.parts.register.current()
    return as_json(said_of(call, recipient_id))


def recipient_of(call: Call, whom: Whom) -> str:
    """The id of the recipient that a call is about. Raises Problem."""
    return _recipient_id(call, "", whom.address, whom.recipient_id)


def said_of(call: Call, recipient_id: str) -> Consents:
    """What a recipient of the caller's tenant has said, as far as the register knows."""
    said = call.parts.register.consents(call.caller.tenant, recipient_id)
    return Consents(recipient_id, **{purpose: _said(said.get(purpose)) for purpose in PURPOSES})


def _consents(call: Call, place: int, statement: Statement, now: int) -> Iterator[Consent]:
    where = f"statement {place}: "
    recipient_id = _recipient_id(call, where, statement.address, statement.recipient_id)
    at = now if statement.at is None else statement.at
    if at > now + FUTURE_MS:
        raise Problem(
            422, "future", f"{where}`at` lies in the future; it is in milliseconds since 1970"
        )
    if statement.state == "granted" and not statement.wording.strip():
        raise Problem(
            422, "no_wording", f"{where}what is granted wants the `wording` that was shown"
        )
    for purpose in dict.fromkeys(statement.purposes):
        yield new_consent(
            call.caller.tenant,
            recipient_id,
            purpose,
            statement.state,
            at,
            statement.method,
            statement.wording,
            statement.source,
        )


def _recipient_id(call: Call, where: str, address: str | None, recipient_id: str | None) -> str:
    if (address is None) == (recipient_id is None):
        raise Problem(422, "no_recipient", f"{where}give either `address` or `recipient_id`")
    if recipient_id is not None:
        return recipient_id
    assert address is not None  # noqa: S101 (one of the two stands)
    found = addresses([address])
    if len(found) != 1:
        raise Problem(422, "no_address", f"{where}`address` is no e-mail address")
    return call.parts.keyring.recipient_id(call.caller.tenant, found[0][1])


def _recorded(call: Call, consent: Consent) -> Recorded:
    known = call.parts.register.consents(consent.tenant, consent.recipient_id)
    counting = known.get(consent.purpose)
    return Recorded(
        consent.consent_id,
        consent.recipient_id,
        consent.purpose,
        consent.state,
        consent.at,
        counting is not None and counting.consent_id == consent.consent_id,
    )


def _said(consent: Consent | None) -> Said:
    if consent is None:
        return Said("unknown")
    return Said(consent.state, consent.at, consent.method, consent.wording, consent.source)
