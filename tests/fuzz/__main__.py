"""Fuzzes one target after the other, guided by coverage: `python -m tests.fuzz SECONDS [TARGET …]`.

New inputs are kept in the folder build/fuzz and tried first the next time; the seeds of
tests/fuzz/seeds start it off. An input that breaks a law is written to tests/fuzz/seeds, where
`make unit` tries it from then on. Prints a table, and writes bench/results/fuzz.json.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from bench.record import record

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "bench" / "results" / "fuzz.json"
STATUS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
NAMES = ("token", "hit", "send", "html")

ONE = """
import sys
import atheris
with atheris.instrument_imports(include=["mailwake", "mailwake_enricher"]):
    from tests.fuzz.targets import TARGETS
atheris.Setup(sys.argv, TARGETS[{name!r}])
atheris.Fuzz()
"""


def fuzz(name: str, seconds: int) -> dict[str, object]:
    """What came of fuzzing one target for so long; shows the fuzzer's own progress."""
    kept = ROOT / "build" / "fuzz" / name
    kept.mkdir(parents=True, exist_ok=True)
    seeds = HERE / "seeds" / name
    arguments = [f"-max_total_time={seconds}", f"-artifact_prefix={seeds}/", "-timeout=10"]
    arguments += ["-rss_limit_mb=2048", "-print_final_stats=1", str(kept), str(seeds)]
    print(f"fuzzing {name} for {seconds} s …", file=sys.stderr, flush=True)
    begun = shown = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", ONE.format(name=name), *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    runs = coverage = inputs = 0
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said = [*said, line][-60:]
        if status := STATUS.match(line):
            runs, coverage, inputs = int(status[1]), int(status[2]), int(status[4])
            if time.monotonic() > shown + 10:
                shown = time.monotonic()
                told = f"  {shown - begun:.0f} s: {runs:,} runs, {coverage:,} edges"
                print(told, file=sys.stderr, flush=True)
        elif line.startswith("stat::number_of_executed_units:"):
            runs = int(line.rpartition(" ")[2])
    status_code = process.wait()
    if status_code:
        print("".join(said), file=sys.stderr)
    return {
        "target": name,
        "seconds": round(time.monotonic() - begun),
        "runs": runs,
        "edges": coverage,
        "inputs": inputs,
        "broken": status_code != 0,
    }


def main(arguments: list[str]) -> int:
    """Fuzzes; 1 when a law was broken."""
    seconds, names = int(arguments[0]), arguments[1:] or list(NAMES)
    said = [fuzz(name, seconds) for name in names]
    print(f"{'target':8} {'seconds':>8} {'runs':>12} {'edges':>7} {'inputs':>7}  laws")
    for each in said:
        print(
            f"{each['target']:8} {each['seconds']:>8} {each['runs']:>12,} {each['edges']:>7,} "
            f"{each['inputs']:>7,}  {'BROKEN' if each['broken'] else 'hold'}"
        )
    if not arguments[1:]:
        record("make fuzz", {"targets": said}).write(RESULTS)
    return int(any(each["broken"] for each in said))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
