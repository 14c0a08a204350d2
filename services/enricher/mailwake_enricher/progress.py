"""How far a long command is: a bar on a terminal, plain lines otherwise; on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

BAR = 30
LINES_EVERY_S, BAR_EVERY_S = 10.0, 0.2


class Progress:
    """Tells how much of a known amount is done, at what rate, and how long the rest will take.

    Args:
        total: the amount in `unit`s.
        work: what the rate counts, such as hits.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        work: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._work = total, unit, work
        self._stream = stream or sys.stderr
        self._clock = clock
        self._bar = self._stream.isatty()
        self._began = self._told_at = clock()
        self._width = 0
        self.done = self.worked = 0

    def add(self, units: int, worked: int) -> None:
        """Notes what was done, and tells it when it is time to."""
        self.done += units
        self.worked += worked
        now = self._clock()
        if now - self._told_at >= (BAR_EVERY_S if self._bar else LINES_EVERY_S):
            self._told_at = now
            self._tell(self._line(now))

    def say(self, text: str) -> None:
        """Tells something besides, such as what is waited for."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Takes the bar away."""
        if self._bar and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    @property
    def rate(self) -> float:
        """Work a second since the start."""
        return self.worked / max(self._clock() - self._began, 1e-6)

    def _tell(self, line: str) -> None:
        if not self._bar:
            self._stream.write(line + "\n")
        else:
            filled = BAR * min(self.done, self._total) // max(self._total, 1)
            line = f"[{'#' * filled}{'.' * (BAR - filled)}] {line}"
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        self._stream.flush()

    def _line(self, now: float) -> str:
        total = max(self._total, self.done)  # more may have come
        share = self.done / total if total else 1.0
        left = (now - self._began) * (1 / share - 1) if share > 0 else 0.0
        return (
            f"{share:4.0%}  {self.done:,} of {total:,} {self._unit}, {self.worked:,} "
            f"{self._work}, {self.rate:,.0f} {self._work}/s, {spoken(max(left, 0.0))} left"
        )


def spoken(seconds: float) -> str:
    """A time as people say it: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
