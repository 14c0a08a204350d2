"""What judging anew changes: the confusion table of old and new verdicts, and what goes with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import get_args

from mailwake.contracts import Event, Verdict
from mailwake_enricher.rejudge import Judged, Left

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MOST_REASONS = 10


@dataclass(slots=True)
class Comparison:
    """Counts what judging anew makes of mails; `add` takes them one by one.

    Attributes:
        verdicts: (old, new) -> events that count before and after: neither repeats nor implied.
        firsts, repeats, forwards, implied: events that become such, and that are so no more.
        added, removed: reason -> events in which it is new, and gone.
        less: events that keep their verdict, but get another score or other reasons.
        left: reason -> mails that are left; `gone`: of those without all hits, the events whose
            hits are gone; `beside`: all their events.
    """

    mails: int = 0
    hits: int = 0
    changed_mails: int = 0
    changed_events: int = 0
    counts_alone: int = 0
    strangers: int = 0
    gone: int = 0
    beside: int = 0
    less: int = 0
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    firsts: Counter[bool] = field(default_factory=Counter)
    repeats: Counter[bool] = field(default_factory=Counter)
    forwards: Counter[bool] = field(default_factory=Counter)
    implied: Counter[bool] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    left: Counter[Left] = field(default_factory=Counter)

    def add(self, judged: Judged, hits: int, events: int) -> None:
        """Takes a mail, of which so many hits and events stand."""
        self.mails += 1
        self.hits += hits
        self.strangers += judged.strangers
        if judged.left:
            self.left[judged.left] += 1
            self.gone += judged.gone
            self.beside += events
            return
        self.changed_events += len(judged.changed)
        self.changed_mails += bool(judged.changed)
        self.counts_alone += judged.differs and not judged.changed
        for old, new in judged.pairs:
            self._add_event(old, new)

    def _add_event(self, old: Event | None, new: Event) -> None:
        counted = old is not None and not old.repeat
        if new.first != (old is not None and old.first):
            self.firsts[new.first] += 1
        if new.implied:
            if counted == new.repeat:
                self.implied[not new.repeat] += 1
        elif old is not None and old is not new:
            if old.repeat != new.repeat:
                self.repeats[new.repeat] += 1
            if old.forward != new.forward:
                self.forwards[new.forward] += 1
        if counted and not new.repeat and not new.implied:
            assert old is not None  # noqa: S101
            self.verdicts[old.verdict, new.verdict] += 1
            if old is not new:
                self.added.update(set(new.reasons) - set(old.reasons))
                self.removed.update(set(old.reasons) - set(new.reasons))
                same = (old.verdict, old.first, old.forward)
                self.less += same == (new.verdict, new.first, new.forward)

    def lines(self) -> Iterator[str]:
        """The report, line by line."""
        yield from self._table()
        yield ""
        turned = sum(count for (old, new), count in self.verdicts.items() if old != new)
        everything = sum(self.verdicts.values())
        yield (
            f"{turned:,} of {everything:,} verdicts turn{_share(turned, everything)}; "
            f"{self.less:,} keep theirs for other reasons or with another score"
        )
        for name, counter in (
            ("first opens and clicks", self.firsts),
            ("repeats", self.repeats),
            ("implied opens", self.implied),
            ("opens by a forward", self.forwards),
        ):
            yield f"{name}: {counter[True]:,} more, {counter[False]:,} no more"
        yield (
            f"{self.changed_events:,} events of {self.changed_mails:,} mails change; "
            f"{self.counts_alone:,} further mails in their counts alone"
        )
        yield from self._reasons()
        yield from self._left()

    def _table(self) -> Iterator[str]:
        used = [each for each in VERDICTS if any(each in pair for pair in self.verdicts)]
        if not used:
            yield "no events to compare"
            return
        width = 3 + max(len(f"{sum(self.verdicts.values()):,}"), len("→ prefetch"))
        names = [*(f"→ {each}" for each in used), "all"]
        yield f"{'old verdict':12}" + "".join(f"{name:>{width}}" for name in names)
        for old in used:
            row = [self.verdicts[old, new] for new in used]
            yield f"{old:12}" + _cells([*row, sum(row)], width)
            if sum(map(bool, row)) > 1:
                shares = [f"{100 * count / sum(row):.1f}%" if count else "" for count in row]
                yield (f"{'':12}" + "".join(f"{share:>{width}}" for share in shares)).rstrip()
        columns = [sum(self.verdicts[old, new] for old in used) for new in used]
        yield f"{'all':12}" + _cells([*columns, sum(columns)], width)

    def _reasons(self) -> Iterator[str]:
        both = self.added + self.removed
        if not both:
            return
        yield ""
        yield "reasons that changed most, in how many events:"
        for reason, _ in both.most_common(MOST_REASONS):
            yield f"  {reason:24}{f'+{self.added[reason]:,}':>12}{f'-{self.removed[reason]:,}':>12}"

    def _left(self) -> Iterator[str]:
        if self.left["no_hits"]:
            yield (
                f"left as they are: {self.left['no_hits']:,} mails with {self.beside:,} events, "
                f"for the hits of {self.gone:,} of these are no longer kept"
            )
        if self.left["unsettled"]:
            yield (
                f"left as they are: {self.left['unsettled']:,} mails with hits that were not joined"
            )
        if self.strangers:
            yield (
                f"{self.strangers:,} hits are not judged, for they have no event: they came before "
                "their send (`mailwake replay hits.unmatched`), or are on their way"
            )


def _cells(counts: list[int], width: int) -> str:
    return "".join(f"{f'{count:,}' if count else '·':>{width}}" for count in counts)


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f}%)" if whole else ""
