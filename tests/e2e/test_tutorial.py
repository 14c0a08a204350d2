"""docs/tutorial.md, step by step, on the system that it tells to start."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.up import Up, environ

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="no curl or no jq")
def test_the_tutorial(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    up = Up(tmp_path / "home", plain=True)  # as the page has it
    try:
        up.wait_ready()
        settings = up.run_json()["settings"]
        api = settings["MAILWAKE_WITHDRAWAL_URL"]
        more = {"API": api, "MAILWAKE_WITHDRAWAL_URL": api}  # its ports are any
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
            cwd=tmp_path,
            env=environ(up.home, **more)
            | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr + done.stdout
    finally:
        up.end(signal.SIGTERM)
    said = done.stdout.splitlines()
    assert '"opens": true' in done.stdout
    assert "https://shop.example/offer" in said
    assert said[-1].startswith(f"{api}/signin/")
    told = json.loads((tmp_path / "told.json").read_text())
    assert {event["verdict"] for event in told["events"]} == {"human"}
