"""Simulates mails, judges them, prints what is right; writes bench/results/quality.json."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench.quality.arrival import Arrival, View, numbers_seen
from bench.quality.enriched import enrich
from bench.quality.parameters import read_parameters
from bench.quality.report import measures, report
from bench.quality.score import Score, score
from bench.quality.traffic import mails
from bench.record import record

SEEDS = 5
MAILS = 4_000
PARTITIONS = 8
RESULTS = Path(__file__).parents[1] / "results" / "quality.json"


def run(seed: int, count: int, view: View = "all") -> Score:
    """The score of one seed's mails."""
    parameters = read_parameters(seed)
    numbers = numbers_seen(view, parameters.networks)
    sent = list(mails(parameters, seed, count))
    arrival = Arrival(parameters.transport, PARTITIONS, seed, numbers)
    enriched = enrich(arrival.records(sent), PARTITIONS)
    return score(sent, arrival.labels, enriched, parameters.burst)


def main(argv: Sequence[str]) -> int:
    """Runs all seeds; the same arguments give the same figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="how many worlds (default %(default)s)"
    )
    parser.add_argument(
        "--mails", type=int, default=MAILS, help="mails of each (default %(default)s)"
    )
    parser.add_argument("--first", type=int, default=1, help="the first seed (default %(default)s)")
    parser.add_argument(
        "--networks",
        choices=get_args(View),
        default="all",
        help="what the edge knows of networks (default %(default)s)",
    )
    wanted = parser.parse_args(argv)
    if wanted.seeds < 1 or wanted.mails < 1:
        parser.error("--seeds and --mails are at least 1")
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    began = time.perf_counter()
    scores = []
    for seed in seeds:
        print(f"simulating seed {seed} of {seeds[0]} to {seeds[-1]} …", file=sys.stderr, flush=True)
        scores.append(run(seed, wanted.mails, wanted.networks))
    print(report(scores, seeds))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if wanted == parser.parse_args([]):
        rows = [measure.as_dict() for measure in measures(scores)]
        record("make quality", rows).write(RESULTS)
        print(f"written to {RESULTS.relative_to(Path.cwd())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
