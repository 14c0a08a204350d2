"""The examples of docs/subscribing.md, taken from the page and run on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mailwake.contracts import ALERT, Alert, user_key
from mailwake.settings import Settings
from tests.following import put
from tests.installation import own_topics
from tests.running import wait_until, without_settings
from tests.unit.api.values import alert

PAGE = (Path(__file__).parents[2] / "docs" / "subscribing.md").read_text("utf-8")
(PYTHON,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
(SHELL,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
async def settings(kafka: str) -> Settings:
    return await own_topics(kafka, partitions=2)


def environ(settings: Settings) -> dict[str, str]:
    return without_settings() | {
        "KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "MAILWAKE_TOPIC_PREFIX": settings.topic_prefix,
    }


async def tell(settings: Settings, *alerts: Alert) -> None:
    await put(
        settings,
        "alerts",
        [(user_key(each.tenant, each.user), ALERT.encode(each)) for each in alerts],
    )


class Program:
    """The page's program, as somebody runs it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environ = environ(settings)
        self._folder = folder
        self._runs = 0

    def start(self) -> None:
        self._runs += 1
        self.said = self._folder / f"said-{self._runs}"
        faults = self._folder / f"faults-{self._runs}"
        (self._folder / "crm.py").write_text(PYTHON, "utf-8")
        with self.said.open("wb") as out, faults.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "crm.py"],
                cwd=self._folder,
                env=self._environ,
                stdout=out,
                stderr=err,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def lines(self, count: int) -> list[str]:
        """What it says, of which there must be so many lines in a while."""

        def done() -> bool:
            assert self.process.poll() is None, self.said.read_text()
            return len(self.said.read_text().splitlines()) >= count

        wait_until(f"{count} lines", done, 60)
        return self.said.read_text().splitlines()

    def table(self) -> dict[str, tuple[int, bool]]:
        """The revision of each alert, and whether it is withdrawn."""
        store = sqlite3.connect(self._folder / "alerts.db")
        try:
            rows = store.execute("SELECT alert_id, revision, withdrawn FROM alerts").fetchall()
            return {row[0][-2:]: (row[1], bool(row[2])) for row in rows}
        finally:
            store.close()


@pytest.fixture
def program(settings: Settings, tmp_path: Path) -> Iterator[Program]:
    made = Program(settings, tmp_path)
    made.start()
    yield made
    made.kill()


def short(lines: list[str]) -> list[str]:
    """What is to be done with which alert."""
    return [f"{line.split()[0]} {line[-2:]}" for line in lines]


async def test_the_program_rings_once_and_keeps_what_holds(
    settings: Settings, program: Program
) -> None:
    one, two, three = alert(1), alert(2), alert(3, quiet=True)
    counted = replace(one, revision=3, count=4, last_at=one.at + 9)
    await tell(settings, one, one, counted, one, two, three)
    assert short(program.lines(4)) == ["ring 01", "change 01", "ring 02", "show 03"]
    # Killed, and told the same again: it says nothing of what it knows.
    program.kill()
    program.start()
    gone = replace(two, revision=2, withdrawn=True)
    await tell(settings, one, counted, gone, two, gone, alert(4, user="eve"))
    again = replace(two, revision=5)
    never = replace(alert(5), withdrawn=True)
    await tell(settings, again, never, alert(6))
    said = program.lines(4)
    assert sorted(short(said)) == ["change 02", "remove 02", "ring 04", "ring 06"]
    assert any(line.startswith("ring acme/eve open ") for line in said)
    assert program.table() == {
        "01": (3, False),
        "02": (5, False),
        "03": (1, False),
        "04": (1, False),
        "05": (1, True),
        "06": (1, False),
    }


async def test_a_field_of_a_later_release_is_passed_over(
    settings: Settings, program: Program
) -> None:
    later: dict[str, Any] = json.loads(ALERT.encode(alert(1))) | {"mood": {"later": [1]}}
    await put(settings, "alerts", [(b"acme/ben", json.dumps(later).encode())])
    assert short(program.lines(1)) == ["ring 01"]


@pytest.mark.skipif(
    not (shutil.which("kcat") and shutil.which("jq")),
    reason="no kcat or no jq: sudo apt-get install kcat jq",
)
async def test_the_line_for_the_shell_shows_what_stands_there(settings: Settings) -> None:
    dana = [alert(number, tenant="demo", user="dana", count=number) for number in (1, 2)]
    await tell(settings, dana[0], alert(3), dana[1], alert(4, user="dana"))
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", SHELL],
        env=environ(settings) | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "at": each.at,
            "kind": "open",
            "message_id": each.message_id,
            "count": each.count if each.count > 1 else None,
            "withdrawn": None,
        }
        for each in dana
    ]
