"""The figures as a table for people, and as rows for bench/results/quality.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import pstdev
from typing import Any

from bench.quality.score import (
    ALERTS,
    ALERTS_AT_ONCE,
    AS_MACHINE,
    BURSTS,
    CLICKS,
    NO_EVENT,
    NOT_FIRST,
    OPENS,
    SMALL_VISITS,
    TRUE_VERDICT,
    VERDICTS,
    WHO,
    Score,
    Share,
)

BESIDE = "a tracker that believes every hit"


@dataclass(frozen=True)
class Measure:
    """A share over all seeds, and its spread.

    Attributes:
        figure: the share over all seeds together.
        low, high, spread: the seeds' extremes and their standard deviation.
        beside: the same of a tracker that believes every hit; None where that makes no sense.
        aim: what the share over all seeds is to reach, at the least; None when there is none.
        less: less is better: the aim is at the most.
        of: how many cases the figure is the share of.
    """

    stage: str
    figure: float
    low: float
    high: float
    spread: float
    of: int
    beside: float | None = None
    aim: float | None = None
    less: bool = False

    @property
    def met(self) -> bool | None:
        """Whether all seeds together meet the aim; None without one."""
        return self._meets(self.figure)

    @property
    def met_by_each(self) -> bool | None:
        """Whether every seed meets the aim by itself, which few cases a seed make hard."""
        return self._meets(self.high if self.less else self.low)

    def _meets(self, figure: float) -> bool | None:
        if self.aim is None:
            return None
        return figure <= self.aim if self.less else figure >= self.aim

    def as_dict(self) -> dict[str, Any]:
        """For bench/results/quality.json: the fields of latest.json (`bench.row`), then its own."""
        return {
            "stage": self.stage,
            "figure": round(self.figure, 4),
            "beside": None if self.beside is None else round(self.beside, 4),
            "unit": "share",
            "beside_what": None if self.beside is None else BESIDE,
            "aim": self.aim,
            "less": self.less,
            "ratio": round(self.figure / self.beside, 3) if self.beside else None,
            "met": self.met,
            "met_by_each": self.met_by_each,
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "spread": round(self.spread, 4),
            "of": self.of,
        }


def measures(scores: Sequence[Score]) -> list[Measure]:
    """All measures of the seeds' scores; those with an aim first."""
    total = sum(scores[1:], scores[0])

    def named(name: str, aim: float | None = None, *, less: bool = False) -> Measure:
        each = [score.shares[name].value for score in scores if score.shares[name].whole]
        share, beside = total.shares[name], total.naive[name].value
        return _measure(name, share, each, beside, aim, less=less)

    found = [
        named(ALERTS, 0.99),
        named(CLICKS, 0.97),
        named(BURSTS, 0.0, less=True),
        named(SMALL_VISITS),
        named(ALERTS_AT_ONCE),
        named(OPENS),
    ]
    for verdict in VERDICTS:
        for what in ("precision", "recall"):
            shares: list[Share] = [getattr(each, what)(verdict) for each in (total, *scores)]
            values = [share.value for share in shares[1:] if share.whole]
            found.append(_measure(f"{verdict}: {what}", shares[0], values))
    return found


def _measure(
    name: str,
    share: Share,
    each: Sequence[float],
    beside: float | None = None,
    aim: float | None = None,
    *,
    less: bool = False,
) -> Measure:
    low, high = min(each, default=0.0), max(each, default=0.0)
    spread = pstdev(each) if each else 0.0
    return Measure(name, share.value, low, high, spread, share.whole, beside, aim, less)


