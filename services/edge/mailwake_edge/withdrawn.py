"""Who has denied: what the edge must know of consents to keep no trace of such a reader.

It follows the topic `consents` and remembers the denials alone: of each recipient who has denied,
what a token says of a reader (`mailwake.ids.reader_of`), the rest of the recipient's id, and when.
Millions who have agreed cost nothing.
"""

from __future__ import annotations

import contextlib
import time

from mailwake.contracts import CONSENT, Consent, Kind, Purpose
from mailwake.following import Follower
from mailwake.ids import reader_of
from mailwake.settings import Settings

PATIENCE_S = 5.0
"""So long the edge waits for Kafka to tell the consents before it serves without them."""

_PURPOSES: dict[str, Purpose] = {"opens": "opens", "clicks": "clicks"}
_REST, _AT = 11, 6
_ENTRY = _REST + _AT


class Denials:
    """Who has denied one purpose, and when.

    Attributes:
        readers: reader -> for each recipient it may be, nearly always one, the rest of the
            recipient's id (11 bytes) and the time of the denial (6 bytes).
    """

    def __init__(self) -> None:
        self.readers: dict[bytes, bytes] = {}

    def say(self, recipient_id: str, at: int, *, denied: bool) -> None:
        """Notes what a recipient said; of what was said at several times the latest counts, of two
        at the same time the denial."""
        known = self._at(recipient_id)
        if denied:
            if known is None or at > known:
                self._put(recipient_id, at)
        elif known is not None and at > known:
            self._put(recipient_id, None)

    def forget(self, recipient_id: str) -> None:
        """Nothing is known of the recipient any more."""
        self._put(recipient_id, None)

    def _at(self, recipient_id: str) -> int | None:
        rest = bytes.fromhex(recipient_id[10:])
        for entry in _entries(self.readers.get(reader_of(recipient_id), b"")):
            if entry.startswith(rest):
                return int.from_bytes(entry[_REST:], "big")
        return None

    def _put(self, recipient_id: str, at: int | None) -> None:
        reader, rest = reader_of(recipient_id), bytes.fromhex(recipient_id[10:])
        kept = [
            entry for entry in _entries(self.readers.get(reader, b"")) if not entry.startswith(rest)
        ]
        if at is not None:
            kept.append(rest + at.to_bytes(_AT, "big"))
        if kept:
            self.readers[reader] = b"".join(kept)
        else:
            self.readers.pop(reader, None)


def _entries(packed: bytes) -> list[bytes]:
    return [packed[at : at + _ENTRY] for at in range(0, len(packed), _ENTRY)]


class Withdrawn:
    """The readers whose hits are not kept, by kind of hit.

    Attributes:
        of: kind of hit -> the readers who denied that it is recorded, as keys.
        follower: follows `consents`; to be started and stopped.
    """

    def __init__(self, settings: Settings) -> None:
        self._denials: dict[Purpose, Denials] = {"opens": Denials(), "clicks": Denials()}
        self.of: dict[Kind, dict[bytes, bytes]] = {
            "open": self._denials["opens"].readers,
            "click": self._denials["clicks"].readers,
        }
        self.follower = Follower(settings, "consents", CONSENT, self.take)

    @property
    def known(self) -> bool:
        """Whether the consents have been read once; before, anybody may have denied."""
        return self.follower.caught_up.is_set()

    @property
    def settled(self) -> bool:
        """Whether there is no use in waiting: all is known, or Kafka has told nothing for long."""
        return self.known or time.monotonic() - self.follower.moved_at > PATIENCE_S

    def take(self, key: bytes, consent: Consent | None) -> None:
        """Notes a record of `consents`; a tombstone forgets."""
        if consent is not None:
            denied = consent.state == "denied"
            self._denials[consent.purpose].say(consent.recipient_id, consent.at, denied=denied)
            return
        with contextlib.suppress(ValueError, KeyError):  # a key that is none of ours
            _, recipient_id, purpose = key.decode().split("/")
            self._denials[_PURPOSES[purpose]].forget(recipient_id)
