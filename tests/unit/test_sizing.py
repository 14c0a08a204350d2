"""`mailwake size`: its laws, its figures and its page."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.errors import ConfigError
from mailwake.sizing import Assumptions, Figures, Load, Size, size, size_command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
RESULTS = ROOT / "bench" / "results"

LOADS = st.builds(
    Load,
    sends_per_day=st.floats(0, 1e10),
    recipients=st.floats(1, 100),
    opens_per_send=st.floats(0, 100),
    clicks_per_send=st.floats(0, 100),
    peak_factor=st.floats(1, 100),
    retention_days=st.integers(1, 180),
)
GROWS = st.sampled_from([each.name for each in dataclasses.fields(Load)])


@given(LOADS, GROWS, st.floats(1, 10))
def test_more_never_takes_less(load: Load, name: str, times: float) -> None:
    more = min(180, math.ceil(load.retention_days * times))
    grown = more if name == "retention_days" else getattr(load, name) * times
    small, large = size(load), size(dataclasses.replace(load, **{name: grown}))
    for each in dataclasses.fields(Size):
        before, after = getattr(small, each.name), getattr(large, each.name)
        assert after >= before * (1 - 1e-9), each.name


@given(LOADS)
def test_each_worker_finds_a_partition_and_no_process_is_overcharged(load: Load) -> None:
    found, known, taken = size(load), Figures(), Assumptions()
    workers = (found.enricher, found.loader, found.notifier)
    assert found.partitions >= max(workers) * taken.grows
    assert found.partitions.bit_count() == 1
    assert min(*workers, found.edge, found.api) >= taken.least
    assert found.kafka_brokers >= taken.kafka_copies
    for rate, count, most in (
        (found.hits_s, found.enricher, known.enricher_hits_s),
        (found.hits_s, found.edge, known.edge_opens_s),
        (found.rows_s, found.loader, known.loader_rows_s),
        (found.hits_s * known.events_per_hit, found.notifier, known.notifier_events_s),
    ):
        assert rate <= count * most * taken.used * (1 + 1e-9)
    servers = found.clickhouse_servers
    assert found.clickhouse_disk <= servers * taken.shard_disk * (1 + 1e-9)
    assert found.kafka_disk <= found.kafka_brokers * taken.broker_disk * (1 + 1e-9)


@given(LOADS)
def test_what_is_kept_grows_with_the_days_alone(load: Load) -> None:
    """Twice the days, counted from sending until the row goes, is twice the disk of ClickHouse."""
    days = load.retention_days + 30
    one = size(load).clickhouse_disk / days
    other = size(dataclasses.replace(load, retention_days=1)).clickhouse_disk / 31
    assert math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sends_per_day": -1}, "--sends-per-day -1"),
        ({"sends_per_day": math.nan}, "--sends-per-day nan"),
        ({"sends_per_day": 1, "peak_factor": 0.5}, "--peak-factor"),
        ({"sends_per_day": 1, "recipients": 0}, "--recipients"),
        ({"sends_per_day": 1, "retention_days": 181}, "--retention-days"),
    ],
)
def test_a_load_that_there_cannot_be_is_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        size(Load(**wrong))  # type: ignore[arg-type]


def test_the_worked_examples_are_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = re.findall(
        r"^```text\n\$ mailwake (size [^|\n]*?)(?: \| head -(\d+))?\n(.*?)^```$", PAGE, re.M | re.S
    )
    assert len(examples) == 2
    for line, head, told in examples:
        assert size_command(line.split()[1:]) == 0
        printed = capsys.readouterr().out.splitlines(keepends=True)
        assert told == "".join(printed[: int(head)] if head else printed)


def test_json_tells_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    size_command(["--sends-per-day", "5e6", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["size"] == dataclasses.asdict(size(Load(5e6)))
    assert told["assumed"]["kafka_days"] == 7


def measured() -> dict[str, float]:
    """The figures as bench/results has them."""
    rows = json.loads((RESULTS / "latest.json").read_text("utf-8"))["content"]
    rates = {row["stage"]: row["figure"] for row in rows}
    there = json.loads((RESULTS / "bytes.json").read_text("utf-8"))["content"]
    of = {"send": "mails", "display": "mails", "hit": "hits", "event": "events", "alert": "alerts"}
    writes = {kind: there[name] for kind, name in of.items()}
    kafka = {f"kafka_bytes_{k}": there["kafka"][f"{k}s"] / n for k, n in writes.items()}
    del writes["alert"]  # no table has them
    tables = {f"clickhouse_bytes_{k}": there["clickhouse"][f"{k}s"] / n for k, n in writes.items()}
    return {
        "edge_opens_s": rates["edge: pixel, strict"],
        "edge_clicks_s": rates["edge: click, strict"],
        "enricher_hits_s": rates["enricher: hits"],
        "loader_rows_s": rates["loader: events"],
        "notifier_events_s": there["notifier_events_s"],
        "events_per_hit": there["events"] / there["hits"],
        "alerts_per_hit": there["alerts"] / there["hits"],
        "kafka_bytes_track": there["kafka"]["tracks"] / (there["mails"] + there["hits"]),
        "clickhouse_bytes_track": there["clickhouse"]["tracks"] / there["mails"],
        **kafka,
        **tables,
    }


def test_the_figures_are_those_that_were_measured() -> None:
    """Bytes within a third. A rate is at most a third above: what a faster run measured is no
    promise, what a slower one measured is put into `Figures`."""
    found = measured()
    assert found.keys() == {each.name for each in dataclasses.fields(Figures)}
    for name, value in found.items():
        figure = getattr(Figures(), name)
        assert figure <= value * 4 / 3, name
        if not name.endswith("_s"):
            assert figure >= value * 2 / 3, name


def test_so_many_workers_carry_what_they_are_planned_for() -> None:
    """As measured with 1, 2 and 4 partitions: all together where each had a core, and of a core."""
    rows = json.loads((RESULTS / "scaling.json").read_text("utf-8"))["content"]
    found = {
        (int(match[1]), int(match[2]), row["unit"]): row["figure"]
        for row in rows
        if (match := re.fullmatch(r"scaling: partitions (\d+), workers (\d+)", row["stage"]))
    }
    assert {partitions for partitions, _, _ in found} == {1, 2, 4}
    for (_, workers, unit), figure in found.items():
        planned = Assumptions().used * found[1, 1, unit]
        if unit == "hits/s of a core":
            assert figure >= planned
        elif workers <= 2:  # as many as the machine had cores
            assert figure >= workers * planned
