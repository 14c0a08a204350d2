"""Whom a mail goes to, and where they may unsubscribe, as its header and its sender say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mailwake import ids
from mailwake.contracts import Party
from mailwake.errors import MailwakeError
from mailwake.mime import Headers, addresses

MAX_RECIPIENTS = 10_000
"""Most recipients of one body; their names and addresses must fit into one Kafka record."""
_DISPLAY_BYTES = 400_000
_HEADER_URL = re.compile(r"<([^<>]*+)>")


def recipients_of(headers: Headers | None, given: Sequence[str] | None) -> list[Party]:
    """The recipients, each mailbox once; the names of those that are given come from the header.

    Raises MailwakeError.
    """
    fields = [
        value for name in ("to", "cc", "bcc") for value in (headers.all(name) if headers else ())
    ]
    named: dict[str, Party] = {}
    for name, address in addresses(fields):
        if len(address) <= 320:
            named.setdefault(ids.normalise_address(address), Party(address, name[:256]))
    if given is None:
        parties = named
    else:
        parties = {}
        for text in given:
            found = addresses([text])
            if len(found) != 1 or len(found[0][1]) > 320:
                raise MailwakeError(f"recipient {len(parties) + 1} of those given is no address")
            name, address = found[0]
            key = ids.normalise_address(address)
            name = name or (named[key].name if key in named else "")
            parties.setdefault(key, Party(address, name[:256]))
    if len(parties) > MAX_RECIPIENTS:
        raise MailwakeError(
            f"one body can go to {MAX_RECIPIENTS:,} recipients at most, not to {len(parties):,}; "
            "instrument the mail once for each group"
        )
    return list(parties.values())


def fitting(parties: Iterable[Party]) -> list[Party]:
    """As many of the recipients as fit into a display's record; nearly always all."""
    shown: list[Party] = []
    size = 0
    for party in parties:
        size += len(party.address.encode()) + len(party.name.encode()) + 30
        if size > _DISPLAY_BYTES:
            break
        shown.append(party)
    return shown


def unsubscribe_targets(headers: Headers) -> frozenset[str]:
    """The addresses of List-Unsubscribe (RFC 2369), which mail programs fetch by themselves."""
    values = headers.all("list-unsubscribe")
    return frozenset(
        "".join(target.split()).partition("#")[0]
        for value in values
        for target in _HEADER_URL.findall(value)
    )
