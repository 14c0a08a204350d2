"""A real browser opens an instrumented mail and follows one of its links."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from mailwake import Tracker, read_keyring
from mailwake.settings import Settings
from tests.chromium import Chromium, needs_chromium
from tests.e2e.published import hits
from tests.mails import leaves
from tests.running import Service, wait_until
from tests.website import Website

pytestmark = needs_chromium


def test_a_browser_loads_the_pixel_once_and_follows_a_link(
    settings: Settings, tmp_path: Path
) -> None:
    tracker = Tracker(read_keyring(settings.keyring), settings.tracking_url)
    mail = importlib.resources.files("mailwake").joinpath("data", "demo.eml").read_bytes()
    tracked = tracker.instrument(mail, tenant="acme", user="ben")
    (html,) = (leaf for leaf in leaves(tracked.message) if leaf.html)
    with (
        Service("edge", settings, tmp_path / "edge.log"),
        Website() as site,
        Chromium(tmp_path / "profile") as browser,
    ):
        site.pages["/mail"] = f"text/html; charset={html.charset}", html.body
        page = browser.page()
        page.open(f"{site.url}/mail")
        wait_until("the open", lambda: [hit.kind for hit in hits(settings)] == ["open"], 20)
        page.ask(f"document.querySelector('a[href^=\"{settings.tracking_url}\"]').click()")
        wait_until("the click", lambda: len(hits(settings)) >= 2, 20)
    opened, clicked = hits(settings)
    assert (opened.kind, clicked.kind) == ("open", "click")
    for hit in (opened, clicked):
        assert hit.message_id == tracked.send.message_id
        assert "Chrome" in hit.agent
        assert hit.network == "127.0.0.0/24"
    assert clicked.target == tracked.send.links[clicked.link or 0]
