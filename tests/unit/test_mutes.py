"""Muted mails in memory: what is taken back, whose they are, and that old ones are forgotten."""

from __future__ import annotations

from mailwake.contracts import Mute, mute_key
from mailwake.mutes import Mutes
from mailwake.settings import read_settings

DAY_MS = 86_400_000
NOW = 1_767_225_600_000


class Time:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> float:
        return self.ms / 1000


def mail(number: int) -> str:
    return f"{number:032x}"


def take(mutes: Mutes, number: int, at: int = NOW, user: str = "ben") -> None:
    mutes.take(mute_key("acme", user, mail(number)), Mute("acme", user, mail(number), at))


def test_a_mail_is_muted_for_its_user_alone_until_that_is_taken_back() -> None:
    mutes = Mutes(read_settings({}), Time())
    take(mutes, 1)
    assert mutes.muted("acme", "ben", mail(1))
    assert not mutes.muted("acme", "ben", mail(2))
    assert not mutes.muted("acme", "eve", mail(1))
    assert not mutes.muted("other", "ben", mail(1))
    mutes.take(mute_key("acme", "ben", mail(1)), None)
    mutes.take(mute_key("acme", "ben", mail(9)), None)
    assert not mutes.muted("acme", "ben", mail(1))
    assert len(mutes) == 0


def test_a_mute_ends_with_the_tracking_of_its_mail() -> None:
    clock = Time()
    mutes = Mutes(read_settings({}), clock)
    take(mutes, 1)
    clock.ms = NOW + 180 * DAY_MS
    assert mutes.muted("acme", "ben", mail(1))
    clock.ms += 1
    assert not mutes.muted("acme", "ben", mail(1))


def test_memory_holds_what_was_muted_in_that_time() -> None:
    """A mail an hour is muted for six years; of 180 days, twice as many stand at the most."""
    clock = Time()
    mutes = Mutes(read_settings({}), clock)
    most = 0
    for hour in range(6 * 365 * 24):
        clock.ms = NOW + hour * 3_600_000
        take(mutes, hour, clock.ms)
        most = max(most, len(mutes))
    assert 180 * 24 < most <= 2 * 180 * 24 + 2
    assert mutes.muted("acme", "ben", mail(hour))
