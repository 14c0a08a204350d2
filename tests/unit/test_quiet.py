"""Quiet hours, by the clock on the wall: over midnight, on some days, when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import QuietHours
from mailwake.quiet import is_quiet, zone_of, zones

NIGHT = QuietHours("Europe/Berlin", "22:00", "07:00")
LUNCH = QuietHours("Europe/Berlin", "12:00", "13:30")
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def ms(text: str) -> int:
    """Milliseconds of a time such as `2026-03-29T01:30+01:00`."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("quiet", "at", "expected"),
    [
        (None, "2026-06-01T03:00+02:00", False),
        (NIGHT, "2026-06-01T21:59:59+02:00", False),
        (NIGHT, "2026-06-01T22:00+02:00", True),
        (NIGHT, "2026-06-02T00:00+02:00", True),
        (NIGHT, "2026-06-02T06:59:59+02:00", True),
        (NIGHT, "2026-06-02T07:00+02:00", False),
        (LUNCH, "2026-01-15T11:59:59+01:00", False),
        (LUNCH, "2026-01-15T12:00+01:00", True),
        (LUNCH, "2026-01-15T13:30+01:00", False),
        # The clocks go forward at 2:00, and back at 3:00: the night is over at seven by the wall.
        (NIGHT, "2026-03-29T06:59+02:00", True),
        (NIGHT, "2026-03-29T07:00+02:00", False),
        (NIGHT, "2026-10-25T06:59+01:00", True),
        (NIGHT, "2026-10-25T07:00+01:00", False),
    ],
)
def test_by_the_clock_on_the_wall(quiet: QuietHours | None, at: str, expected: bool) -> None:
    assert is_quiet(quiet, ms(at)) is expected


def test_an_hour_that_comes_twice_is_quiet_both_times() -> None:
    early = QuietHours("Europe/Berlin", "02:00", "02:30")
    times = ["02:15+02:00", "02:45+02:00", "02:15+01:00", "02:45+01:00"]
    told = [is_quiet(early, ms(f"2026-10-25T{at}")) for at in times]
    assert told == [True, False, True, False]


def test_hours_that_are_left_out_are_never_quiet() -> None:
    gone = QuietHours("Europe/Berlin", "02:10", "02:50")
    start = ms("2026-03-29T00:00+01:00")
    assert not any(is_quiet(gone, start + minute * MINUTE_MS) for minute in range(23 * 60))


def test_days_are_those_that_the_night_begins_on() -> None:
    friday = QuietHours("UTC", "22:00", "07:00", [5])
    assert is_quiet(friday, ms("2026-06-05T23:00Z"))  # a Friday
    assert is_quiet(friday, ms("2026-06-06T06:00Z"))  # the morning after it
    assert not is_quiet(friday, ms("2026-06-05T06:00Z"))
    assert not is_quiet(friday, ms("2026-06-06T23:00Z"))
    sunday = QuietHours("UTC", "22:00", "07:00", [7])
    assert is_quiet(sunday, ms("2026-06-08T06:00Z"))  # a Monday
    assert not is_quiet(sunday, ms("2026-06-07T06:00Z"))


def test_a_whole_day_is_from_a_time_to_the_same_time() -> None:
    weekend = QuietHours("UTC", "00:00", "00:00", [6, 7])
    assert not is_quiet(weekend, ms("2026-06-05T23:59:59Z"))
    assert is_quiet(weekend, ms("2026-06-06T00:00Z"))
    assert is_quiet(weekend, ms("2026-06-07T23:59:59Z"))
    assert not is_quiet(weekend, ms("2026-06-08T00:00Z"))


@pytest.mark.parametrize("name", ["Europe/Nowhere", "Europe", "../zone", "/etc/localtime", ""])
def test_an_unknown_zone_has_no_quiet_hours(name: str) -> None:
    assert zone_of(name) is None
    assert not is_quiet(QuietHours(name, "00:00", "00:00"), ms("2026-06-06T00:00Z"))


def test_the_zones_to_choose_from() -> None:
    listed = zones()
    assert len(listed) == len({*listed}) > 300
    assert {"Europe/Berlin", "Asia/Kolkata", "America/Argentina/Ushuaia", "UTC"} <= {*listed}
    assert not {"US/Pacific", "Etc/GMT+3", "GMT0"} & {*listed}
    assert all(zone_of(name) for name in listed)


TIMES = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
INSTANTS = st.integers(ms("1995-01-01T00:00Z"), ms("2037-12-31T00:00Z"))
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia",
                         "Australia/Lord_Howe", "Africa/Casablanca", "UTC"])  # fmt: skip
HOURS = st.builds(
    QuietHours, ZONES, TIMES, TIMES, st.lists(st.integers(1, 7), max_size=7, unique=True)
)


def wall(quiet: QuietHours, at: int) -> datetime:
    """What the clock on the wall shows."""
    zone = ZoneInfo(quiet.zone)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).astimezone(zone)


def night(quiet: QuietHours, day: datetime) -> tuple[datetime, datetime]:
    """From when to when it is quiet where it begins on that day, by the wall (naive)."""
    start = datetime.combine(day, datetime.strptime(quiet.start, "%H:%M").time())
    end = datetime.combine(day, datetime.strptime(quiet.end, "%H:%M").time())
    return start, end if end > start else end + timedelta(days=1)


@given(HOURS, INSTANTS)
def test_it_is_quiet_within_a_night_that_begins_today_or_yesterday(
    quiet: QuietHours, at: int
) -> None:
    shown = wall(quiet, at).replace(tzinfo=None)
    nights = [
        night(quiet, day)
        for day in (shown, shown - timedelta(days=1))
        if not quiet.days or day.isoweekday() in quiet.days
    ]
    assert is_quiet(quiet, at) == any(start <= shown < end for start, end in nights)


@given(HOURS, INSTANTS)
def test_from_start_to_end_and_from_end_to_start_make_a_day(quiet: QuietHours, at: int) -> None:
    always = QuietHours(quiet.zone, quiet.start, quiet.end)
    if quiet.start == quiet.end:
        assert is_quiet(always, at)
    else:
        rest = QuietHours(quiet.zone, quiet.end, quiet.start)
        assert is_quiet(always, at) != is_quiet(rest, at)


@given(ZONES, TIMES, TIMES, INSTANTS)
def test_every_day_is_all_seven(zone: str, start: str, end: str, at: int) -> None:
    assert is_quiet(QuietHours(zone, start, end), at) == is_quiet(
        QuietHours(zone, start, end, [1, 2, 3, 4, 5, 6, 7]), at
    )
