"""Cursors: where a page of a list ended, so that the next begins right after it.

A cursor is a time and an id, the last of the page in the order of the list (keyset pagination), so
a page costs the same however far down it is and nothing is told twice when a mail is added on top.
It is bound to its query by a digest: with another filter, order, user or tenant it does not hold.
There is nothing secret in it and nothing to gain by forging one: it only says where in the caller's
own list to go on.
"""

from __future__ import annotations

import base64
import hashlib
import struct

import msgspec
from msgspec import Struct

from mailwake.contracts import Millis
from mailwake_api.problems import Problem

_FORM = struct.Struct(">B8sQ16s")
_VERSION = 1


class Place(Struct, frozen=True):
    """The last of a page: when, and the id that tells it from others of the same time."""

    at: Millis
    id: str


def write(place: Place, query: object) -> str:
    """A cursor behind a place; `query` is all that the list was asked with, but for the page."""
    data = _FORM.pack(_VERSION, _digest(query), place.at, bytes.fromhex(place.id))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read(cursor: str, query: object) -> Place:
    """The place. Raises Problem (422) for what is no cursor, or that of another query."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        version, digest, at, id_ = _FORM.unpack(data)
    except (ValueError, struct.error):
        raise _refused() from None
    place = Place(at, id_.hex())
    if version != _VERSION or digest != _digest(query) or write(place, query) != cursor:
        raise _refused()
    if at > 1 << 42:
        raise _refused()
    return place


def _digest(query: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(query), digest_size=8).digest()


def _refused() -> Problem:
    return Problem(
        422, "cursor", "this cursor is none of this list; ask again without one, from the start"
    )
