"""axe-core (https://github.com/dequelabs/axe-core): looks for faults of accessibility in a page.

It comes from npm, one pinned version whose archive is checked; where npm is not there, tests that
want it are skipped.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Page
from tests.running import wait_until

VERSION = "4.14.1"
SHA512 = (
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NP"
    "jCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
"""Of the archive, as npm writes it."""

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm, which brings axe-core")


def fetch(folder: Path) -> str:
    """The script. Skips the test when npm cannot bring it; fails when it brings another."""
    command = ["npm", "pack", f"axe-core@{VERSION}", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm does not bring axe-core ({type(error).__name__})")
    archive = folder / f"axe-core-{VERSION}.tgz"
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert f"sha512-{digest}" == SHA512, "axe-core is not the one that is pinned"
    with tarfile.open(archive) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def faults(page: Page, script: str) -> list[str]:
    """The serious and critical faults of the page as it stands, a line each."""
    page.ask(script + ";0")
    page.ask("axe.run().then(found => { window.found = found.violations }); 0")
    wait_until("axe has looked", lambda: page.ask("window.found !== undefined"), 30)
    found: list[dict[str, Any]] = page.ask("window.found")
    return [
        f"{fault['id']} ({fault['impact']}): {fault['help']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
