"""A real Prometheus beside a test, and the queries that our dashboards ask it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailwake_local.ports import free_port
from tests.running import wait_until

_DEPLOY = Path(__file__).parents[1] / "deploy"
PROMETHEUS = _DEPLOY / "prometheus"
RULES = PROMETHEUS / "rules.yml"
GRAFANA = _DEPLOY / "grafana"


def queries() -> list[tuple[str, str, str]]:
    """Dashboard, panel and query of all that our dashboards ask."""
    return [
        (file.stem, panel["title"], target["expr"])
        for file in sorted(GRAFANA.glob("*.json"))
        for panel in json.loads(file.read_text("utf-8"))["panels"]
        for target in panel.get("targets", [])
        if "expr" in target  # the others ask ClickHouse
    ]


class Prometheus:
    """A running Prometheus on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """What an endpoint of its HTTP API answers."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, query: str) -> list[Any]:
        """What a query gives now; a wrong one is an HTTPError."""
        found: list[Any] = self.ask("query", query=query.replace("$__rate_interval", "1m"))[
            "result"
        ]
        return found

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=2):
                return True
        except OSError:
            return False


@contextlib.contextmanager
def prometheus(folder: Path, services: Mapping[str, str]) -> Iterator[Prometheus]:
    """Prometheus with our rules and our scrape job, for services by address and port.

    Where Kubernetes names the pods, the services stand in a list; all else is as in
    deploy/prometheus. Skips the test where Prometheus is not installed.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    config["rule_files"] = [str(RULES)]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    del job["kubernetes_sd_configs"], job["relabel_configs"]
    job["static_configs"] = [
        {"targets": [address], "labels": {"service": name.partition("-")[0], "pod": name}}
        for name, address in services.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        running = Prometheus(port)
        wait_until("Prometheus is ready", running.is_ready)
        yield running
    finally:
        process.terminate()
        process.wait(20)
