"""The page of evidence: `python -m bench evidence` writes docs/evidence.md from bench/results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.charts import charts, read_all
from bench.record import Record

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
COMMANDS = {
    "latest": "make bench",
    "recovery": "python -m bench recovery",
    "scaling": "python -m bench scaling",
    "faults": "make faults",
    "fuzz": "make fuzz",
    "mutation": "make mutation",
    "soak": "make soak",
    "quality": "make quality",
    "bytes": "python -m bench.bytes",
}
"""The files that the page is made of, and what writes them."""

HEAD = """\
# Evidence

What is claimed elsewhere was measured here. This page is made by `python -m bench evidence` of the
files in [bench/results](../bench/results/), and a test holds it to them. Below each heading stands
what was run, of which commit, when and where. A figure stands beside one that was measured in the
same run, a bare counterpart's, or beside its aim.
"""

Table = tuple[Sequence[str], Iterable[Sequence[str]]]


def page(records: Mapping[str, Record | None]) -> str:
    """The page of these results."""
    drawn = charts(records)

    def chart(name: str, says: str) -> str:
        return f"![{says}](charts/{name}.svg)\n" if name in drawn else ""

    def section(title: str, name: str, table: Callable[[Any], Table], *more: str) -> str:
        return "\n".join([title, "", told(name, records.get(name), table), *filter(None, more)])

    return "\n".join(
        [
            HEAD,
            section(
                "## Each stage beside its counterpart",
                "latest",
                bench_table,
                chart("ratios", "Each stage's ratio to its counterpart, and the aim"),
                chart("latency", "Milliseconds from a pixel to each stage"),
                chart("mailbox", "Milliseconds of the mailbox and the reports"),
            ),
            section("### Restart and recovery", "recovery", bench_table),
            section(
                "### Scaling",
                "scaling",
                bench_table,
                chart("scaling", "Hits a second by partitions, workers and tracks"),
            ),
            section("### Half load for long", "soak", soak_table),
            section("## Faults and attacks", "faults", faults_table),
            section("## Fuzzing", "fuzz", fuzz_table),
            section("## Mutation testing", "mutation", mutation_table),
            section("## How often verdicts are right", "quality", quality_table),
            section("## Bytes of a hit", "bytes", bytes_table),
        ]
    )


def told(name: str, record: Record | None, table: Callable[[Any], Table]) -> str:
    """A file as a table with where it is from; or that there is none."""
    if record is None:
        return f"Not run yet: `{COMMANDS[name]}` writes bench/results/{name}.json.\n"
    origin = (
        f"`{record.command}` at commit `{record.commit}`, {record.date}; machine: {record.machine}."
    )
    head, rows = table(record.content)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join([origin, "", *lines, ""])


def bench_table(content: Any) -> Table:
    """Rows of `bench.row`."""
    return ("stage", "ours", "beside", "unit", "ratio", "aim", "met", "beside what"), (
        (
            row["stage"],
            number(row["figure"]),
            number(row["beside"]),
            row["unit"],
            f"{row['ratio']:.2f}",
            aim(row),
            yes(row["met"]),
            row["beside_what"],
        )
        for row in content
    )


def quality_table(content: Any) -> Table:
    """Rows of `bench.quality`."""
    return ("measure", "ours", "beside", "aim", "met", "of", "beside what"), (
        (
            row["stage"],
            share(row["figure"]),
            share(row["beside"]),
            aim(row),
            yes(row["met"]),
            f"{row['of']:,}",
            row["beside_what"] or "",
        )
        for row in content
    )


def faults_table(content: Any) -> Table:
    """The scenarios of docs/faults.md (tests/fault_table.py)."""

    def count(value: int | None) -> str:
        return "–" if value is None else f"{value:,}"

    def tests(each: Mapping[str, Any]) -> str:
        if not each["tests"]:
            return "not run"
        failed = f", {each['failed']} FAILED" if each["failed"] else ""
        skipped = f", {each['skipped']} skipped" if each["skipped"] else ""
        return f"{each['tests']}{failed}{skipped}"

    columns = ("injected", "answered", "lost", "doubled")
    return ("", "scenario", "tests", *columns, "seconds", ""), (
        (
            str(each["number"]),
            each["name"],
            tests(each),
            *(count(each[column]) for column in columns),
            f"{each['seconds']:,.0f}",
            "; ".join([*each["notes"], *(["short form"] if content["form"] == "short" else [])]),
        )
        for each in content["scenarios"]
    )


def fuzz_table(content: Any) -> Table:
    """The targets of tests/fuzz."""
    return ("target", "seconds", "runs", "edges", "inputs", "laws"), (
        (
            each["target"],
            *(f"{each[column]:,}" for column in ("seconds", "runs", "edges", "inputs")),
            "BROKEN" if each["broken"] else "hold",
        )
        for each in content["targets"]
    )


def mutation_table(content: Any) -> Table:
    """The targets of tests/mutation."""
    return (
        ("target", "mutants", "killed", "survived", "of these explained", "share", "aim", "met"),
        (
            (
                each["target"],
                *(f"{each[name]:,}" for name in ("mutants", "killed", "survived", "explained")),
                f"{each['killed'] / each['mutants']:.1%}",
                f"{each['aim']:.0%}",
                yes(each["met"]),
            )
            for each in content["targets"]
        ),
    )


def soak_table(content: Any) -> Table:
    """The processes of `bench.soak`."""
    return ("process", "MiB", "then", "files", "then", "flat"), (
        (
            each["process"],
            *(f"{value:,.0f}" for value in (*each["memory_mib"], *each["files"])),
            yes(each["flat"]),
        )
        for each in content["processes"]
    )


def bytes_table(content: Any) -> Table:
    """The topics and tables of `bench.bytes`: bytes of all mails together, and of a hit."""
    return ("in", "of", "bytes", "bytes a hit"), (
        (store, of, f"{size:,}", number(size / content["hits"]))
        for store in ("kafka", "clickhouse")
        for of, size in content[store].items()
    )


def number(value: float) -> str:
    """Whole, or with the digits that a small one needs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def share(value: float | None) -> str:
    """Four digits; a dash where nothing is to be said."""
    return "–" if value is None else f"{value:.4f}"


def aim(row: Mapping[str, Any]) -> str:
    """The least, or the most."""
    if row["aim"] is None:
        return ""
    return f"{'≤' if row['less'] else '≥'} {row['aim']:g}"


def yes(value: bool | None) -> str:
    """Whether an aim is met; nothing without one."""
    return {True: "yes", False: "**no**", None: ""}[value]


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(read_all(COMMANDS)), "utf-8")
    print("docs/evidence.md")
    return 0