def report(scores: Sequence[Score], seeds: Sequence[int]) -> str:
    """The tables for people, one below the other, each under a line that says what it shows."""
    total = sum(scores[1:], scores[0])
    found = measures(scores)
    named = [measure for measure in found if ": " not in measure.stage]
    verdicts = {measure.stage: measure for measure in found}
    drops = ", ".join(f"{count:,} {name}" for name, count in sorted(total.drops.items()))
    return "\n".join(
        [
            f"{total.mails:,} simulated mails over {len(seeds)} seeds: {total.hits:,} hits "
            f"became {total.events:,} events, {total.revised:,} of them revised",
            f"dropped: {drops or 'none'}; rejected or unmatched: {total.lost:,}",
            "\nWhat it is for\n",
            _measures_table(named),
            "\nVerdicts\n",
            _verdicts_table(verdicts),
            "\nWho made it, and what it was judged to be (events; the right ones in brackets)\n",
            _confusion_table(total),
            "\nWhere it comes from, and what of it counts as a person\n",
            _sources_table(total),
            "\nWhy people's first clicks did not alert\n",
            _missed_table(total),
        ]
    )


_YES_NO = {True: "yes", False: "no", None: ""}


def _measures_table(found: Sequence[Measure]) -> str:
    head = [
        *("", "today", "seeds from", "to", "±", "aim", "met", "by each seed", "of"),
        "believing every hit",
    ]
    lines = [
        [
            each.stage,
            percent(each.figure),
            percent(each.low),
            percent(each.high),
            f"{each.spread:.1%}",
            "" if each.aim is None else _aim(each),
            _YES_NO[each.met],
            _YES_NO[each.met_by_each],
            f"{each.of:,}",
            "" if each.beside is None else percent(each.beside),
        ]
        for each in found
    ]
    return table(head, lines)


def _aim(measure: Measure) -> str:
    if measure.less and not measure.aim:
        return "none"
    return ("≤ " if measure.less else "≥ ") + f"{measure.aim:.0%}"


def _verdicts_table(found: dict[str, Measure]) -> str:
    head = ["verdict", "precision", "seeds", "of", "recall", "seeds", "of"]
    lines: list[list[str]] = []
    for verdict in VERDICTS:
        line: list[str] = [verdict]
        for what in ("precision", "recall"):
            each = found[f"{verdict}: {what}"]
            if each.of:
                line += [percent(each.figure), _span(each), f"{each.of:,}"]
            else:
                line += ["–", "", "0"]
        lines.append(line)
    return table(head, lines)


def _span(measure: Measure) -> str:
    return f"{percent(measure.low)} – {percent(measure.high)}"


def _confusion_table(total: Score) -> str:
    """Events by maker (rows) and verdict (columns); the right ones in brackets."""
    head = ["made by \\ judged", *VERDICTS, "no event"]
    lines = []
    for who in WHO:
        line: list[str] = [who]
        for verdict in VERDICTS:
            count = f"{total.confusion[who, verdict]:,}"
            line.append(f"[{count}]" if TRUE_VERDICT[who] == verdict else f"{count} ")
        lines.append([*line, f"{total.confusion[who, None]:,}"])
    return table(head, lines)


def _sources_table(total: Score) -> str:
    head = ["made by", "source", "hits", "events", "as a person", "share", "alerts"]
    lines = []
    for who in WHO:
        for (maker, source), counts in sorted(total.sources.items()):
            if maker == who:
                share = Share(counts["persons"], counts["events"])
                lines.append(
                    [
                        who,
                        source,
                        f"{counts['hits']:,}",
                        f"{counts['events']:,}",
                        f"{counts['persons']:,}",
                        percent(share.value) if share.whole else "–",
                        f"{counts['alerts']:,}",
                    ]
                )
    return table(head, lines, left=2)


def _missed_table(total: Score) -> str:
    whole = total.shares[CLICKS].whole
    lines = [
        [why, f"{total.missed[why]:,}", percent(total.missed[why] / whole if whole else 0.0)]
        for why in (NOT_FIRST, AS_MACHINE, NO_EVENT)
    ]
    return table(["", "clicks", "of all"], lines)


def percent(value: float) -> str:
    """A share as people read it; neither 100% nor 0% unless it is."""
    text = f"{value:.1%}"
    if text == "100.0%" and value < 1:
        return "> 99.9%"
    if text == "0.0%" and value > 0:
        return "< 0.1%"
    return text


def table(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Lines under a head, widths fitted; the first `left` columns to the left, numbers right."""
    every = [head, *lines]
    widths = [max(len(line[column]) for line in every) for column in range(len(head))]
    rendered = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in every
    ]
    rendered.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(rendered)
