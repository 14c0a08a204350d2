"""The examples of docs/api.md do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from mailwake.keyring import new_keyring
from mailwake.settings import read_settings
from mailwake.topics_apply import apply_topics
from mailwake_api.endpoints import ENDPOINTS
from tests.api import Api
from tests.running import without_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="no curl or no jq")
async def test_every_example_works(kafka: str, tmp_path: Path) -> None:
    new_keyring().write(tmp_path / "keys.json")
    keys, *examples = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(examples) >= 8
    environ = without_settings() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def run(script: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environ | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    run(keys)
    settings = read_settings(
        {},
        kafka_bootstrap=kafka,
        topic_prefix=f"d{uuid.uuid4().hex[:8]}.",
        partitions=1,
        keyring=tmp_path / "keys.json",
        api_keys=tmp_path / "mailwake-api-keys.json",
    )
    await apply_topics(settings)
    api = Api(settings, tmp_path)
    with api:
        told = run("\necho\n".join(examples), API=api.url)
    assert '"opens":false,"clicks":true' in told  # the switches, and the toggles after them
    assert '"last":{"opens":true,"clicks":true}' in told
    assert '"in_force":true' in told
    assert '"wording":"I agree that acme' in told
    assert '{"alerts":[],"unread":0,"next":null,"last_event_id":"0-0"}' in told
    assert 'id: 0-0\nevent: unread\ndata: {"unread":0}\n\n' in told
    tracked = (tmp_path / "tracked.eml").read_text()
    assert "/o/" in tracked  # as the page's consent allows, and its query asks
    assert "/c/" in tracked
    assert '"tracked":{"opens":true,"clicks":true,"mode":"identified","basis":"consent"' in told


def test_the_page_tells_of_every_endpoint_that_needs_a_token() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.who != "public":
            assert endpoint.path in PAGE
