"""When a process counts as flat."""

from __future__ import annotations

import pytest

from bench.soak import Watched, fifths, is_flat


def test_the_fourth_and_the_last_fifth_are_compared() -> None:
    assert fifths([900.0, 900.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]) == (55.0, 75.0)
    assert fifths([7.0]) == (7.0, 7.0)


@pytest.mark.parametrize(
    ("before", "after", "flat"),
    [(100, 116, True), (100, 117, False), (1000, 1100, True), (1000, 1101, False), (100, 50, True)],
)
def test_a_tenth_or_so_much_at_the_least_is_no_growth(
    before: float, after: float, flat: bool
) -> None:
    assert is_flat(before, after, least=16) is flat


def test_files_that_are_left_open_are_growth() -> None:
    left_open = [20] * 20 + list(range(20, 80, 2))
    for name in ("edge", "kafka"):
        assert Watched(name, [100.0] * 50, left_open).as_dict()["flat"] is False
    assert Watched("edge", [100.0] * 50, [20] * 50).as_dict()["flat"] is True


def test_memory_that_grows_is_growth_but_for_the_heap_of_java() -> None:
    growing = [100.0 + 2 * number for number in range(50)]
    assert Watched("edge", growing, [20] * 50).as_dict()["flat"] is False
    assert Watched("kafka", growing, [20] * 50).as_dict()["flat"] is True
