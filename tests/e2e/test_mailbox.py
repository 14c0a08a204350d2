"""The mailbox as a sender uses it, in a real browser on the real system: from sign-in to bell."""

from __future__ import annotations

import email
import email.policy
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailwake_local.readers import AGENTS
from tests import axe
from tests.chromium import Chromium, Page, needs_chromium
from tests.e2e.up import Up, environ
from tests.running import wait_until

pytestmark = needs_chromium

SUBJECT = "The sketches for the <b>kitchen</b>"
TEXT = "Hello Anna,\n\nhere they are: [the sketches](https://studio.example/sketches?id=7).\n\nDana"
ANNA = "Anna Berg <anna.berg@nordlicht.example>"
DESK, PHONE = (1280, 800), (390, 780)


class System:
    """`mailwake up --demo`, and the ways in."""

    def __init__(self, home: Path) -> None:
        self.up = Up(home, "--demo")
        wait_until("the mailbox is filled", self._filled, 180)
        (self.link,) = re.findall(r"To the mailbox, once: (\S+)", self.up.said)
        self.url = self.link.partition("/signin/")[0]

    def _filled(self) -> bool:
        assert self.up.process.poll() is None, self.up.said
        return "To the mailbox" in self.up.said

    def link_for(self, user: str, tenant: str = "demo") -> str:
        """A sign-in link for somebody."""
        done = subprocess.run(
            [sys.executable, "-m", "mailwake", "signin", "--tenant", tenant, "--user", user],
            env=environ(self.up.home) | self.up.run_json()["settings"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def mail(self, subject: str) -> str:
        """The HTML of the mail with this subject, as it came to its recipient."""
        for file in sorted((self.up.home / "mail").glob("*.eml"), reverse=True):
            parsed = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            body = parsed.get_body(("html",))
            if parsed["Subject"] == subject and body is not None:
                html: str = body.get_content()
                return html
        raise AssertionError(f"no mail {subject!r} has arrived")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("mailbox") / "home")
    try:
        yield system
    finally:
        system.up.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def dana(system: System, browser: Chromium) -> Page:
    """The sender's browser, signed in with the printed link."""
    page = browser.page()
    page.looks(*DESK)
    sign_in(page, system.link)
    return page


def sign_in(page: Page, link: str) -> None:
    page.open(link)
    submit(page, "main form button")
    assert page.ask("location.pathname") == "/mail"


def submit(page: Page, selector: str) -> None:
    """Presses the button of a form, and waits for the page that comes."""
    page.ask("window.before = true")
    page.click(selector)
    wait_until(
        "the page comes",
        lambda: page.ask("window.before === undefined && document.readyState === 'complete'"),
        20,
    )


def row(subject: str) -> str:
    """The row of the mail with this subject, as an expression; undefined when there is none."""
    is_it = f"e.querySelector('.subject')?.textContent === {subject!r}"
    return f"[...document.querySelectorAll('.mail')].find(e => {is_it})"


def sign(page: Page, of: str) -> str:
    """The classes of an icon of the mail."""
    found: str = page.ask(f"{row(SUBJECT)}?.querySelector('.sign.{of}').className ?? 'none'")
    return found


def unread(page: Page) -> int:
    return int(page.ask("document.querySelector('#unread .n').textContent"))


def test_a_sender_sees_what_becomes_of_a_mail(
    system: System, browser: Chromium, dana: Page, tmp_path: Path
) -> None:
    # Preferences: links are not tracked, unless a mail says otherwise.
    dana.open(f"{system.url}/preferences")
    if dana.ask("document.querySelector('[name=clicks]').checked"):
        dana.click("[name=clicks]")
    submit(dana, "main form button")
    assert "Saved." in dana.ask("document.body.innerText")
    assert not dana.ask("document.querySelector('[name=clicks]').checked")

    # Compose: the toggles start as the preferences are; this mail tracks links too.
    dana.open(f"{system.url}/compose")
    toggles = "['opens', 'clicks'].map(n => document.querySelector(`[name=${n}]`).checked)"
    assert dana.ask(toggles) == [True, False]
    dana.click("[name=clicks]")
    dana.fill(sender="Dana <dana@demo.example>", to=ANNA, subject=SUBJECT, text=TEXT)
    submit(dana, "main form .send button")
    assert "Sent." in dana.ask("document.body.innerText")
    wait_until("the mail is in the list", lambda: sign(dana, "opens") != "none", 15)
    assert sign(dana, "opens").split()[1] == sign(dana, "clicks").split()[1] == "off"
    assert dana.ask("document.querySelectorAll('.subject b').length") == 0  # text, not markup

    # The recipient, elsewhere, opens it: the icon turns and the bell rings, without a reload.
    before = unread(dana)
    dana.ask("window.same = true")
    letter = tmp_path / "letter.html"
    letter.write_text(system.mail(SUBJECT), "utf-8")
    anna = browser.page(browser.context())
    anna.calls_itself(AGENTS["thunderbird"])
    anna.open(letter.as_uri())
    wait_until("the open icon turns", lambda: " on " in sign(dana, "opens"), 15)
    wait_until("the bell rings", lambda: unread(dana) == before + 1, 10)
    assert sign(dana, "clicks").split()[1] == "off"

    # Hover says when and how sure.
    number = dana.ask(f"{row(SUBJECT)}.id").removeprefix("m-")
    dana.point(f"[data-key=opens-{number}]")
    tip = f"document.getElementById('opens-{number}')"
    wait_until("the hover shows", lambda: dana.ask(f"getComputedStyle({tip}).opacity") == "1", 5)
    assert re.match(r"Opened today at \d\d:\d\d", dana.ask(f"{tip}.innerText"))
    assert re.search(r"sure \(\d+ %\)", dana.ask(f"{tip}.innerText"))

    # The recipient follows the link: the other icon turns.
    anna.click("a[href*='/c/']")
    wait_until("the link icon turns", lambda: " on " in sign(dana, "clicks"), 15)
    wait_until("the bell rings again", lambda: unread(dana) == before + 2, 10)
    assert dana.ask("window.same") is True

    # The filters and the search find it.
    for query, there in (
        ("show=tracked", True), ("show=clicked", True), ("show=unopened", False),
        ("q=kitchen", True), ("q=nordlicht+sketches", True), ("q=bathroom", False),
    ):  # fmt: skip
        dana.open(f"{system.url}/mail?{query}")
        assert dana.ask(f"!!{row(SUBJECT)}") is there, query

    # The mail itself, the contact, the bell.
    dana.open(f"{system.url}/mail/{number}")
    text = dana.ask("document.querySelector('main').innerText")
    for told in (
        "Anna Berg followed a link", "Anna Berg opened the mail", "Opened in a mail program",
        "studio.example/sketches", "the sketches",
    ):  # fmt: skip
        assert told in text, text
    dana.open(dana.ask("document.querySelector('a.chip').href"))
    assert "Agrees" in dana.ask("document.querySelector('main').innerText")
    assert dana.ask(f"!!{row(SUBJECT)}")
    dana.open(f"{system.url}/bell")
    assert "Anna Berg followed a link in" in dana.ask("document.querySelector('.feed').innerText")
    submit(dana, "main .top form button")
    assert unread(dana) == 0
    assert dana.ask("document.getElementById('unread').hidden")

    # Compose remembers the toggles and the sender.
    dana.open(f"{system.url}/compose")
    assert dana.ask(toggles) == [True, True]
    assert dana.ask("document.querySelector('[name=sender]').value") == "Dana <dana@demo.example>"


def test_another_user_sees_nothing_of_it(system: System, browser: Chromium, dana: Page) -> None:
    dana.open(f"{system.url}/mail")
    mail = dana.ask("document.querySelector('.mail .row').href")
    dana.open(mail)
    contact = dana.ask("document.querySelector('a.chip').href")
    for user, tenant in (("eve", "demo"), ("dana", "other")):
        page = browser.page(browser.context())
        sign_in(page, system.link_for(user, tenant))
        assert "No tracked mail yet" in page.ask("document.body.innerText")
        for path in ("/bell", "/reports?days=365"):
            page.open(system.url + path)
            assert "kitchen" not in page.ask("document.body.innerText")
            assert "studio" not in page.ask("document.body.innerText")
        assert unread(page) == 0
        for address in (mail, contact):
            page.open(address)
            assert "Not found" in page.ask("document.querySelector('h1').innerText")
        page.close()


def test_a_link_signs_in_once_and_signing_out_ends_it(system: System, browser: Chromium) -> None:
    link = system.link_for("eve")
    page = browser.page(browser.context())
    sign_in(page, link)
    submit(page, ".who button")
    assert page.ask("location.pathname") == "/signin"
    page.open(f"{system.url}/mail?q=x")
    assert page.ask("location.pathname") == "/signin"
    page.open(link)
    assert "used already" in page.ask("document.body.innerText")


def paths(dana: Page, system: System) -> list[str]:
    dana.open(f"{system.url}/mail?q=minutes")
    mail = dana.ask("document.querySelector('.mail .row').pathname")
    dana.open(system.url + mail)
    contact = dana.ask("document.querySelector('a.chip').pathname")
    return ["/mail", "/mail?q=none-of-these", mail, contact, "/compose", "/bell", "/reports",
            "/preferences", "/mail/" + "0" * 32]  # fmt: skip


def test_every_page_fits_a_phone_and_the_keyboard_reaches_all(system: System, dana: Page) -> None:
    for path in paths(dana, system):
        for width in (320, 390):
            dana.looks(width, 700)
            dana.open(system.url + path)
            assert dana.ask("document.documentElement.scrollWidth") <= width, (path, width)
    dana.looks(*DESK)
    dana.open(f"{system.url}/mail")
    dana.press("Tab", 9)
    assert dana.ask("document.activeElement.className") == "skip"
    dana.ask("document.querySelector('.mail .row').focus()")
    dana.press("ArrowDown", 40)
    assert dana.ask("[...document.querySelectorAll('.row')].indexOf(document.activeElement)") == 1
    while not dana.ask("document.activeElement.matches('.sign button')"):
        dana.press("Tab", 9)
    tip = "getComputedStyle(document.activeElement.parentElement.querySelector('.tip')).visibility"
    assert dana.ask(tip) == "visible"
    dana.press("Escape", 27)
    assert dana.ask(tip) == "hidden"
    dana.press("/", 191)
    assert dana.ask("document.activeElement.id") == "q"


@axe.needs_npm
def test_axe_finds_no_serious_fault(
    system: System, browser: Chromium, dana: Page, tmp_path: Path
) -> None:
    script = axe.fetch(tmp_path)
    stranger = browser.page(browser.context())
    looked = [(dana, path) for path in paths(dana, system)]
    link = system.link_for("eve").removeprefix(system.url)
    looked += [(stranger, "/signin"), (stranger, link)]
    found: list[str] = []
    for page, path in looked:
        for scheme in ("light", "dark"):
            page.looks(*(DESK if scheme == "light" else PHONE), scheme)
            page.open(system.url + path)
            found += [f"{path} {scheme}: {fault}" for fault in axe.faults(page, script)]
    assert found == []


def test_nothing_was_blocked_and_nothing_came_from_elsewhere(system: System, dana: Page) -> None:
    elsewhere = [url for url in dana.requests if not url.startswith(system.url)]
    assert elsewhere == []
    assert dana.blocked == []
    log = (system.up.home / "logs" / "api.log").read_text("utf-8")
    assert "/signin/" not in log
    assert "kitchen" not in log
