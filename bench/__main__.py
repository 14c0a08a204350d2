"""Runs every stage and prints the table; writes bench/results/latest.json.

`python -m bench STAGE …` runs some alone. The stages `recovery` and `scaling` have files of their
own. `python -m bench charts` and `python -m bench evidence` make docs/charts and docs/evidence.md
of all files of results.
"""

from __future__ import annotations

import importlib
import sys

from bench.record import RESULTS, record
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
"""What `make bench` measures."""

APART = ("scaling",)
"""Measured when it is named alone: it takes long."""

FILES = ("recovery", "scaling")
"""The stages that have files of their own."""

PAGES = ("charts", "evidence")
"""Made of the files of results."""


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
    if len(wanted) == 1 and wanted[0] in PAGES:
        return int(importlib.import_module(f"bench.{wanted[0]}").main())
    unknown = set(wanted) - {*STAGES, *APART}
    if unknown:
        told = ", ".join((*STAGES, *APART))
        print(f"bench: no stage {', '.join(sorted(unknown))}; there are {told}")
        return 2
    rows: list[Row] = []
    failed = False
    for stage in wanted or STAGES:
        print(f"measuring {stage} …", file=sys.stderr, flush=True)
        try:
            measured = importlib.import_module(f"bench.{stage}").measure()
        except MailwakeError as error:
            failed = True
            print(f"bench {stage}: {error}", file=sys.stderr)
            continue
        rows += measured
        if stage in FILES:
            write(stage, f"python -m bench {stage}", measured)
    print(table(rows))
    if not wanted and not failed:
        write(
            "latest",
            "make bench",
            [row for row in rows if row.stage.partition(":")[0] not in FILES],
        )
    return int(failed)


def write(name: str, command: str, rows: list[Row]) -> None:
    """Writes a file of results."""
    record(command, [row.as_dict() for row in rows]).write(RESULTS / f"{name}.json")
    print(f"written to bench/results/{name}.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
