from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mailwake_enricher.seen import FORGET_MS, NUMBERS, WINDOW, Seen, see
from tests.unit.enricher.values import NOW


def hit_id(stream: int, number: int) -> str:
    return f"{stream:016x}{number:016x}"


STREAM = NOW << 20


def test_a_hit_is_new_once() -> None:
    seen: Seen = {}
    assert see(seen, hit_id(STREAM, 7), NOW)
    assert not see(seen, hit_id(STREAM, 7), NOW)
    assert see(seen, hit_id(STREAM, 6), NOW)
    assert see(seen, hit_id(STREAM + 1, 7), NOW)


@given(
    numbers=st.lists(st.integers(1, 10**9), unique=True, min_size=1, max_size=300).map(sorted),
    randomness=st.randoms(use_true_random=False),
)
def test_any_order_and_any_copies_within_the_window_count_each_hit_once(
    numbers: list[int], randomness: random.Random
) -> None:
    # Blocks of half a window, each in any order and with copies from it and the block before.
    half = WINDOW // 2
    arriving: list[int] = []
    before: list[int] = []
    for start in range(0, len(numbers), half):
        block = numbers[start : start + half]
        mixed = block + randomness.choices(block + before, k=half)
        randomness.shuffle(mixed)
        arriving += mixed
        before = block
    seen: Seen = {}
    new = [number for number in arriving if see(seen, hit_id(STREAM, number), NOW)]
    assert sorted(new) == numbers


@given(
    arriving=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=400),
    replays=st.lists(st.integers(0, 400), max_size=5),
)
def test_streams_in_order_with_redeliveries_from_anywhere_are_exact(
    arriving: list[tuple[int, int]], replays: list[int]
) -> None:
    # Each step is a stream and how far its number grows: in order within a stream, as Kafka has it.
    numbers = dict.fromkeys(range(6), 0)
    hits: list[str] = []
    for stream, step in arriving:
        numbers[stream] += step
        hits.append(hit_id(STREAM + stream, numbers[stream]))
    seen: Seen = {}
    assert all(see(seen, each, NOW + at) for at, each in enumerate(hits))
    for start in replays:  # Kafka delivers again from an earlier offset on
        assert not any(see(seen, each, NOW) for each in hits[start:])


def test_the_memory_of_the_hottest_mail_stays_small() -> None:
    seen: Seen = {}
    numbers = [0, 0, 0]
    randomness = random.Random(1)
    for at in range(10_000):
        stream = randomness.randrange(3)
        numbers[stream] += randomness.randrange(1, 5000)
        assert see(seen, hit_id(STREAM + stream, numbers[stream]), NOW + at)
    assert sum(len(entry) - 2 for entry in seen.values()) == NUMBERS
    assert len(msgspec.json.encode(seen)) < 800


def test_a_stream_is_forgotten_when_no_copy_can_come_any_more() -> None:
    seen: Seen = {}
    see(seen, hit_id(STREAM, 1), NOW)
    later = (NOW + FORGET_MS) << 20
    see(seen, hit_id(later, 1), NOW + FORGET_MS)
    assert len(seen) == 2
    see(seen, hit_id(later + 1, 1), NOW + FORGET_MS + 1000)
    assert f"{STREAM:016x}" not in seen
    assert len(seen) == 2


def test_a_long_running_stream_is_kept_while_it_gives_hits() -> None:
    seen: Seen = {}
    see(seen, hit_id(STREAM, 1), NOW)
    see(seen, hit_id(STREAM, 2), NOW + FORGET_MS)
    see(seen, hit_id(((NOW + FORGET_MS) << 20) + 1, 1), NOW + FORGET_MS + 1000)
    assert not see(seen, hit_id(STREAM, 2), NOW)


def test_replayed_hits_come_out_of_order_and_count_once() -> None:
    seen: Seen = {}
    for number in range(1, 101):
        see(seen, hit_id(STREAM, 1000 + number), NOW)
    assert not see(seen, hit_id(STREAM, 5), NOW)  # behind the floor: a copy, as it must be
    assert see(seen, hit_id(STREAM, 5), NOW, replayed=True)
    assert not see(seen, hit_id(STREAM, 5), NOW, replayed=True)


def test_an_original_is_a_copy_when_its_replay_was_counted() -> None:
    seen: Seen = {}
    assert see(seen, hit_id(STREAM, 5), NOW, replayed=True)
    assert not see(seen, hit_id(STREAM, 5), NOW)
    assert see(seen, hit_id(STREAM, 6), NOW)
