"""The bits in which a mark says what its hit showed, and what was made of it."""

from __future__ import annotations

from functools import cache

from mailwake.reasons import Reason

# `Mark.flags`: what the hit showed.
HEAD, REFERER, AHEAD, WITHHELD = 1, 2, 4, 8

# `Mark.state`: what was made of it. These are never taken back: whatever hits come besides, they
# still hold. So they may be kept when the hits that they came from have left the track.
LINK_BURST, HIT_BURST, NETWORK_BURST, BESIDE, AFTER_SELF, SOON, SENDER_NETWORK, SENDER_AGENT = (
    1 << bit for bit in range(8)
)
WIDE = 1 << 8  # its burst came from several networks
PLAIN = 1 << 9  # by itself it is neither a machine's nor the sender's
SCANS = 1 << 10  # by itself it is a scanner's

# These are made anew when hits come besides.
READ_BEFORE, REPEAT, FIRST, IMPLIES, FORWARD, PERSON = (1 << bit for bit in range(11, 17))

BURST = LINK_BURST | HIT_BURST | NETWORK_BURST
SENDER = SENDER_NETWORK | SENDER_AGENT
LASTING = BURST | BESIDE | AFTER_SELF | SOON | SENDER | WIDE | PLAIN | SCANS
TOLD = REPEAT | FIRST | FORWARD  # fields of the event

_SIGNALS: dict[int, Reason] = {
    LINK_BURST: "link_burst",
    HIT_BURST: "hit_burst",
    NETWORK_BURST: "network_burst",
    BESIDE: "beside_scanner",
    AFTER_SELF: "after_self",
    SOON: "soon_after_send",
    SENDER_NETWORK: "sender_network",
    SENDER_AGENT: "sender_agent",
    READ_BEFORE: "read_before",
}
SIGNALS = sum(_SIGNALS)
"""The bits of a state that are signals; the others are what follows."""


@cache
def signals_of(bits: int) -> tuple[Reason, ...]:
    """The signals that a state tells of."""
    return tuple(signal for bit, signal in _SIGNALS.items() if bits & bit)
