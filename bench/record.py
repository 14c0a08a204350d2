"""The files of bench/results: what was measured, of which commit, when, where, by which command."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Record:
    """One file.

    Attributes:
        command: what writes it, as `make bench`.
        commit: the source that was measured, with `+` when it had changes that were not committed.
        date: UTC, YYYY-MM-DD.
        machine: its cores, memory and software.
        content: what was measured, as JSON.
    """

    command: str
    commit: str
    date: str
    machine: str
    content: Any

    def write(self, file: Path) -> None:
        """Writes it. Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "command": self.command,
            "commit": self.commit,
            "date": self.date,
            "machine": self.machine,
            "content": self.content,
        }
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def record(command: str, content: Any) -> Record:
    """What was measured here and now."""
    return Record(command, commit(), f"{datetime.now(UTC):%Y-%m-%d}", machine(), content)


def read_record(file: Path) -> Record | None:
    """A file of results; None where there is none. Raises ValueError when it is none."""
    if not file.exists():
        return None
    try:
        return Record(**json.loads(file.read_text("utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: not a file of results ({error})") from None


def commit() -> str:
    """The commit of the source, twelve digits; `unknown` outside of a clone."""
    told = _git("rev-parse", "--short=12", "HEAD").strip()
    # What is measured does not hang on the results themselves, nor on pages.
    changed = _git("status", "--porcelain", "--", ".", ":!bench/results", ":!docs")
    return (told + ("+" if changed else "")) if told else "unknown"


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(RESULTS.parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> str:
    """In one line: `2 cores of AMD EPYC, 8 GiB, Linux 6.1, Python 3.11.9`."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        cores = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        cores = ""
    model = re.search(r"^model name\s*: (.+)$", cores, re.MULTILINE)
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}, "
        f"{round(pages / (1 << 30))} GiB, {platform.system()} {kernel}, "
        f"Python {platform.python_version()}"
    )
