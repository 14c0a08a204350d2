"""docs/security.md: the tests that it names are there, and every threat has one."""

from __future__ import annotations

import ast
import re

import pytest

from tests.unit.packages import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## The threats\n")[2].partition("\n\n")[0].splitlines()[2:]
]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def test_the_table_is_read() -> None:
    assert len(ROWS) > 15
    assert all(len(row) == 5 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_every_threat_is_met_by_something_that_shows_it(row: list[str]) -> None:
    shown = row[4]
    assert "::" in shown or "](decisions/" in shown


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_is_there(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    functions = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert name in functions


@pytest.mark.parametrize("decision", sorted(set(re.findall(r"\]\((decisions/[\w.-]+)\)", PAGE))))
def test_a_named_decision_is_there(decision: str) -> None:
    assert (ROOT / "docs" / decision).is_file()
