"""The limits of deduplication, written out: what is remembered, for how long, and what waits."""

from __future__ import annotations

from typing import Any

import pytest

from mailwake.contracts import Hit
from mailwake.track import Track
from mailwake_enricher.decide import Rules, is_over, take_hit
from mailwake_enricher.seen import Seen, see
from mailwake_enricher.telling import Outcome
from tests.unit.enricher.values import BROWSER, NOW, hit, run, send

DAY = 86_400_000
SECONDS = NOW // 1000
START = f"{NOW << 20:016x}"
LATER = f"{(NOW << 20) + 1:016x}"
LAST = f"{(NOW << 20) + 2:016x}"
RULES = Rules(repeat_window_ms=0, join_wait_ms=DAY, keep_ms=180 * DAY)


def take(seen: Seen, numbers: Any, stream: str = START, at: int = NOW, **given: bool) -> list[bool]:
    return [see(seen, f"{stream}{number:016x}", at, **given) for number in numbers]


def test_a_stream_is_its_floor_its_last_time_and_its_numbers() -> None:
    seen: Seen = {}
    take(seen, [9, 3, 7])
    assert seen == {START: [0, SECONDS, 3, 7, 9]}
    take(seen, [8], at=NOW + 5_999)
    take(seen, [6], at=NOW - 60_000)  # came late: the newest hit's time stays
    assert seen == {START: [0, SECONDS + 5, 3, 6, 7, 8, 9]}


def test_sixteen_numbers_of_a_stream_are_remembered_one_by_one() -> None:
    seen: Seen = {}
    assert all(take(seen, range(10, 26)))
    assert seen[START] == [0, SECONDS, *range(10, 26)]
    assert take(seen, [26]) == [True]
    assert seen[START] == [10, SECONDS, *range(11, 27)]
    assert take(seen, [10, 9, 1, 11, 26]) == [False] * 5
    assert take(seen, [27]) == [True]
    assert seen[START] == [11, SECONDS, *range(12, 28)]


def test_thirty_two_numbers_of_all_streams_and_the_quietest_stream_forgets_first() -> None:
    seen: Seen = {}
    take(seen, range(10, 26), START, NOW + 9_000)
    take(seen, range(10, 26), LATER, NOW + 5_000)
    assert sum(len(entry) - 2 for entry in seen.values()) == 32
    take(seen, [1], LAST, NOW + 7_000)
    assert seen[LATER] == [10, SECONDS + 5, *range(11, 26)]
    assert len(seen[START]) == 18
    take(seen, range(2, 17), LAST, NOW + 7_000)
    assert seen[LATER] == [25, SECONDS + 5]
    assert (len(seen[START]), len(seen[LAST])) == (18, 18)
    take(seen, [1], f"{(NOW << 20) + 3:016x}", NOW + 9_000)  # nothing is left of the quietest
    assert seen[LAST] == [1, SECONDS + 7, *range(2, 17)]


def test_of_three_streams_thirty_two_numbers_are_all_kept() -> None:
    seen: Seen = {}
    take(seen, range(10, 26), START)
    take(seen, range(10, 25), LATER)
    take(seen, [1], LAST)
    assert [entry[0] for entry in seen.values()] == [0, 0, 0]
    take(seen, [2], LAST)
    assert [entry[0] for entry in seen.values()] == [10, 0, 0]


def test_of_two_streams_neither_forgets_for_the_other() -> None:
    seen: Seen = {}
    for stream in (START, LATER):
        take(seen, range(10, 26), stream)
    assert [len(entry) for entry in seen.values()] == [18, 18]


@pytest.mark.parametrize(("after", "kept"), [(14 * DAY, True), (14 * DAY + 1, False)])
def test_a_stream_is_forgotten_after_fourteen_days(after: int, kept: bool) -> None:
    seen: Seen = {}
    take(seen, [1])
    other = f"{(NOW + after) << 20:016x}"
    take(seen, [1], other, NOW + after)
    assert (START in seen) == kept
    assert other in seen


def test_a_stream_lives_from_its_start_or_its_last_hit_whichever_is_later() -> None:
    """An edge that has just started may have a clock behind the hits of others."""
    seen: Seen = {}
    take(seen, [1], START, NOW - 20 * DAY)
    take(seen, [1], LATER, NOW + DAY)
    assert START in seen
    take(seen, [2], START, NOW + 10 * DAY)
    take(seen, [1], LAST, NOW + 23 * DAY)
    assert START in seen


def test_a_replay_is_remembered_under_a_name_of_its_own() -> None:
    seen: Seen = {}
    assert take(seen, [5, 5, 8], replayed=True) == [True, False, True]
    assert seen == {"r" + START: [0, SECONDS, 5, 8]}
    assert take(seen, [5, 8, 6]) == [False, False, True]
    # A number that is the floor of the replays, or the time, is no number of theirs.
    assert take(seen, [SECONDS]) == [True]
    assert seen[START] == [0, SECONDS, 6, SECONDS]
    take(seen, [1], f"{(NOW + 15 * DAY) << 20:016x}", NOW + 15 * DAY)
    assert "r" + START not in seen


def test_a_copy_is_dropped_and_counts_nothing() -> None:
    track, one = Track(), hit(at=NOW)
    assert run(track, send(), one, one).drops == ["duplicate"]
    assert track.hits == 1


