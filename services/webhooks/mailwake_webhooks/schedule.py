"""What comes after an attempt: pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mailwake.webhook import MOST_ATTEMPTS, Attempt, Delivery, Outcome

MOST_RETRY_AFTER_S = 86_400
"""A receiver that asks for a longer rest is asked again after a day."""

_FINAL: frozenset[Outcome] = frozenset({"gone", "disabled", "withheld", "no_secret"})
_SPREAD = 10
"""Retries come up to a tenth later than the schedule says, so that what failed together does not
come back together."""


def after(
    delivery: Delivery, attempt: Attempt, schedule_s: Sequence[float], retry_after_s: float = 0.0
) -> Delivery:
    """The delivery after an attempt.

    The wait of the schedule begins when the attempt ended; a Retry-After can make it longer, up to
    a day, and never shorter. A test is tried once.
    """
    tries = delivery.tries + 1
    told = replace(
        delivery, tries=tries, attempts=[*delivery.attempts, attempt][-MOST_ATTEMPTS:], due_at=0
    )
    if attempt.outcome == "delivered":
        return replace(told, state="delivered")
    if attempt.outcome in _FINAL or delivery.alert is None or tries > len(schedule_s):
        return replace(told, state="failed")
    wait_ms = schedule_s[tries - 1] * 1000
    wait_ms += wait_ms / _SPREAD * _share(delivery.delivery_id, tries)
    wait_ms = max(wait_ms, min(retry_after_s, MOST_RETRY_AFTER_S) * 1000)
    due_at = attempt.at + attempt.took_ms + round(wait_ms)
    return replace(told, state="pending", due_at=due_at)


def exhausted(delivery: Delivery, schedule_s: Sequence[float]) -> bool:
    """Whether a delivery has failed after all attempts of the schedule."""
    return delivery.state == "failed" and delivery.tries > len(schedule_s)


def began_at(delivery: Delivery) -> int:
    """When the schedule that is under way began, in milliseconds; of a very long one, when the
    oldest attempt was that is known."""
    known = delivery.attempts[-delivery.tries :] if delivery.tries else []
    return known[0].at if known else delivery.made_at


def _share(delivery_id: str, tries: int) -> float:
    """From 0 to 1, the same for the same delivery and try."""
    return (int(delivery_id[:8], 16) * (tries + 1) % 997) / 996
