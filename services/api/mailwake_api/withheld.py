# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""What may not be told of a mail: one of its recipients denies it now.

It is the rule of the view `consented_events`: a denial by any recipient hides what happened to the
mail, of that kind. The view goes through all that a user has sent and all that recipients of the
tenant have said, which a report must do anyway. For one page who denies is looked up: in the
register, which holds what was said before the page was asked for, and takes no query. While Kafka
does not answer, it is looked up in `consent_proofs`, to which it comes a little later, by the rule
of the view `consents` (a view within a view costs twice as much to plan as this takes in all). A
test holds the three together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from mailwake.contracts import Purpose
from mailwake.errors import UnavailableError
from mailwake.permission import PURPOSES
from mailwake_api.reading import Reader

_DENIED = (
    "SELECT recipient_id, purpose FROM consent_proofs"
    " WHERE tenant = %(tenant)s AND recipient_id IN %(recipients)s GROUP BY recipient_id, purpose"
    " HAVING argMax(state, (at, indexOf(['granted', 'unknown', 'denied'], state), consent_id))"
    " = 'denied'"
)

_LOOKED_UP = 2_000
"""Recipients in one query; more go into several."""
_MAILS_TO = (
    "(SELECT message_id FROM (SELECT message_id, arrayJoin(recipients) AS recipient_id"
    " FROM sends FINAL WHERE tenant = %(tenant)s AND user = %(user)s) WHERE recipient_id IN {})"
)
_NAMED = 1_000
"""As many deniers are named in a query; where a tenant has more, ClickHouse looks for them."""
_KNOWN_S, _AGAIN_S = 1.0, 10.0
"""So long a page waits for Kafka to say that the register holds everything; and so long Kafka is
not asked again when it has not said so."""


class Register(Protocol):
    """What is needed of `mailwake.register.Register`, which not all who read mails have."""

    async def current(self, within_s: float) -> None:
        """Returns when it holds all that was written before. Raises UnavailableError."""

    def denies(self, tenant: str, recipient_id: str, purpose: Purpose) -> bool:
        """Whether a recipient denies."""

    def deniers(self, tenant: str, purpose: Purpose) -> Set[str]:
        """All recipients of a tenant who deny."""


class Hiding(NamedTuple):
    """Conditions that hold of a mail of which something may not be told.

    Attributes:
        by_id: of a row with a `message_id`.
        by_recipients: of a row of `sends`, whose own recipients tell it; that reads no other table.
        values: their parameters beside `tenant` and `user`.
    """

    by_id: str
    by_recipients: str
    values: Mapping[str, list[str]]


class Denials:
    """Who denies now."""

    def __init__(self, reader: Reader, register: Register | None = None) -> None:
        """Without a register ClickHouse alone is asked."""
        self._reader = reader
        self._register = register
        self._away_until = 0.0

    async def withheld(
        self, tenant: str, recipients: Mapping[str, Iterable[str]]
    ) -> Mapping[str, frozenset[Purpose]]:
        """Of each mail, given with its recipient_ids, what may not be told. Raises Problem."""
        everyone = sorted({each for some in recipients.values() for each in some})
        denied: dict[str, set[Purpose]] = {}
        for recipient_id, purpose in await self._denied(tenant, everyone):
            denied.setdefault(recipient_id, set()).add(purpose)
        return {
            message_id: frozenset(purpose for each in some for purpose in denied.get(each, ()))
            for message_id, some in recipients.items()
        }

    async def hiding(self, tenant: str, purpose: Purpose) -> Hiding:
        """How a query knows a mail of the user of whose opens, or clicks, nothing may be told."""
        register = await self._current()
        if register is not None:
            deniers = register.deniers(tenant, purpose)
            if len(deniers) <= _NAMED:
                name = f"deny_{purpose}"
                return Hiding(
                    f"message_id IN {_MAILS_TO.format(f'%({name})s')}",
                    f"arrayExists(each -> each IN %({name})s, recipients)",
                    {name: sorted(deniers)},
                )
        by_id = f"message_id IN {mails_of_user(purpose)}"
        return Hiding(by_id, by_id, {})

    async def _denied(
        self, tenant: str, recipients: Sequence[str]
    ) -> Iterable[tuple[str, Purpose]]:
        if not recipients:
            return []
        register = await self._current()
        if register is not None:
            return [
                (recipient_id, purpose)
                for recipient_id in recipients
                for purpose in PURPOSES
                if register.denies(tenant, recipient_id, purpose)
            ]
        found = await asyncio.gather(
            *(
                self._reader.rows(
                    _DENIED, tenant=tenant, recipients=list(recipients[start : start + _LOOKED_UP])
                )
                for start in range(0, len(recipients), _LOOKED_UP)
            )
        )
        return [(recipient_id, purpose) for rows in found for recipient_id, purpose in rows]

    async def _current(self) -> Register | None:
        """The register, when it holds all that was said before this call."""
        if self._register is None or time.monotonic() < self._away_until:
            return None
        try:
            await self._register.current(_KNOWN_S)
        except UnavailableError:
            self._away_until = time.monotonic() + _AGAIN_S
            return None
        return self._register


def mails_of_user(purpose: Purpose) -> str:
    """A subquery for the message_ids of all the user's mails of which the opens, or the clicks, may
    not be told; with the parameters `tenant` and `user`. It asks ClickHouse alone.

    Of all mails of a user only those who ever denied are looked at: whoever never did denies
    nothing now.
    """
    return _MAILS_TO.format(
        "(SELECT recipient_id FROM consents WHERE tenant = %(tenant)s"
        f" AND purpose = '{purpose}' AND state = 'denied' AND recipient_id IN"
        " (SELECT recipient_id FROM consent_proofs"
        " WHERE tenant = %(tenant)s AND state = 'denied'))"
    )
