"""Mutation testing's own parts: the faults that are made, and the explained survivors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.__main__ import all_of, explanations, stale
from tests.mutation.mutants import mutants, with_fault
from tests.mutation.targets import ROOT, TARGETS

SOURCE = '''
"""A module."""
import logging
from typing import Literal
LIMIT = 3
Kind = Literal["open"]
class Box:
    """Has things."""
    def add(self, number: "int", *, strict: bool = True) -> "int":
        """Adds."""
        log.info("added %s", number)
        if number > LIMIT and strict:
            raise ValueError("a number that is too large")
        self.kept = number
        return number + 1
def outside(texts):
    return [text for text in texts if not text]
'''


def faults(within: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    return {(each.before, each.after) for each in mutants(SOURCE, within, without)}


def test_each_mutant_is_one_small_fault() -> None:
    assert faults(("Box.add",)) == {
        ("def add(self, number: 'int', *, strict: bool=True) -> 'int'",
         "def add(self, number: 'int', *, strict: bool=False) -> 'int'"),
        ("if number > LIMIT and strict", "if not (number > LIMIT and strict)"),
        ("if number > LIMIT and strict", "if number > LIMIT or strict"),
        ("if number > LIMIT and strict", "if True and strict"),
        ("if number > LIMIT and strict", "if number > LIMIT and True"),
        ("if number > LIMIT and strict", "if number >= LIMIT and strict"),
        ("if number > LIMIT and strict", "if number <= LIMIT and strict"),
        ("raise ValueError('a number that is too large')", "pass"),
        ("self.kept = number", "pass"),
        ("return number + 1", "return None"),
        ("return number + 1", "return number - 1"),
        ("return number + 1", "return number + 2"),
        ("return number + 1", "return number + 0"),
    }  # fmt: skip


def test_what_is_outside_of_the_scopes_is_left_alone() -> None:
    assert {before for before, _ in faults(without=("Box",))} == {
        "LIMIT = 3",
        "return [text for text in texts if not text]",
    }
    assert faults(("Bo",)) == set()


def test_a_mutant_is_its_module_with_that_fault_alone() -> None:
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in mutants(SOURCE):
        faulty = ast.unparse(with_fault(SOURCE, mutant)).splitlines()
        assert len(faulty) == len(plain)
        assert sum(one != other for one, other in zip(plain, faulty, strict=True)) == 1
        compile(with_fault(SOURCE, mutant), "faulty", "exec")


def test_names_tell_mutants_apart_and_outlive_other_lines() -> None:
    names = [each.name for each in mutants(SOURCE)]
    assert len(names) == len(set(names))
    assert [each.name for each in mutants("# more\n" + SOURCE)] == names


def test_the_targets_are_there() -> None:
    for target in TARGETS:
        for module in target.modules:
            made = mutants(module.source, module.within, module.without)
            assert {scope for scope in module.within if not any(
                each.is_in([scope], ()) for each in made)} == set()  # fmt: skip
            assert made
        assert all((ROOT / test).is_file() for test in target.tests)


def test_each_explanation_is_of_a_mutant_and_gives_a_reason(tmp_path: Path) -> None:
    assert stale(explanations()) == []
    one = all_of(TARGETS[0])[0]
    entry = f'[[survivor]]\nmodule = "{one[0].name}"\nname = "{one[1].name}"\nwhy = "{{}}"\n'
    file = tmp_path / "survivors.toml"
    file.write_text(entry.format("equivalent"))
    assert stale(explanations(file)) == []
    file.write_text(entry.format("equivalent").replace(one[1].name, "00000000"))
    assert stale(explanations(file)) == [f"{one[0].name} 00000000"]
    for wrong in (entry.format(""), entry.format("a") * 2):
        file.write_text(wrong)
        with pytest.raises(ValueError, match="twice, or has no reason"):
            explanations(file)
