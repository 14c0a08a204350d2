"""A recipient follows the link in a mail to the withdrawal page, in a real browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from mailwake.contracts import CONSENT, Consent
from mailwake.ids import now_ms
from mailwake.settings import Settings
from mailwake_api.commands import keys_command
from mailwake_local.ports import free_port
from tests.api import Api, json
from tests.chromium import Chromium, Page, needs_chromium
from tests.running import wait_until
from tests.topics import read_all

pytestmark = needs_chromium

SAID = {
    "address": "anna@example.com",
    "purposes": ["opens", "clicks"],
    "state": "granted",
    "method": "signup_form",
    "wording": "I agree that opens and clicks are measured.",
}
MAIL = {
    "html": '<body><a href="https://shop.example/">offer</a></body>',
    "recipients": ["anna@example.com"],
    "footer": "What is tracked, and how to stop it",
}
STATE = "document.querySelector('.state').innerText"


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[Api]:
    keys_command(["new", str(tmp_path / "api-keys.json")])
    port = free_port()
    settings = replace(
        settings,
        api_keys=tmp_path / "api-keys.json",
        withdrawal_url=f"http://127.0.0.1:{port}",
    )
    api = Api(settings, tmp_path, port=port)
    with api:
        yield api


def proofs(api: Api) -> list[Consent]:
    records = asyncio.run(read_all(api.settings, "consent_proofs"))
    return [CONSENT.decode(record.value or b"") for record in records]


def press(page: Page, choice: str) -> None:
    """Presses a button as a person does, and waits for the page that comes."""
    page.ask("window.before = true")
    page.ask(f"document.querySelector('button[value=\"{choice}\"]').click()")
    wait_until(
        "the page comes back",
        lambda: page.ask("window.before === undefined && document.readyState === 'complete'"),
        20,
    )


def test_looking_changes_nothing_and_the_button_does(api: Api, tmp_path: Path) -> None:
    with api.client("ben", "admin") as ben, Chromium(tmp_path / "profile") as browser:
        json(ben.post("/v1/consents", json=SAID))
        sent = json(ben.post("/v1/sends", json=MAIL))
        (link,) = re.findall(r'href="([^"]*/w/[^"]*)"', sent["html"])
        address = unescape(link)
        assert address.startswith(f"{api.settings.withdrawal_url}/w/")
        page = browser.page()
        for _ in range(2):
            page.open(address)
            assert page.ask(STATE) == "Mail from acme to you is tracked."
        assert len(proofs(api)) == 2
        # The page is whole by itself, and its style is in force under its own policy.
        assert set(page.requests) == {address}
        assert page.ask("getComputedStyle(document.querySelector('.card')).borderTopStyle") == (
            "solid"
        )
        before = now_ms()
        press(page, "opens-off")
        assert page.ask("location.href") == address
        assert page.ask(STATE) == "Mail from acme to you is tracked in part."
        press(page, "all-off")
        assert page.ask(STATE) == "Mail from acme to you is not tracked."
        assert page.ask("document.querySelectorAll('button').length") == 2
        opens, clicks = sorted(proofs(api), key=lambda proof: proof.at)[2:]
        assert (opens.purpose, clicks.purpose) == ("opens", "clicks")
        for proof in (opens, clicks):
            assert (proof.state, proof.method) == ("denied", "withdrawal_page")
            assert proof.source == f"{api.settings.withdrawal_url}/w/"
            assert before <= proof.at <= now_ms()
        # The next mail carries nothing, and so no link to the page either.
        sent = json(ben.post("/v1/sends", json=MAIL))
        assert sent["html"] == MAIL["html"]
        assert sent["tracked"]["refused"] == {"opens": "denied", "clicks": "denied"}
        # It can be taken back; and who comes again later, or reloads, chooses nothing anew.
        press(page, "clicks-on")
        assert page.ask(STATE) == "Mail from acme to you is tracked in part."
        page.ask("location.reload()")
        page.open(address)
        assert len(proofs(api)) == 5
    assert address.rpartition("/")[2] not in api.log.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(api: Api, tmp_path: Path, scheme: str) -> None:
    with api.client("ben", "admin") as ben, Chromium(tmp_path / "profile") as browser:
        json(ben.post("/v1/consents", json=SAID))
        sent = json(ben.post("/v1/sends", json=MAIL))
        (link,) = re.findall(r'href="([^"]*/w/[^"]*)"', sent["html"])
        for width in (320, 800):
            page = browser.page()
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            page._call("Emulation.setEmulatedMedia", features=features)
            page._call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=640,
                deviceScaleFactor=1,
                mobile=width < 400,
            )
            page.open(unescape(link))
            assert page.ask("document.documentElement.scrollWidth") <= width
            heights = page.ask(
                "[...document.querySelectorAll('button')].map(each => each.offsetHeight)"
            )
            assert min(heights) >= 44  # what a finger wants (WCAG 2.2, 2.5.5)
            assert page.ask(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3
            # With the keyboard alone: the first stop is the button that ends it all.
            page._call("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
            assert page.ask("document.activeElement.value") == "all-off"
            page.close()


CONTRAST = """
(() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (parts(color)[3] !== 0) return color;
    }
  };
  const ratios = [...document.querySelectorAll('h1, h2, p, span, button')].map(each => {
    const [a, b] = [light(getComputedStyle(each).color), light(behind(each))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
  return Math.min(...ratios);
})()
"""
"""The least contrast of any text with what is behind it (WCAG 2.2, relative luminance)."""
