"""What was published last, so that a request that comes again publishes nothing anew."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from mailwake.contracts import DISPLAY, SEND, Display, Send

REMEMBERED = 20_000


class Published:
    """What this process published last of sends that have an id, so that one told again is neither
    dated anew nor published twice. It forgets the oldest; what it forgot is published again, and
    replaces the send of the same message_id.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    def dated(self, message_id: str, default: int) -> int:
        """When the send was dated; `default` for a new one."""
        known = self._known.get(message_id)
        return known[0] if known else default

    def has(self, send: Send, display: Display) -> bool:
        """Whether exactly this was published."""
        return self._known.get(send.message_id) == (send.sent_at, _digest(send, display))

    def note(self, send: Send, display: Display) -> None:
        """Notes what Kafka has acknowledged."""
        self._known[send.message_id] = send.sent_at, _digest(send, display)
        self._known.move_to_end(send.message_id)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def _digest(send: Send, display: Display) -> bytes:
    return hashlib.blake2b(SEND.encode(send) + DISPLAY.encode(display), digest_size=16).digest()
