# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""What may not be told of a mail: one of its recipients denies it now.

It is the rule of the view `consented_events`: a denial by any recipient hides what happened to the
mail, of that kind. The view goes through all that a user has sent and all that recipients of the
tenant have said, which a report must do anyway. For one page (50 of a user's 5,000 mails, a million
mails and 50,000 statements in all) it took 170 ms, so there the consents of the recipients are
looked up, which takes 15. A test holds the two together.

They are looked up in `consent_proofs`, by the rule of the view `consents`, for a view within a view
costs twice as much to plan as this takes in all. Of all mails of a user only those who ever denied
are looked at: whoever never did denies nothing now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from mailwake.contracts import Purpose
from mailwake_api.reading import Reader

_DENIED = (
    "SELECT recipient_id, purpose FROM consent_proofs"
    " WHERE tenant = %(tenant)s AND recipient_id IN %(recipients)s GROUP BY recipient_id, purpose"
    " HAVING argMax(state, (at, indexOf(['granted', 'unknown', 'denied'], state), consent_id))"
    " = 'denied'"
)

_LOOKED_UP = 2_000
"""Recipients in one query; more go into several."""


def mails_of_user(purpose: Purpose) -> str:
    """A subquery for the message_ids of all the user's mails of which the opens, or the clicks, may
    not be told; with the parameters `tenant` and `user`.
    """
    return (
        "(SELECT message_id FROM (SELECT message_id, arrayJoin(recipients) AS recipient_id"
        " FROM sends FINAL WHERE tenant = %(tenant)s AND user = %(user)s)"
        " WHERE recipient_id IN (SELECT recipient_id FROM consents WHERE tenant = %(tenant)s"
        f" AND purpose = '{purpose}' AND state = 'denied' AND recipient_id IN"
        " (SELECT recipient_id FROM consent_proofs"
        " WHERE tenant = %(tenant)s AND state = 'denied')))"
    )


async def withheld(
    reader: Reader, tenant: str, recipients: Mapping[str, Iterable[str]]
) -> Mapping[str, frozenset[Purpose]]:
    """Of each mail, given with its recipient_ids, what may not be told. Raises Problem."""
    everyone = sorted({each for some in recipients.values() for each in some})
    found = await asyncio.gather(
        *(
            reader.rows(
                _DENIED,
                tenant=tenant,
                recipients=everyone[start : start + _LOOKED_UP],
            )
            for start in range(0, len(everyone), _LOOKED_UP)
        )
    )
    denied: dict[str, set[Purpose]] = {}
    for recipient_id, purpose in (row for rows in found for row in rows):
        denied.setdefault(recipient_id, set()).add(purpose)
    return {
        message_id: frozenset(purpose for each in some for purpose in denied.get(each, ()))
        for message_id, some in recipients.items()
    }
