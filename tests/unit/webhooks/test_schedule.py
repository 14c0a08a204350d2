"""What comes after an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.settings import Settings
from mailwake.webhook import LANES, MOST_ATTEMPTS, OUTCOMES, Attempt, Delivery, Outcome, lane_of
from mailwake_webhooks.schedule import after, began_at, exhausted
from tests.unit.webhooks.values import NOW, delivery

SCHEDULE = Settings().webhook_schedule
FINAL = {"delivered", "gone", "disabled", "withheld", "no_secret"}


def failed(at: int, outcome: Outcome = "status") -> Attempt:
    return Attempt(at, outcome, 500, took_ms=100)


@pytest.mark.fault(19)
def test_the_schedule_goes_over_days_and_then_ends() -> None:
    told, waits, now = delivery(), [], NOW
    while told.state == "pending":
        told = after(told, failed(now), SCHEDULE)
        waits.append((told.due_at - now - 100) / 1000)
        now = told.due_at
    assert len(told.attempts) == 10
    for wait, said in zip(waits[:-1], SCHEDULE, strict=True):
        assert said <= wait <= said * 1.1 + 0.001
    assert 75 < sum(waits[:-1]) / 3600 < 84
    assert (told.state, told.due_at, exhausted(told, SCHEDULE)) == ("failed", 0, True)
    assert began_at(told) == NOW
    assert told.delivery_id == delivery().delivery_id


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_is_final_and_what_is_not(outcome: Outcome) -> None:
    told = after(delivery(), Attempt(NOW, outcome), SCHEDULE)
    assert (told.state == "pending") == (outcome not in FINAL)
    assert (told.state == "delivered") == (outcome == "delivered")
    assert not exhausted(told, SCHEDULE)


def test_a_test_is_tried_once() -> None:
    told = after(delivery(alert=None, type="mailwake.test"), failed(NOW), SCHEDULE)
    assert (told.state, told.due_at) == ("failed", 0)


@pytest.mark.fault(19)
@given(st.floats(0, 1e9), st.integers(0, 8))
def test_a_rest_that_is_asked_for_is_kept_and_is_at_most_a_day(asked: float, tries: int) -> None:
    told = after(delivery(tries=tries), failed(NOW, "busy"), SCHEDULE, asked)
    wait = (told.due_at - NOW - 100) / 1000
    assert wait >= max(SCHEDULE[tries], min(asked, 86_400)) - 0.001
    assert wait <= max(SCHEDULE[tries] * 1.1, min(asked, 86_400)) + 0.001


@given(st.lists(st.integers(1, 10**9), max_size=40))
def test_the_attempts_that_are_told_are_bounded(waits: list[int]) -> None:
    told = delivery()
    for number, wait in enumerate(waits):
        told = after(told, failed(NOW + wait), [1.0] * 60)
        assert told.tries == number + 1
        assert len(told.attempts) == min(number + 1, MOST_ATTEMPTS)


def test_a_replay_begins_the_schedule_anew() -> None:
    old = [failed(NOW - each) for each in range(16, 0, -1)]
    told: Delivery = delivery(tries=0, attempts=old)
    assert began_at(told) == told.made_at
    again = after(told, failed(NOW), SCHEDULE)
    assert (again.tries, began_at(again)) == (1, NOW)


@given(st.integers(-(10**6), 10**9))
def test_a_lane_is_never_too_long_but_for_the_last_seconds(wait_ms: int) -> None:
    lane = lane_of(wait_ms)
    if wait_ms <= 0:
        assert lane == "now"
    else:
        assert LANES[lane] * 1000 <= max(wait_ms, 5000)
        longer = [wait for wait in LANES.values() if wait > LANES[lane]]
        assert not longer or min(longer) * 1000 > wait_ms
