"""Who gets a digest when: from the hour on, once a day, also when the clocks change."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import DailyDigest, Digest, Preference
from mailwake_api.digest.due import DAY_MS, MOST_MS, SETTLE_MS, Period, due

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
         "Pacific/Apia", "America/Sao_Paulo", "UTC"]  # fmt: skip


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def ben(hour: int = 7, zone: str = "Europe/Berlin", on: int = 0) -> Preference:
    """Who switched the digest on at that time."""
    wish = DailyDigest("ben@example.com", zone, hour)
    return Preference("acme", "ben", at=on, daily_digest=wish, daily_digest_at=on)


def sent(day: str, until: int, state: str = "sent") -> Digest:
    return Digest("acme", "ben", day, until - DAY_MS, until, state)  # type: ignore[arg-type]


def test_from_the_hour_on_and_once() -> None:
    on, seven = ms("2026-06-01T12:00+02:00"), ms("2026-06-02T07:00+02:00")
    wish = ben(on=on)
    assert due(wish, None, seven - 1) is None
    period = due(wish, None, seven)
    assert period == Period("2026-06-02", on, seven - SETTLE_MS)
    last = sent("2026-06-02", seven - SETTLE_MS)
    assert due(wish, last, seven) is None
    assert due(wish, last, ms("2026-06-02T23:59+02:00")) is None
    assert due(wish, last, ms("2026-06-03T06:59+02:00")) is None
    late = ms("2026-06-03T15:00+02:00")  # nobody could send before
    assert due(wish, last, late) == Period("2026-06-03", last.until, late - SETTLE_MS)


def test_who_wants_none_gets_none() -> None:
    assert due(Preference("acme", "ben", at=1), None, ms("2026-06-02T08:00Z")) is None


def test_the_first_comes_at_the_next_hour() -> None:
    morning, eight = ms("2026-06-01T06:30+02:00"), ms("2026-06-01T08:00+02:00")
    assert due(ben(on=morning), None, eight) is not None
    assert due(ben(on=eight - 1), None, eight) is None
    # Also where it was off for a while: nothing is told of the time without it.
    old = sent("2026-05-01", ms("2026-05-01T07:00+02:00"))
    period = due(ben(on=morning), old, eight)
    assert period is not None
    assert period.since == morning


def test_after_a_long_time_it_tells_of_a_week() -> None:
    now = ms("2026-06-20T08:00+02:00")
    period = due(ben(on=1), sent("2026-06-01", ms("2026-06-01T07:00+02:00")), now)
    assert period is not None
    assert period.since == now - MOST_MS
    # Of a preference that does not say since when, of a day.
    unknown = due(ben(), None, now)
    assert unknown is not None
    assert unknown.since == now - DAY_MS


@pytest.mark.parametrize("later", [MINUTE_MS, DAY_MS, 3 * DAY_MS])
def test_one_that_was_begun_is_the_next(later: int) -> None:
    on, until = ms("2026-06-01T12:00+02:00"), ms("2026-06-02T07:00+02:00")
    begun = sent("2026-06-02", until, "sending")
    assert due(ben(on=on), begun, until + later) == Period("2026-06-02", begun.since, until)
    # Unless it was switched off and on since.
    again = due(ben(on=until + 1), begun, until + later)
    assert again is None or again.since == until + 1


@pytest.mark.parametrize(
    ("hour", "day", "at"),
    [
        (2, "2026-03-29", "2026-03-29T03:00+02:00"),  # there is no two o'clock
        (2, "2026-10-25", "2026-10-25T02:00+02:00"),  # there are two: the first
        (3, "2026-10-25", "2026-10-25T03:00+01:00"),
        (0, "2026-03-30", "2026-03-30T00:00+02:00"),
    ],
)
def test_when_the_clocks_change(hour: int, day: str, at: str) -> None:
    wish = ben(hour, on=1)
    last = sent((date.fromisoformat(day) - timedelta(days=1)).isoformat(), ms(at) - DAY_MS)
    assert due(wish, last, ms(at) - 1) is None
    period = due(wish, last, ms(at))
    assert period is not None
    assert period.day == day


def test_who_travels_gets_none_twice_for_a_day() -> None:
    now = ms("2026-06-02T08:00+09:00")
    last = sent("2026-06-02", now - SETTLE_MS)
    west = ben(7, "America/New_York", on=1)  # where it is the first of June
    assert due(west, last, now) is None
    assert due(west, last, ms("2026-06-02T08:00-04:00")) is None
    assert due(west, last, ms("2026-06-03T08:00-04:00")) is not None


@given(
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    start=st.integers(ms("2024-01-01T00:00Z"), ms("2030-12-01T00:00Z")),
    steps=st.lists(st.integers(MINUTE_MS, 5 * HOUR_MS), min_size=1, max_size=60),
)
def test_a_day_has_one_at_most_and_nothing_is_told_twice_or_left_out(
    zone: str, hour: int, start: int, steps: list[int]
) -> None:
    """However irregularly it is looked, over days on which the clocks change."""
    wish, last, now = ben(hour, zone, on=start), None, start
    told: list[Period] = []
    for step in steps:
        now += step
        period = due(wish, last, now)
        shown = datetime.fromtimestamp(now / 1000, ZoneInfo(zone))
        if period is not None:
            told.append(period)
            assert period.day == shown.date().isoformat()
            assert shown.hour >= hour
            assert period.since < period.until < now
            last = Digest("acme", "ben", *period, state="sent")
    assert len({period.day for period in told}) == len(told)
    for before, after in pairwise(told):
        assert before.day < after.day
        assert before.until == after.since
    if told:
        assert told[0].since == start


@given(zone=st.sampled_from(ZONES), hour=st.integers(0, 23), day=st.integers(0, 2000))
def test_every_day_has_one_where_it_is_looked_often(zone: str, hour: int, day: int) -> None:
    start = ms("2024-01-01T00:00Z") + day * DAY_MS
    wish, last, days = ben(hour, zone, on=start), None, []
    for quarter in range(4 * 24 * 5):
        now = start + quarter * 15 * MINUTE_MS
        period = due(wish, last, now)
        if period is not None:
            days.append(date.fromisoformat(period.day))
            last = Digest("acme", "ben", *period, state="nothing")
    assert 4 <= len(days) <= 5
    if zone != "Pacific/Apia":
        assert all(after - before == timedelta(days=1) for before, after in pairwise(days))
