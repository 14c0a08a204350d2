"""A real browser opens an instrumented mail and follows one of its links."""

from __future__ import annotations

import asyncio
import email
import email.policy
import importlib.resources
import shutil
import subprocess
from pathlib import Path

import pytest

from mailwake import Tracker, read_keyring
from mailwake.contracts import HIT, Hit
from mailwake.settings import Settings
from mailwake_local.mail_program import references
from tests.running import Service, wait_until
from tests.topics import read_all

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: sudo apt-get install chromium"
)


def browse(address: str, profile: Path) -> None:
    """Opens an address in a fresh headless Chromium and lets the page load."""
    assert CHROMIUM is not None
    subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",  # the tests may run as root
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            address,
        ],
        check=False,  # the target of the link lies outside of this machine
        capture_output=True,
        timeout=60,
    )


def hits(settings: Settings) -> list[Hit]:
    """All hits that were published."""
    found: list[Hit] = []
    for record in asyncio.run(read_all(settings, "hits")):
        found += HIT.read(record.value)[0]
    return found


def test_a_browser_loads_the_pixel_once_and_follows_a_link(
    settings: Settings, tmp_path: Path
) -> None:
    tracker = Tracker(read_keyring(settings.keyring), settings.tracking_url)
    mail = importlib.resources.files("mailwake").joinpath("data", "demo.eml").read_bytes()
    tracked = tracker.instrument(mail, tenant="acme", user="ben")
    parsed = email.message_from_bytes(tracked.message, policy=email.policy.default)
    body = parsed.get_body(("html",))
    assert body is not None
    page = tmp_path / "mail.html"
    page.write_text(body.get_content(), encoding="utf-8")
    _, links = references(tracked.message)
    link = next(link for link in links if link.startswith(settings.tracking_url))
    with Service("edge", settings, tmp_path / "edge.log"):
        browse(page.as_uri(), tmp_path / "opened")
        wait_until("the open", lambda: [hit.kind for hit in hits(settings)] == ["open"], 20)
        browse(link, tmp_path / "clicked")
        wait_until("the click", lambda: len(hits(settings)) >= 2, 20)
    opened, *clicked = hits(settings)
    assert {hit.kind for hit in clicked} == {"click"}
    for hit in (opened, *clicked):
        assert hit.message_id == tracked.send.message_id
        assert "Chrome" in hit.agent
        assert hit.network == "127.0.0.0/24"
    assert clicked[0].target == tracked.send.links[clicked[0].link or 0]
