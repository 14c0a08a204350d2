"""`mailwake up` and other commands, as a person runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from mailwake.clickhouse import ClickHouse
from mailwake.settings import Settings, read_settings
from mailwake_local.kafka_users import ADMIN, KafkaUsers
from tests.running import wait_until, without_settings

COMMAND = [sys.executable, "-m", "mailwake"]
SECURED = False
"""Whether Kafka is to ask who comes (`--secured`)."""
START_S = 180.0
"""For a machine that has everything to fetch; a start takes some 10 s."""


def environ(home: Path, **more: str) -> dict[str, str]:
    """The environment of a person with no settings but the data folder."""
    return without_settings() | {"MAILWAKE_HOME": str(home)} | more


def mailwake(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command, run to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environ(home, **more),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def assert_gone(processes: list[psutil.Process], within_s: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert not alive, [process.cmdline() for process in alive]


class Up:
    """One `mailwake up --any-ports`; with `SECURED`, unless it is `plain`, its Kafka asks who
    comes."""

    def __init__(self, home: Path, *arguments: str, plain: bool = False) -> None:
        self.home = home
        arguments += ("--secured",) * (SECURED and not plain)
        self._out = home.parent / "up.out"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--any-ports", *arguments],
                env=environ(home),
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self._out.read_text("utf-8")

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.said
            return "Ready in" in self.said

        wait_until("mailwake up is ready", ready, START_S)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def parts(self, *words: str) -> list[psutil.Process]:
        """The processes with these words on their command line, one after the other."""
        wanted = " ".join(words) + " "
        return [
            process for process in self.descendants() if wanted in " ".join(process.cmdline()) + " "
        ]

    def part(self, *words: str) -> psutil.Process:
        """The only one of `parts`."""
        (found,) = self.parts(*words)
        return found

    def run_json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.home / "run.json").read_text("utf-8"))
        return told

    def settings(self) -> Settings:
        """The settings that reach the system; where Kafka asks who comes, those of its admin."""
        told = read_settings(self.run_json()["settings"])
        users = self.home / "kafka-users"
        return replace(told, **KafkaUsers(users).of(ADMIN)) if users.exists() else told

    def events(self) -> set[str]:
        """The ids of all events in ClickHouse."""
        clickhouse = ClickHouse(self.run_json()["settings"]["CLICKHOUSE_URL"])
        try:
            return {str(row[0]) for row in clickhouse.query("SELECT event_id FROM events FINAL")}
        finally:
            clickhouse.close()

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and gives the exit status; the children must be gone then."""
        children = self.descendants()
        self.process.send_signal(number)
        status = self.process.wait(60)
        assert_gone(children, 0 if number != signal.SIGKILL else 30)
        return status