def waiting(count: int, **given: Any) -> list[Any]:
    return [hit(at=NOW + number, **given) for number in range(count)]


def test_sixty_four_hits_wait_for_their_send() -> None:
    track, hits = Track(), waiting(65)
    outcome = run(track, *hits)
    assert track.waiting == hits[:64]
    assert outcome.unmatched == [(hits[64], "waiting_full")]
    assert track.hits == 64
    # It was noted as seen: a copy gives it back no second time.
    assert run(track, hits[64]).unmatched == []
    assert run(track, hits[64]).drops == ["duplicate"]


def test_a_replayed_hit_that_finds_no_room_is_not_noted() -> None:
    track = Track()
    run(track, *waiting(64))
    again = hit(at=NOW, replayed=True)
    for _ in range(2):
        outcome = run(track, again)
        assert outcome.unmatched == [(again, "waiting_full")]
        assert outcome.drops == []
    run(track, send())
    assert run(track, again).drops != ["duplicate"]
    assert track.hits == 65


def test_targets_of_65536_characters_wait_and_no_more() -> None:
    long = "https://example.org/"
    first = hit(kind="click", link=0, target=long.ljust(32_768, "x"))
    fits = hit(kind="click", link=1, target=long.ljust(32_768, "y"))
    over = hit(kind="click", link=2, target=long)
    before, after = hit(at=NOW - 1), hit(at=NOW + 1)  # opens have no target
    track = Track()
    outcome = run(track, before, first, fits, over)
    assert track.waiting == [before, first, fits]
    assert outcome.unmatched == [(over, "waiting_full")]
    assert run(track, after).unmatched == []


def test_a_single_hit_waits_whatever_its_target() -> None:
    track = Track()
    huge = hit(kind="click", link=0, target="https://example.org/".ljust(70_000, "x"))
    assert run(track, huge).unmatched == []
    assert track.waiting == [huge]


@pytest.mark.parametrize(("days", "keep_days", "counted"), [(30, 180, 30), (0, 180, 180),
                                                            (90, 20, 20), (0, 90, 90)])  # fmt: skip
def test_a_mail_is_tracked_to_the_millisecond(days: int, keep_days: int, counted: int) -> None:
    rules = Rules(repeat_window_ms=0, join_wait_ms=DAY, keep_ms=keep_days * DAY)
    sent = send(sent_at=NOW, retention_days=days or 180)
    end = NOW + counted * DAY
    last, late = hit(at=end), hit(at=end + 1)
    assert run(Track(), sent, last, rules=rules).drops == []
    assert run(Track(), sent, late, rules=rules).drops == ["too_late"]


def test_before_the_send_the_mails_id_tells_its_time() -> None:
    sent_at = NOW - 60_000
    assert run(Track(), hit(at=sent_at + 180 * DAY), rules=RULES).drops == []
    assert run(Track(), hit(at=sent_at + 180 * DAY + 1), rules=RULES).drops == ["too_late"]


def test_a_track_is_over_to_the_millisecond() -> None:
    track = Track()
    run(track, send(sent_at=NOW - DAY), hit(at=NOW + 999, agent=BROWSER))
    assert not is_over(track, NOW + 180 * DAY - 1, RULES)
    assert is_over(track, NOW + 180 * DAY, RULES)
    only_sent = Track()
    run(only_sent, send(sent_at=NOW))
    assert not is_over(only_sent, NOW + 180 * DAY - 1, RULES)
    assert is_over(only_sent, NOW + 180 * DAY, RULES)
    assert is_over(Track(), NOW, RULES)
    assert not is_over(Track(), 180 * DAY - 1, RULES)
    assert is_over(Track(), 180 * DAY, RULES)
    held = Track()
    run(held, hit(at=NOW))
    assert not is_over(held, NOW + 400 * DAY, RULES)
    erased = Track(erased=NOW)
    assert not is_over(erased, NOW + 180 * DAY - 1, RULES)
    assert is_over(erased, NOW + 180 * DAY, RULES)
    assert run(erased, hit(at=NOW)).drops == ["erased"]


def test_a_replayed_hit_out_of_its_streams_order_counts() -> None:
    track = Track()
    run(track, send(), *[hit(hit_id=f"{START}{number:016x}") for number in range(10, 40)])
    behind = hit(hit_id=f"{START}{1:016x}")
    assert run(track, behind).drops == ["duplicate"]
    replayed = hit(hit_id=f"{START}{2:016x}", replayed=True)
    assert run(track, replayed).drops != ["duplicate"]
    assert track.seen["r" + START] == [0, SECONDS, 2]
    assert run(track, replayed).drops == ["duplicate"]


def test_a_hit_says_whether_it_changed_its_track() -> None:
    def take_one(track: Track, one: Hit) -> bool:
        return take_hit(track, one, RULES, Outcome())

    track, one = Track(), hit(at=NOW)
    assert take_one(track, one) is True
    assert take_one(track, one) is False
    assert take_one(track, hit(at=NOW + 400 * DAY)) is False
    run(track, send())
    assert take_one(track, hit(at=NOW)) is True
    assert take_one(Track(erased=NOW), one) is False
    full = Track()
    run(full, *waiting(64))
    assert take_one(full, hit(at=NOW, replayed=True)) is False
    assert take_one(full, hit(at=NOW)) is True
