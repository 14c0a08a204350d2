"""The table of faults: what was injected, what was answered, and what became of it.

A test that stands for a scenario of docs/faults.md is marked `fault(number)`, wherever it is. With
`--faults FILE` a run ends with a table by scenario, which is written to the file as JSON as well;
with `--long` the scenarios run at their full length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from bench.record import record

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
COLUMNS = ("injected", "answered", "lost", "doubled")


@dataclass
class Scenario:
    """What tests said of one scenario; None where none of them counts such a thing."""

    number: int
    name: str
    tests: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    injected: int | None = None
    answered: int | None = None
    lost: int | None = None
    doubled: int | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, tally: dict[str, int], note: str) -> None:
        """Adds what one test has counted."""
        for column in COLUMNS:
            if column in tally:
                setattr(self, column, (getattr(self, column) or 0) + tally[column])
        if note:
            self.notes.append(note)


def scenarios(page: Path = PAGE) -> dict[int, str]:
    """The scenarios of the page by number: the first two cells of its tables' rows."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+?) \|", page.read_text("utf-8"), re.MULTILINE)
    return {int(number): name for number, name in rows}


def add_options(parser: pytest.Parser) -> None:
    """The two options."""
    group = parser.getgroup("faults")
    group.addoption("--long", action="store_true", help="run fault tests at their full length")
    group.addoption("--faults", metavar="FILE", help="print the table of faults and write it there")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test's report says which scenarios it stands for."""
    for marker in item.iter_markers("fault"):
        item.user_properties.append(("fault", marker.args[0]))


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this is a run at full length."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Called once by a test with what it counted, before it asserts anything of it."""

    def record(*, note: str = "", **counted: int) -> None:
        assert counted.keys() <= set(COLUMNS)
        request.node.user_properties.append(("tally", [counted, note]))

    return record


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Prints the table, and writes it."""
    file = config.getoption("--faults")
    if not file:
        return
    said = gathered(
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    )
    terminalreporter.section("faults")
    terminalreporter.write_line(table(said))
    form = "long" if config.getoption("--long") else "short"
    rows = [asdict(each) for each in said]
    record("make faults", {"form": form, "scenarios": rows}).write(Path(file))


def gathered(reports: Iterable[pytest.TestReport]) -> list[Scenario]:
    """What the reports of marked tests say, by scenario, in the order of the page."""
    found = {number: Scenario(number, name) for number, name in scenarios().items()}
    for report in reports:
        properties = list(report.user_properties)
        if report.when != "call" and report.outcome == "passed":
            continue
        for number in [value for name, value in properties if name == "fault"]:
            assert isinstance(number, int)
            scenario = found[number]
            scenario.tests += 1
            scenario.failed += report.outcome == "failed"
            scenario.skipped += report.outcome == "skipped"
            scenario.seconds = round(scenario.seconds + report.duration, 1)
            for name, value in properties:
                if name == "tally":
                    assert isinstance(value, list)
                    scenario.add(*value)
    return list(found.values())


def table(said: Iterable[Scenario]) -> str:
    """The scenarios as a table for people."""
    lines: list[tuple[str, ...]] = [("", "scenario", "tests", *COLUMNS, "seconds", "")]
    for each in said:
        counts = ("–" if (n := getattr(each, name)) is None else f"{n:,}" for name in COLUMNS)
        tests = str(each.tests)
        tests += f", {each.failed} FAILED" if each.failed else ""
        tests += f", {each.skipped} skipped" if each.skipped else ""
        tests = tests if each.tests else "not run"
        notes = "; ".join(each.notes)
        lines.append((str(each.number), each.name, tests, *counts, f"{each.seconds:,.1f}", notes))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    left = {1, 2, len(widths) - 1}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
