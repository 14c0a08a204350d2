"""The page of faults, the marks, and the table of a run say the same."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.fault_table import Scenario, gathered, scenarios, table

TESTS = Path(__file__).parents[1]


def marks() -> dict[int, list[str]]:
    """The numbers that tests are marked with, and where; in decorators and in parameters."""
    found: dict[int, list[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                number = ast.literal_eval(node.args[0])
                found.setdefault(number, []).append(f"{file.relative_to(TESTS)}:{node.lineno}")
    return found


def test_every_scenario_has_its_tests_and_every_mark_its_scenario() -> None:
    assert marks().keys() == scenarios().keys()


def report(
    name: str, outcome: str, *properties: tuple[str, object], when: str = "call"
) -> pytest.TestReport:
    made = pytest.TestReport(name, ("", 0, ""), {}, outcome, None, when, duration=1.5)  # type: ignore[arg-type]
    made.user_properties = list(properties)
    return made


def test_what_tests_counted_is_added_up() -> None:
    said = gathered(
        [
            report("a", "passed", ("fault", 3), ("tally", [{"injected": 20, "lost": 0}, "first"])),
            report("b", "failed", ("fault", 3), ("tally", [{"injected": 1, "lost": 2}, ""])),
            report("c", "skipped", ("fault", 8), when="setup"),
            report("a", "passed", ("fault", 3), when="teardown"),
            report("d", "failed", ("fault", 9), when="setup"),
            report("unmarked", "passed"),
        ]
    )
    by_number = {each.number: each for each in said}
    assert by_number.keys() == scenarios().keys()
    three = by_number[3]
    assert (three.tests, three.failed, three.injected, three.lost) == (2, 1, 21, 2)
    assert (three.answered, three.doubled, three.notes) == (None, None, ["first"])
    assert (by_number[8].tests, by_number[8].skipped) == (1, 1)
    assert (by_number[9].tests, by_number[9].failed) == (1, 1)
    assert by_number[1].tests == 0


def test_the_table_names_what_failed_and_what_did_not_run() -> None:
    lines = table(
        [
            Scenario(3, "kill -9", tests=2, failed=1, injected=1234, lost=2, notes=["a", "b"]),
            Scenario(4, "a torn end"),
        ]
    ).splitlines()
    assert "1,234" in lines[1]
    assert "1 FAILED" in lines[1]
    assert lines[1].endswith("a; b")
    assert "not run" in lines[2]
    assert len({line.find("injected") for line in lines[:1]}) == 1
