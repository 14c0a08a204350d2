"""The examples of docs/api.md do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailwake.keyring import new_keyring
from mailwake_api.endpoints import ENDPOINTS
from tests.api import Api
from tests.installation import own_topics
from tests.mailbox import HOUR, MINUTE, Mailbox
from tests.running import Service, running, without_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="no curl or no jq")
async def test_every_example_works(kafka: str, clickhouse: str, tmp_path: Path) -> None:
    mailbox = Mailbox(clickhouse)
    mail = mailbox.send(1, "anna", subject="=An offer", tag="=spring")
    click = mailbox.event(mail, "click", HOUR)
    mailbox.happen(mail, mailbox.event(mail, "open", MINUTE), click)
    mailbox.client.close()
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
    settings = await own_topics(
        kafka,
        clickhouse_url=mailbox.url,
        partitions=1,
        keyring=tmp_path / "keys.json",
        api_keys=tmp_path / "mailwake-api-keys.json",
        loader_seconds=0.1,
    )
    api = Api(settings, tmp_path)
    others = [Service(name, settings, tmp_path / f"{name}.log") for name in ("enricher", "loader")]
    with running(api, *others):
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
    assert mail.message_id in (tmp_path / "page.json").read_text()
    assert f'"event_id":"{click.event_id}"' in told
    assert '"sent":1,' in told  # to the contact
    assert '"rows":[{"group":"2026-01-01","mails":1,' in told
    assert "'=spring,https://shop.example/," in told
    assert '"old_secret_until":1' in told
    assert '{"deliveries":[]}' in told
    assert "Thunderbird" in (tmp_path / "clients.csv").read_text()
    copy = json.loads((tmp_path / "export.json").read_text())
    assert len(copy["mails"]) == 3  # two that the page has sent, one known by its display
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert (receipt["state"], receipt["mails"]) == ("done", 3)


def test_the_page_tells_of_every_endpoint_that_needs_a_token() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.who != "public":
            written = endpoint.path.replace("{message_id}", "$MESSAGE")
            written = written.replace("{erasure_id}", "$ERASURE")
            written = written.replace("{webhook_id}", "$WEBHOOK")
            written = written.replace("{delivery_id}", "$DELIVERY")
            assert written.replace("{recipient_id}", "$RECIPIENT") in PAGE
