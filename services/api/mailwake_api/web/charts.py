"""Charts as SVG, drawn here: no script, no style of their own; the page's style colours them. Pure.

A chart gives what its template needs: shapes in a box of fixed size, and the texts beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 220
LEFT, BOTTOM, TOP = 36, 24, 16
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CELL, GAP = 24, 3


@dataclass(frozen=True)
class Bar:
    """One bar: a box, what it is (a class of the style), and what it says on hover."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True)
class Bars:
    """Groups of bars over an axis.

    Attributes:
        lines: heights of the scale's lines, with their numbers.
        labels: places along the axis, with their words.
    """

    bars: Sequence[Bar]
    lines: Sequence[tuple[float, str]]
    labels: Sequence[tuple[float, str]]


def bars(groups: Sequence[tuple[str, Mapping[str, int]]]) -> Bars:
    """A chart of groups, each with a word and its numbers by kind, in the order they stand in."""
    most = max((count for _, counts in groups for count in counts.values()), default=0)
    step = _step(most)
    top = max(step * math.ceil(most / step), step)
    plot = HEIGHT - BOTTOM - TOP

    def at(count: float) -> float:
        return TOP + plot * (1 - count / top)

    room = (WIDTH - LEFT) / max(len(groups), 1)
    found: list[Bar] = []
    for place, (word, counts) in enumerate(groups):
        wide = min(room * 0.72, 54.0)
        each = wide / max(len(counts), 1)
        left = LEFT + room * place + (room - wide) / 2
        found += [
            Bar(
                kind,
                round(left + each * number, 1),
                round(at(count), 1),
                round(max(each - 1, 1), 1),
                round(max(plot * count / top, 0), 1),
                f"{word}: {count} {kind}",
            )
            for number, (kind, count) in enumerate(counts.items())
        ]
    every = max(math.ceil(len(groups) / 8), 1)
    labels = [
        (round(LEFT + room * (place + 0.5), 1), word)
        for place, (word, _) in enumerate(groups)
        if place % every == 0
    ]
    lines = [(round(at(n * step), 1), str(n * step)) for n in range(round(top / step) + 1)]
    return Bars(found, lines, labels)


def _step(most: int) -> int:
    """A round distance between the scale's lines, for about four of them."""
    rough = max(most / 4, 1)
    size = 10 ** math.floor(math.log10(rough))
    return int(next(n * size for n in (1, 2, 5, 10) if n * size >= rough))


@dataclass(frozen=True)
class Cell:
    """One hour of the week: where it stands, how strong it is (0 to 5), what it says on hover."""

    x: int
    y: int
    strength: int
    says: str


def week(counts: Mapping[tuple[int, int], int]) -> list[Cell]:
    """The hours of a week by weekday (1 to 7) and hour: the more, the stronger."""
    most = max(counts.values(), default=0)
    return [
        Cell(
            LEFT + hour * (CELL + GAP),
            (day - 1) * (CELL + GAP),
            math.ceil(5 * count / most) if count else 0,
            f"{DAYS[day - 1]} {hour:02}:00: {count}",
        )
        for day in range(1, 8)
        for hour in range(24)
        for count in (counts.get((day, hour), 0),)
    ]
