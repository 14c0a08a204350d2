"""Mutates what matters most, and asks the unit tests: `python -m tests.mutation [TARGET …]`.

Prints each mutant that survived, and a table; writes bench/results/mutation.json. A survivor is
explained in tests/mutation/survivors.toml, or it fails the run; so does an explanation of one that
there is not any more. EVERY=10 tries every tenth mutant alone (and writes nothing), JOBS=2 are
tried at a time.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.record import record
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.targets import ROOT, TARGETS, Module, Target
from tests.mutation.trials import Outcome, prepare, try_all

SURVIVORS = Path(__file__).parent / "survivors.toml"
RESULTS = ROOT / "bench" / "results" / "mutation.json"
AIM = 0.9
"""Of the mutants of a target, so many are found at the least."""


def explanations(file: Path = SURVIVORS) -> dict[tuple[str, str], str]:
    """Why each survivor may be one, by its module and its name. Raises ValueError."""
    found: dict[tuple[str, str], str] = {}
    for each in tomllib.loads(file.read_text("utf-8")).get("survivor", []):
        key = each["module"], each["name"]
        if key in found or not each["why"]:
            raise ValueError(f"{file.name}: {' '.join(key)} stands twice, or has no reason")
        found[key] = each["why"]
    return found


def all_of(target: Target) -> list[tuple[Module, Mutant]]:
    """The mutants of a target."""
    return [
        (module, mutant)
        for module in target.modules
        for mutant in mutants(module.source, module.within, module.without)
    ]


def mutate(target: Target, why: Mapping[tuple[str, str], str], every: int, jobs: int) -> Any:
    """The row of a target; prints the survivors that nobody has explained."""
    made = all_of(target)[::every]
    say(f"{target.name}: {len(made)} mutants …")
    patience = 3 * prepare(target.tests)
    outcomes: Counter[Outcome] = Counter()
    explained = 0
    unexplained = []
    tried = try_all(made, target.tests, patience, jobs)
    for number, (module, mutant, outcome) in enumerate(tried, 1):
        outcomes[outcome] += 1
        if outcome == "survived":
            if (module.name, mutant.name) in why:
                explained += 1
            else:
                unexplained.append(mutant.name)
                print(shown(module, mutant), flush=True)
        elif outcome == "timeout":
            say(f"{module.file}:{mutant.line}: the tests do not end under {mutant.after}")
        if number % 10 == 0:
            say(f"{target.name}: {number} of {len(made)}, {outcomes['survived']} survived")
    return {
        "target": target.name,
        "modules": [module.file for module in target.modules],
        "mutants": len(made),
        "killed": outcomes["killed"] + outcomes["timeout"],
        "survived": outcomes["survived"],
        "explained": explained,
        "aim": AIM,
        "met": not unexplained and outcomes["survived"] <= (1 - AIM) * len(made),
    }


def shown(module: Module, mutant: Mutant) -> str:
    """A survivor as survivors.toml has it; the reason is to be written, or a test is."""
    return (
        "[[survivor]]\n"
        f'module = "{module.name}"  # {module.file}:{mutant.line}, {mutant.scope}\n'
        f'name = "{mutant.name}"\n'
        f"# - {mutant.before}\n# + {mutant.after}\n"
        'why = ""\n'
    )


def stale(why: Mapping[tuple[str, str], str]) -> list[str]:
    """Explanations of what is no mutant."""
    known = {(module.name, each.name) for target in TARGETS for module, each in all_of(target)}
    return [" ".join(key) for key in why if key not in known]


def main(names: list[str]) -> int:
    """Mutates; 1 when an aim is not met or an explanation is missing or stale."""
    if unknown := set(names) - {target.name for target in TARGETS}:
        told = ", ".join(target.name for target in TARGETS)
        print(f"mutation: no target {', '.join(sorted(unknown))}; there are {told}")
        return 2
    every, jobs = int(os.environ.get("EVERY", "1")), int(os.environ.get("JOBS", "2"))
    why = explanations()
    old = stale(why)
    for each in old:
        print(f"{SURVIVORS.name}: {each} is no mutant any more")
    targets = [target for target in TARGETS if not names or target.name in names]
    rows = [mutate(target, why, every, jobs) for target in targets]
    print(f"{'target':14}{'mutants':>9}{'killed':>9}{'survived':>10}{'explained':>11}")
    for row in rows:
        print(
            f"{row['target']:14}{row['mutants']:>9}{row['killed']:>9}{row['survived']:>10}"
            f"{row['explained']:>11}{'' if row['met'] else '  NOT MET'}"
        )
    if not names and every == 1:
        record("make mutation", {"targets": rows}).write(RESULTS)
    return int(bool(old) or not all(row["met"] for row in rows))


def say(text: str) -> None:
    """Progress."""
    print(f"mutation: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
