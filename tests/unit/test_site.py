"""The documentation as a site: its strict build passes, and nothing in it comes from elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mailwake
from mailwake.topics import registry
from mailwake_api.endpoints import ENDPOINTS

ROOT = Path(__file__).parents[2]
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(https?:|//)"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*\bhref=[\"']?(https?:|//)",
    re.I,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        there = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        if page.stem == "README":
            there = there.with_name("index.html")
        assert there.exists(), page


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    assert _FETCHED.search('<script src="https://unpkg.com/mermaid.js"></script>')
    for page in site.rglob("*.html"):
        found = _FETCHED.search(page.read_text("utf-8"))
        assert found is None, f"{page.name}: {found and found[0]}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:|//)", sheet.read_text("utf-8")), sheet.name


def test_the_reference_is_of_the_code(site: Path) -> None:
    reference = site / "reference"
    library = (reference / "library.html").read_text("utf-8")
    for name in mailwake.__all__:
        assert f'id="mailwake.{name}"' in library, name
    topics = (reference / "topics.html").read_text("utf-8")
    assert all(f">{name}<" in topics for name in registry())
    described = json.loads((reference / "openapi.json").read_text("utf-8"))
    endpoints = (reference / "http.html").read_text("utf-8")
    assert {endpoint.path for endpoint in ENDPOINTS if endpoint.path in described["paths"]}
    assert all(path in endpoints for path in described["paths"])
