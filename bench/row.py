"""One line of the benchmark's table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A figure and the bare counterpart measured beside it in the same run.

    Attributes:
        stage: what was measured, as in `edge: pixel`.
        figure, beside: ours and the counterpart's, in `unit`.
        beside_what: what the counterpart is.
        aim: the ratio we want at the least; None when there is none.
        less: less is better: the aim is the ratio we want at the most.
    """

    stage: str
    figure: float
    beside: float
    unit: str
    beside_what: str
    aim: float | None = None
    less: bool = False

    @property
    def ratio(self) -> float:
        """Ours over the counterpart's."""
        return self.figure / self.beside if self.beside else 0.0

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        if self.aim is None:
            return None
        return self.ratio <= self.aim if self.less else self.ratio >= self.aim

    def as_dict(self) -> dict[str, Any]:
        """For bench/results/latest.json."""
        return asdict(self) | {"ratio": round(self.ratio, 3), "met": self.met}
