"""A tracked link leads a real browser to the very address that the link led it to before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from mailwake import Tracker, read_keyring
from mailwake.keyring import Keyring, new_keyring
from mailwake.settings import Settings
from mailwake_edge.answers import leads_out, location
from tests.chromium import Chromium, Page, needs_chromium
from tests.hrefs import LEFT, TRACKED, mail_of
from tests.mails import MAILS, leaves
from tests.running import Service
from tests.website import Website

pytestmark = needs_chromium

URL = "https://t.mailwake.example"
LINKS = """[...document.querySelectorAll("a[href], area[href]")].map(link => link.href)"""
VML = """[...document.querySelectorAll("v\\\\:roundrect[href]")].map(
    shape => new URL(shape.getAttribute("href"), document.baseURI).href)"""
CONDITION = re.compile(rb"<!--\[if [^\]]*mso[^\]]*\]>(.*?)<!\[endif\]-->", re.S)
READ = "(url => URL.canParse(url) ? new URL(url).href : null)"
"""An address as the browser reads it; null when it leads nowhere."""


@pytest.fixture
def site() -> Iterator[Website]:
    with Website() as site:
        yield site


def links(page: Page, site: Website, message: bytes) -> list[str]:
    """Where the links of a mail's HTML lead, as the browser reads them."""
    found: list[str] = []
    for leaf in leaves(message):
        if leaf.html:
            site.pages["/mail"] = f"text/html; charset={leaf.charset or 'utf-8'}", leaf.body
            page.open(f"{site.url}/mail")
            found += page.ask(LINKS)
    return found


def followed(link: str, keyring: Keyring) -> str:
    """Where a link leads: for a tracked one, what the edge answers as Location."""
    head, _, token = link.partition(f"{URL}/c/")
    if head or not token:
        return link
    target = keyring.open(token).target
    assert target is not None
    assert leads_out(target)
    return location(target).decode("latin-1")


def assert_links_lead_where_they_led(
    page: Page, site: Website, keyring: Keyring, message: bytes
) -> list[str]:
    """Compares every link of a mail before and after; gives the links as they are in it now."""
    done = Tracker(keyring, URL).instrument(message, tenant="acme", user="ben")
    before, after = links(page, site, message), links(page, site, done.message)
    leads = [followed(link, keyring) for link in after]
    for each, read in ((before, "led"), (leads, "leads")):
        each[:] = page.ask(f"{json.dumps(each)}.map{READ}")
        assert len(each) == len(after), read
    assert [pair for pair in zip(before, leads, strict=True) if pair[0] != pair[1]] == []
    return after


def test_every_form_of_a_link_leads_where_it_led(tmp_path: Path, site: Website) -> None:
    assert len(TRACKED) == len(set(TRACKED)) >= 60
    with Chromium(tmp_path) as browser:
        page, keyring = browser.page(), new_keyring()
        after = assert_links_lead_where_they_led(page, site, keyring, mail_of(TRACKED))
        assert [link for link in after if not link.startswith(f"{URL}/c/")] == []
        after = assert_links_lead_where_they_led(page, site, keyring, mail_of(LEFT))
        assert [link for link in after if link.startswith(f"{URL}/c/")] == []


def test_every_link_of_the_corpus_leads_where_it_led(tmp_path: Path, site: Website) -> None:
    with Chromium(tmp_path) as browser:
        page, keyring = browser.page(), new_keyring()
        count = sum(
            len(assert_links_lead_where_they_led(page, site, keyring, message))
            for message in MAILS.values()
        )
    assert count > 350


def test_outlook_finds_its_own_links_lead_where_they_led(tmp_path: Path, site: Website) -> None:
    """Outlook takes what stands in its conditional comments as markup; the browser is made to."""
    keyring = new_keyring()
    with Chromium(tmp_path) as browser:
        page = browser.page()
        for name in ("newsletter", "newsletter-outlook"):
            done = Tracker(keyring, URL).instrument(MAILS[name], tenant="acme", user="ben")
            led, leads = (shapes(page, site, message) for message in (done.original, done.message))
            assert len(led) == 1
            assert all(link.startswith(f"{URL}/c/") for link in leads)
            assert [followed(link, keyring) for link in leads] == led


def shapes(page: Page, site: Website, message: bytes) -> list[str]:
    """Where the VML of a mail's conditional comments leads."""
    (leaf,) = (leaf for leaf in leaves(message) if leaf.html)
    site.pages["/mail"] = "text/html; charset=utf-8", b"\n".join(CONDITION.findall(leaf.body))
    page.open(f"{site.url}/mail")
    found: list[str] = page.ask(VML)
    return found


SHOWN = """
    http:// https:// HTTP:// http: // / /../ /. \\ a.example b.example:8080 u@ [::1] %41.example ? #
    & &amp; &amp &AMP; &copy &copy; &copy= &notit; &#38; &#x2F; &#9; &#0; &; = ; , : @ ! ' ( ) * + ~
    % %2f %zz %% müller.example é 日本 🧶 ü=ß < ` | { } ^ [ ] javascript: mailto: {{
"""
PIECES = st.sampled_from([*SHOWN.split(), ">", " ", "\t", "\n", "\r\n", "\x01", "\u00a0", "\u200b"])
HREFS = st.tuples(
    st.sampled_from(["http://a.example", "https://a.example/", "", " http://"]),
    st.lists(PIECES, max_size=12).map("".join),
).map("".join)
LINK_TAGS = st.tuples(
    st.sampled_from(['<a href="{}">', "<A HREF = '{}' x>", "<a href={}>", "<area x=> href={} >"]),
    HREFS,
).map(lambda made: made[0].replace("{}", made[1]))
CHARSETS = st.sampled_from(["utf-8", "windows-1252", "shift_jis", "gb18030", "koi8-r"])


def test_any_link_leads_where_it_led(tmp_path: Path, site: Website) -> None:
    with Chromium(tmp_path) as browser:
        page, keyring = browser.page(), new_keyring()
        tracked = 0

        @tried(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(LINK_TAGS, min_size=20, max_size=60), CHARSETS)
        def lead(tags: list[str], charset: str) -> None:
            nonlocal tracked
            message = mail_of(tags, charset=charset)
            after = assert_links_lead_where_they_led(page, site, keyring, message)
            tracked += sum(link.startswith(URL) for link in after)

        lead()
    assert tracked > 50


def test_the_edge_leads_a_browser_where_the_link_led_it(
    settings: Settings, tmp_path: Path, site: Website
) -> None:
    """Follows each link to its end: the request that arrives, and the address it arrives at."""
    tracker = Tracker(read_keyring(settings.keyring), settings.tracking_url)
    message = mail_of(TRACKED)
    done = tracker.instrument(message, tenant="acme", user="ben")
    site.pages["/"] = "text/html", b"arrived"
    wrong = []
    count = 0
    with (
        Service("edge", settings, tmp_path / "edge.log"),
        Chromium(tmp_path / "profile", elsewhere=site.host) as browser,
    ):
        page = browser.page()
        before, after = links(page, site, message), links(page, site, done.message)
        for link, tracked in zip(before, after, strict=True):
            if not (link.startswith("http://") and page.ask(f"{READ}({json.dumps(link)})")):
                continue
            arrivals = []
            if "#" in link:
                page.open("about:blank")  # lest it is but another place of the page before
            for address in (link, tracked):
                site.asked.clear()
                page.open(address)
                arrivals.append((page.ask("location.href"), [*site.asked]))
            count += 1
            if arrivals[0] != arrivals[1] or not arrivals[0][1]:
                wrong.append(arrivals)
    assert wrong == []
    assert count >= 60
