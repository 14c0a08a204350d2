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
HOSTED = 1 << 17  # from a data centre
EARLY = 1 << 18  # from there, and within the minutes in which scanners come
HOSTED_PAIR = 1 << 19  # from there, and with another from there
LATE = 1 << 20  # long after scanners come, from a network that is known and nobody's we know

# These are made anew when hits come besides.
READ_BEFORE, REPEAT, FIRST, IMPLIES, FORWARD, PERSON = (1 << bit for bit in range(11, 17))
RETURNED = 1 << 21  # the mail had been quiet for long

BURST = LINK_BURST | HIT_BURST | NETWORK_BURST | HOSTED_PAIR
SENDER = SENDER_NETWORK | SENDER_AGENT
LASTING = BURST | BESIDE | AFTER_SELF | SOON | EARLY | LATE | SENDER | WIDE | PLAIN | SCANS | HOSTED
TOLD = REPEAT | FIRST | FORWARD | RETURNED  # fields of the event

_SIGNALS: dict[int, Reason] = {
    LINK_BURST: "link_burst",
    HIT_BURST: "hit_burst",
    NETWORK_BURST: "network_burst",
    HOSTED_PAIR: "hosting_pair",
    BESIDE: "beside_scanner",
    AFTER_SELF: "after_self",
    SOON: "soon_after_send",
    EARLY: "minutes_after_send",
    SENDER_NETWORK: "sender_network",
    SENDER_AGENT: "sender_agent",
    READ_BEFORE: "read_before",
}
SIGNALS = sum(_SIGNALS) | WIDE | LATE
"""The bits of a state that tell of signals; the others are what follows."""


@cache
def signals_of(bits: int) -> tuple[Reason, ...]:
    """The signals that a state tells of."""
    signals = tuple(signal for bit, signal in _SIGNALS.items() if bits & bit)
    if bits & LATE and bits & BURST and not bits & WIDE:
        return (*signals, "long_after_send")
    return signals
