"""Runs every stage and prints the table; writes bench/results/latest.json."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench.record import record
from bench.row import Row
from mailwake.errors import MailwakeError

STAGES = (
    "instrument",
    "edge",
    "enricher",
    "recovery",
    "loader",
    "notifier",
    "bell",
    "way",
    "mailbox",
)
RESULTS = Path(__file__).parent / "results" / "latest.json"


def table(rows: list[Row]) -> str:
    """The rows as a table for people, widths fitted."""
    head = ("stage", "ours", "beside", "unit", "ratio", "aim", "met", "beside what")
    lines = [head] + [
        (
            row.stage,
            f"{row.figure:,.0f}",
            f"{row.beside:,.0f}",
            row.unit,
            f"{row.ratio:.2f}",
            "" if row.aim is None else f"{row.aim:.2f}",
            {True: "yes", False: "no", None: ""}[row.met],
            row.beside_what,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    right = {1, 2, 4, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def main(wanted: list[str]) -> int:
    """Measures the wanted stages (all, unless some are named); 1 when one could not be measured."""
    unknown = set(wanted) - set(STAGES)
    if unknown:
        print(f"bench: no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
        return 2
    rows: list[Row] = []
    failed = False
    for stage in wanted or STAGES:
        print(f"measuring {stage} …", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"bench.{stage}").measure()
        except MailwakeError as error:
            failed = True
            print(f"bench {stage}: {error}", file=sys.stderr)
    print(table(rows))
    if not wanted and not failed:
        record("make bench", [row.as_dict() for row in rows]).write(RESULTS)
        print(f"written to {RESULTS.relative_to(Path.cwd())}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
