"""An instrumented mail looks as it looked before, and opening it fetches the pixel once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mailwake import Tracker, read_keyring
from mailwake.settings import Settings
from tests.chromium import Chromium, Page, needs_chromium
from tests.e2e.published import hits
from tests.mails import MAILS, Leaf, leaves
from tests.running import Service, wait_until
from tests.website import Website

pytestmark = needs_chromium


def opened(page: Page, site: Website, leaf: Leaf) -> tuple[bytes, list[str]]:
    """What HTML looks like as a PNG, and the addresses it made the browser ask for."""
    site.pages["/mail"] = f"text/html; charset={leaf.charset or 'utf-8'}", leaf.body
    before = len(page.requests)
    page.open(f"{site.url}/mail")
    return page.picture(), page.requests[before:]


def test_mail_looks_as_before_and_its_pixel_is_fetched_once(
    settings: Settings, tmp_path: Path
) -> None:
    tracker = Tracker(read_keyring(settings.keyring), settings.tracking_url)
    tracked: set[str] = set()
    looked = 0
    with (
        Service("edge", settings, tmp_path / "edge.log"),
        Website() as site,
        Chromium(tmp_path / "profile") as browser,
    ):
        page = browser.page()
        for name, message in MAILS.items():
            done = tracker.instrument(message, tenant="acme", user="ben")
            if done.send.opens:
                tracked.add(done.send.message_id)
            changes = zip(leaves(message), leaves(done.message), strict=True)
            for before, after in ((one, two) for one, two in changes if one.html):
                looks, asked = opened(page, site, before)
                assert page.picture() == looks, f"{name}: two pictures of one page differ"
                looks_now, asked_now = opened(page, site, after)
                assert looks_now == looks, f"{name} looks different"
                assert asked == [url for url in asked_now if settings.tracking_url not in url]
                fetched = [url for url in asked_now if settings.tracking_url in url]
                assert len(fetched) == done.send.opens, f"{name}: {fetched}"
                looked += 1
        wait_until("the opens", lambda: len(hits(settings)) >= len(tracked), 30)
    assert looked >= 25
    assert Counter((hit.kind, hit.message_id) for hit in hits(settings)) == Counter(
        ("open", message_id) for message_id in tracked
    )


@pytest.mark.parametrize("name", ["unsubscribe", "opt-out"])
def test_a_mail_that_looks_different_is_told_from_it(name: str, tmp_path: Path) -> None:
    """The pictures would show it: one letter more, one pixel more at the end."""
    (leaf,) = (leaf for leaf in leaves(MAILS[name]) if leaf.html)
    with Website() as site, Chromium(tmp_path) as browser:
        page = browser.page()
        looks, _ = opened(page, site, leaf)
        for more in (b".", b'<div style="height:1px"></div>'):
            site.pages["/mail"] = "text/html", leaf.body.replace(b"</body>", more + b"</body>")
            page.open(f"{site.url}/mail")
            assert page.picture() != looks
