"""Metrics: every one in the list is written somewhere, named as Prometheus wants, and known."""

from __future__ import annotations

import ast

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from mailwake import metrics
from tests.unit.packages import PACKAGES

NAMES = {name for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}


def used_in(code: str) -> set[str]:
    """The metrics that code names, as `metrics.NAME` or imported."""
    tree = ast.walk(ast.parse(code))
    named = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in tree
        if isinstance(node, ast.Attribute | ast.Name)
    }
    return named & NAMES


def used() -> set[str]:
    files = [file for folder in PACKAGES.values() for file in folder.rglob("*.py")]
    return set().union(
        *(used_in(file.read_text("utf-8")) for file in files if file.name != "metrics.py")
    )


def test_every_metric_is_used() -> None:
    assert used() == NAMES


def test_one_that_nobody_uses_would_be_found() -> None:
    assert used_in("from mailwake import metrics\nmetrics.EDGE_HITS.inc()") == {"EDGE_HITS"}
    assert used_in("# metrics.EDGE_HITS\nx = 'EDGE_HITS'") == set()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_metric_is_named_as_prometheus_wants(name: str) -> None:
    metric = getattr(metrics, name)
    (described,) = metric.describe()
    # prometheus_client takes the `_total` of a counter off and shows it again.
    shown = described.name + "_total" * isinstance(metric, Counter)
    assert shown.startswith(f"mailwake_{name.lower()}")
    assert described.documentation
    if isinstance(metric, Histogram):
        assert shown.endswith("_seconds")
    if isinstance(metric, Gauge):
        assert not shown.endswith("_total")


def made_in(code: str) -> set[str]:
    """The metrics that code makes: calls of what it imports from prometheus_client."""
    nodes = list(ast.walk(ast.parse(code)))
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
    }
    called = {
        node.func.id
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return imported & called & {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


def test_metrics_are_made_in_one_module() -> None:
    makers = [
        f"{package}/{file.name}"
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*.py")
        if made_in(file.read_text("utf-8"))
    ]
    assert makers == ["mailwake/metrics.py"]
