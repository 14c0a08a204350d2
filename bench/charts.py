"""The results as charts: `python -m bench charts` writes docs/charts/*.svg from bench/results.

Drawn here, bar by bar, so that the same results give the same bytes. An SVG brings its own colours,
for light pages and dark ones, and needs no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bench.record import RESULTS, Record, read_record

FOLDER = Path(__file__).parents[1] / "docs" / "charts"

WIDTH, LEFT, RIGHT, TOP, LINE = 720, 300, 90, 40, 24
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.quiet { fill: #59636e }
.bar { fill: #0969da }
.other { fill: #8b949e }
.aim { stroke: #bc4c00; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .quiet { fill: #9198a1 }
  .bar { fill: #4493f8 }
  .other { fill: #6e7681 }
  .aim { stroke: #f0883e }
}
"""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        length: in the chart's unit.
        says: the text at its end.
        aim: where a mark stands across it, if anywhere.
        about: what it says on hover.
        kind: its colour, `bar` or `other`.
    """

    label: str
    length: float
    says: str
    aim: float | None = None
    about: str = ""
    kind: str = "bar"


def svg(title: str, note: str, bars: Sequence[Bar]) -> str:
    """A chart of horizontal bars on one scale; `note` says what they and the marks are."""
    most = max(max(bar.length, bar.aim or 0) for bar in bars) or 1
    room = WIDTH - LEFT - RIGHT
    height = TOP + 24 + LINE * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(title)}</text>',
        f'<text class="quiet" x="8" y="38">{escape(note)}</text>',
    ]
    for number, bar in enumerate(bars):
        top = TOP + 12 + LINE * number
        long = max(1.0, room * bar.length / most)
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{LEFT}" y="{top}" width="{long:.1f}" height="16">'
            f"<title>{escape(bar.about)}</title></rect>",
        ]
        after = long
        if bar.aim is not None:
            at = room * bar.aim / most
            after = max(after, at)
            parts.append(
                f'<line class="aim" x1="{LEFT + at:.1f}" x2="{LEFT + at:.1f}" '
                f'y1="{top - 2}" y2="{top + 18}"/>'
            )
        parts.append(f'<text x="{LEFT + after + 6:.1f}" y="{top + 13}">{escape(bar.says)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def charts(records: Mapping[str, Record | None]) -> dict[str, str]:
    """The charts that there are results for, by their names."""
    bench, scaling = rows_of(records.get("latest")), rows_of(records.get("scaling"))
    bench = [*bench, *rows_of(records.get("recovery"))]
    ways = [row for row in bench if row["stage"].startswith("way: ")]
    mailbox = [row for row in bench if row["stage"].startswith("mailbox")]
    ratios = [row for row in bench if not row["less"] and row["aim"] is not None]
    drawn = {
        "ratios": (
            "Each stage beside its counterpart",
            "How many times the counterpart's figure; the mark is the aim.",
            [
                Bar(row["stage"], row["ratio"], f"{row['ratio']:.2f}", row["aim"], about(row))
                for row in ratios
            ],
        ),
        "latency": (
            "From a pixel to …",
            "Milliseconds from when the request was due; half of all hits (blue), 99 % (grey).",
            [in_ms(row, "other" if row["stage"].endswith("p99") else "bar") for row in ways],
        ),
        "scaling": (
            "The enricher with more partitions, workers and tracks",
            "Hits a second.",
            [
                Bar(row["stage"].removeprefix("scaling: "), row["figure"], f"{row['figure']:,.0f}")
                for row in scaling
                if row["unit"] == "hits/s"
            ],
        ),
        "mailbox": (
            "The mailbox and the reports",
            "Milliseconds; the mark is what it may take.",
            [in_ms(row, "bar", row["beside"]) for row in mailbox if row["unit"].startswith("ms")],
        ),
    }
    return {name: svg(*given) for name, given in drawn.items() if given[2]}


def rows_of(record: Record | None) -> Rows:
    """The rows of a table (`bench.row`)."""
    return record.content if record else []


def in_ms(row: Mapping[str, Any], kind: str, aim: float | None = None) -> Bar:
    """A bar of milliseconds."""
    stage = row["stage"].partition(": ")[2].removeprefix("pixel to ")
    return Bar(stage, row["figure"], f"{row['figure']:,.0f} ms", aim, about(row), kind)


def about(row: Mapping[str, Any]) -> str:
    """What a figure stands beside."""
    return f"{row['figure']:,.0f} {row['unit']}, beside {row['beside']:,.0f}: {row['beside_what']}"


def read_all(names: Iterable[str], folder: Path = RESULTS) -> dict[str, Record | None]:
    """The files of results, by their names. Raises ValueError when one cannot be read."""
    return {name: read_record(folder / f"{name}.json") for name in names}


def main() -> int:
    """Writes all charts that there are results for, and no others."""
    drawn = charts(read_all(("latest", "recovery", "scaling")))
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.svg"):
        if old.stem not in drawn:
            old.unlink()
    for name, text in drawn.items():
        (FOLDER / f"{name}.svg").write_text(text, "utf-8")
        print(f"docs/charts/{name}.svg")
    return 0
