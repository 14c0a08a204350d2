"""A service in its own process that reads a backlog: how much it does in a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mailwake.errors import UnavailableError
from mailwake.settings import Settings, to_environ
from mailwake_local.ports import HOST, free_port

DEADLINE_S = 120.0


def rate_of(service: str, settings: Settings, folder: Path, counter: str, enough: float) -> float:
    """How much a second a service does from its being assigned its partitions on, until its metrics
    count `enough`. `counter` is what the lines of those metrics begin with.

    It is asked seldom, since answering costs it time. Raises UnavailableError when it takes too
    long.
    """

    def count(page: str) -> float:
        lines = (line for line in page.splitlines() if line.startswith(counter))
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    port = free_port()
    with (folder / f"{service}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mailwake.cli", service],
            env=os.environ | to_environ(replace(settings, ops_port=port)),
            stderr=log,
        )
    try:
        _page(service, port, "/ready", lambda _: True)
        begun = time.perf_counter()
        page = _page(service, port, "/metrics", lambda page: count(page) >= enough)
        return count(page) / (time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait()


def _page(service: str, port: int, path: str, holds: Callable[[str], bool]) -> str:
    """Asks a service until what it answers holds, and gives that."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
                page: str = answer.read().decode()
            if holds(page):
                return page
        time.sleep(0.05)
    raise UnavailableError(f"the {service} did not get there within {DEADLINE_S:g} s ({path})")
