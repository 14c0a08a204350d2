"""deploy/prometheus and deploy/grafana: rules by promtool, and queries of metrics that there are.

Each alert has its page and its test. A real Prometheus asks the queries in tests/e2e.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from mailwake import metrics
from tests.deploy.rendering import ROOT
from tests.prometheus import PROMETHEUS, RULES, queries

PAGES = ROOT / "docs" / "operations"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def names() -> set[str]:
    """The names of all our series, as Prometheus has them."""
    found: set[str] = set()
    for each in vars(metrics).values():
        if isinstance(each, MetricWrapperBase):
            (described,) = each.describe()
            found.add(described.name + "_total" * isinstance(each, Counter))
            if isinstance(each, Histogram):
                found |= {f"{described.name}_{part}" for part in ("bucket", "count", "sum")}
    return found


def unknown(query: str) -> set[str]:
    """The series of ours that a query names and nobody exports or records."""
    named = set(re.findall(r"\bmailwake[_:][a-z0-9_:]+", query))
    return named - names() - {rule["record"] for rule in rules() if "record" in rule}


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_not_before() -> None:
    done = promtool("test", "rules", str(PROMETHEUS / "rules.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_does_not_fire_is_found(tmp_path: Path) -> None:
    text = RULES.read_text("utf-8")
    (tmp_path / "rules.yml").write_text(text.replace('up{job="mailwake"} == 0\n', "vector(0)\n"))
    tests = (PROMETHEUS / "rules.test.yml").read_text("utf-8")
    (tmp_path / "rules.test.yml").write_text(tests)
    done = promtool("test", "rules", str(tmp_path / "rules.test.yml"))
    assert done.returncode
    assert "ServiceDown" in done.stdout + done.stderr


def test_every_alert_has_its_test() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text("utf-8"))["tests"]
    fired = {
        each["alertname"]
        for test in tests
        for each in test["alert_rule_test"]
        if each["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_its_page(rule: dict[str, Any]) -> None:
    page = ROOT / rule["annotations"]["runbook"]
    assert page == PAGES / f"{rule['alert']}.md"
    text = page.read_text("utf-8")
    assert text.startswith(f"# {rule['alert']}\n")
    assert "\n## Look\n" in text
    assert "\n## Do\n" in text
    assert rule["alert"] in (PAGES / "README.md").read_text("utf-8")
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_page_of_an_alert_has_its_alert() -> None:
    others = {"README", "kubernetes"}
    pages = {page.stem for page in PAGES.glob("*.md")} - others
    assert {page for page in pages if page[0].isupper()} == {rule["alert"] for rule in ALERTS}


def test_rules_and_dashboards_ask_for_what_there_is() -> None:
    asked = [rule["expr"] for rule in rules()]
    asked += [query for _, _, query in queries()]
    for query in asked:
        assert unknown(query) == set(), query


def test_what_there_is_not_is_found() -> None:
    assert unknown("rate(mailwake_edge_hit_total[5m])") == {"mailwake_edge_hit_total"}


def test_every_metric_is_on_a_dashboard() -> None:
    """Or asked for by a rule: a measure that nobody looks at measures nothing."""
    asked = " ".join([query for _, _, query in queries()] + [rule["expr"] for rule in rules()])
    for each in vars(metrics).values():
        if isinstance(each, MetricWrapperBase):
            (described,) = each.describe()
            assert described.name in asked, f"{described.name} is on no dashboard"
