"""A real Prometheus beside the running system: metrics, rules, and the dashboards' queries."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from prometheus_client.metrics import MetricWrapperBase

from mailwake import metrics
from tests.e2e.up import Up, mailwake
from tests.prometheus import Prometheus, prometheus, queries
from tests.running import wait_until

EMPTY = {
    "Age of the ASN file",  # there is none here
    "How long hits waited for their send",  # none had to
    "Records that cannot be read",
    "Inserts tried again, values without a row, a second",
    "Judged anew, a second",
    "Gave no event, a second",
    "Gave no alert, a second",
    "Told again, forgotten too soon, a second",
    "Attempts, a second",
    "Given up, put off, without a message, a second",
    "Time of an attempt, and from the alert, 99 %",
    "Digests in a day, and due now",
}
"""Panels that show nothing as long as nothing of the kind has happened."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus that has seen the system and its demonstration."""
    folder = tmp_path_factory.mktemp("prometheus")
    up = Up(folder / "home")
    try:
        up.wait_ready()
        with prometheus(folder, up.run_json()["services"]) as running:
            done = mailwake(folder / "home", "demo")
            assert done.returncode == 0, done.stdout + done.stderr
            rows = 'mailwake_loader_table_rows{table="events"} >= 2'
            wait_until("the demonstration's rows are seen", lambda: bool(running.query(rows)), 90)
            yield running
    finally:
        if up.process.poll() is None:
            up.end(signal.SIGTERM)


def test_every_service_is_scraped(asked: Prometheus) -> None:
    up = {each["metric"]["service"]: each["value"][1] for each in asked.query("up")}
    assert {"edge", "enricher", "loader", "notifier", "relay", "api"} <= up.keys()
    assert set(up.values()) == {"1"}


def test_it_knows_every_metric_of_the_list(asked: Prometheus) -> None:
    known = {name.removesuffix("_total") for name in asked.ask("metadata")}
    listed = {
        described.name
        for each in vars(metrics).values()
        if isinstance(each, MetricWrapperBase)
        for described in each.describe()
    }
    assert listed <= known


def test_what_was_done_is_counted(asked: Prometheus) -> None:
    for series, least in (
        ('mailwake_edge_hits_total{service="edge"}', 2),
        ('mailwake_edge_spooled_total{service="edge"}', 2),
        ('mailwake_edge_produced_total{service="edge"}', 2),
        ('mailwake_enricher_events_total{service="enricher"}', 2),
        ('mailwake_notifier_alerts_total{service="notifier"}', 2),
        ('mailwake_delay_seconds_count{service="enricher", stage="enriched"}', 1),
        ('mailwake_delay_seconds_count{service="notifier", stage="alerted"}', 2),
        ('mailwake_loader_rows_total{service="loader", table="events"}', 2),
        ('mailwake_relay_mails_total{service="relay"}', 1),
    ):
        (found,) = asked.query(f"sum({series})")
        assert float(found["value"][1]) >= least, series
    for service, topic in (("enricher", "hits"), ("loader", "events"), ("notifier", "events")):
        lag = asked.query(f'mailwake_lag_records{{service="{service}", topic="{topic}"}}')
        assert lag, service
        age = f'time() - mailwake_partition_committed_at_seconds{{service="{service}"}}'
        assert all(0 <= float(each["value"][1]) < 600 for each in asked.query(age))


def test_no_loss_is_told_where_there_is_none(asked: Prometheus) -> None:
    for name in ("mailwake_edge_not_kept_total", "mailwake_edge_unsafe_total"):
        found = asked.query(f'{name}{{service="edge"}}')
        assert found
        assert {each["value"][1] for each in found} == {"0"}


@pytest.mark.parametrize(("dashboard", "panel", "query"), queries())
def test_a_query_of_a_dashboard(asked: Prometheus, dashboard: str, panel: str, query: str) -> None:
    found = asked.query(query)
    told_rarely = any(word in query for word in ("refused", "withheld"))
    if panel not in EMPTY and not told_rarely:
        assert found, f"{dashboard}: {panel} shows nothing"


def test_the_rules_are_evaluated_and_nothing_fires(asked: Prometheus) -> None:
    def evaluated() -> bool:
        groups = asked.ask("rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    wait_until("all rules are evaluated", evaluated, 30)
    found = [each["labels"]["alertname"] for each in asked.ask("alerts")["alerts"]]
    assert found == []
