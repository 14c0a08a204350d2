"""The mailbox as a sender uses it, in a real browser on the real system: from sign-in to bell."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mailwake.contracts import ALERT
from mailwake.ids import now_ms
from mailwake.keyring import read_keyring
from mailwake_api.digest.off import off_token
from mailwake_local.readers import AGENTS
from tests import axe
from tests.chromium import Chromium, Page, needs_chromium
from tests.e2e.up import Up, environ
from tests.following import put
from tests.running import wait_until
from tests.unit.api.values import alert

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
    """Presses a button or follows a link, and waits until the page that comes is whole."""
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


def watch(page: Page) -> None:
    """Has the page remember what rings, until it is left."""
    page.ask(
        "window.rang = []; new MutationObserver(all => all.forEach(each =>"
        " each.addedNodes.forEach(node => rang.push(node.textContent))))"
        ".observe(document.getElementById('toasts'), {childList: true}); 0"
    )


def rang(page: Page, words: str) -> bool:
    """Whether the bell rang with these words for the mail. Others ring too: an alert of what the
    simulated readers did may have waited to be sure."""
    return f"{words}: {SUBJECT}" in page.ask("window.rang")


def unread(page: Page) -> int:
    return int(page.ask("document.querySelector('#unread .n').textContent"))


def test_a_sender_sees_what_becomes_of_a_mail(
    system: System, browser: Chromium, dana: Page, tmp_path: Path
) -> None:
    # Preferences: links are not tracked, unless a mail says otherwise.
    dana.open(f"{system.url}/preferences")
    if dana.ask("document.querySelector('[name=clicks]').checked"):
        dana.click("[name=clicks]")
    submit(dana, "main form .send button")
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
    dana.ask("window.same = true")
    watch(dana)
    letter = tmp_path / "letter.html"
    letter.write_text(system.mail(SUBJECT), "utf-8")
    anna = browser.page(browser.context())
    anna.calls_itself(AGENTS["thunderbird"])
    anna.open(letter.as_uri())
    wait_until("the open icon turns", lambda: " on " in sign(dana, "opens"), 15)
    wait_until("the bell rings", lambda: rang(dana, "A mail of yours was opened"), 40)
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
    followed = "A link in a mail of yours was followed"
    wait_until("the bell rings again", lambda: rang(dana, followed), 40)
    assert unread(dana) >= 2
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


def shown_whole(page: Page) -> None:
    """Of a page of preferences, also what belongs to switches that are off."""
    page.ask(
        "document.querySelectorAll('[name=quiet], [name=digest]')"
        ".forEach(e => { if (!e.checked) e.click() })"
    )


def seen(page: Page, selector: str) -> bool:
    found: bool = page.ask(f"!!document.querySelector({selector!r})?.offsetParent")
    return found


def test_quiet_hours_and_the_daily_mail_are_chosen(system: System, dana: Page) -> None:
    dana.looks(*DESK)
    dana.open(f"{system.url}/preferences")
    zone = dana.ask("Intl.DateTimeFormat().resolvedOptions().timeZone")
    assert dana.ask("document.querySelector('[name=zone]').value") == zone
    assert not seen(dana, "[name=start]")
    assert not seen(dana, "[name=address]")
    shown_whole(dana)
    assert seen(dana, "[name=start]")
    dana.fill(
        start="21:30", end="06:15", zone="Asia/Kolkata", address="dana@demo.example", hour="18"
    )
    dana.click("[name=day6]")
    dana.click("[name=day7]")
    submit(dana, "main form .send button")
    assert "Saved." in dana.ask("document.body.innerText")
    fields = ("start", "end", "zone", "address", "hour")
    chosen = [dana.ask(f"document.querySelector('[name={name}]').value") for name in fields]
    assert chosen == ["21:30", "06:15", "Asia/Kolkata", "dana@demo.example", "18"]
    days = "[...document.querySelectorAll('.days input')].map(e => e.checked)"
    assert dana.ask(days) == [True] * 5 + [False] * 2

    # What is wrong is said where it is, and nothing that was chosen is lost.
    dana.fill(end="", address="nobody")
    submit(dana, "main form .send button")
    assert "Not saved." in dana.ask("document.querySelector('[role=alert]').innerText")
    assert dana.ask("document.querySelector('[name=end]').getAttribute('aria-invalid')") == "true"
    assert "such as 22:00" in dana.ask("document.getElementById('wrong-end').innerText")
    assert dana.ask("document.querySelector('[name=address]').value") == "nobody"
    dana.open(f"{system.url}/preferences")
    assert dana.ask("document.querySelector('[name=end]').value") == "06:15"
    for name in ("quiet", "digest"):
        dana.click(f"[name={name}]")
    submit(dana, "main form .send button")
    assert not seen(dana, "[name=start]")


def test_a_mail_is_muted_and_unmuted(system: System, dana: Page) -> None:
    dana.open(f"{system.url}/mail")
    dana.open(dana.ask("document.querySelector('.mail .row').href"))
    button = "main .top form button"
    for words, muted in (("Mute", True), ("Unmute", False)):
        assert dana.ask(f"document.querySelector('{button}').innerText").strip() == words
        submit(dana, button)
        assert ("muted" in dana.ask("document.querySelector('.head').innerText")) is muted
    assert dana.ask(f"document.querySelector('{button}').innerText").strip() == "Mute"


def test_the_bell_counts_is_quiet_and_takes_back(system: System, dana: Page) -> None:
    """Alerts as the notifier tells them, put into the topic."""
    settings = system.up.settings()
    dana.open(f"{system.url}/mail?q=minutes")
    mail = dana.ask("document.querySelector('.mail .row').pathname").removeprefix("/mail/")
    now = now_ms()  # so that they stand at the top of the list

    def tell(number: int, **more: Any) -> None:
        fields = {"tenant": "demo", "user": "dana", "message_id": mail, "recipient_id": None}
        told = alert(number, at=now, recipient_count=4, recipient=0)
        told = replace(told, **fields | more)
        asyncio.run(put(settings, "alerts", [(b"demo/dana", ALERT.encode(told))]))

    dana.open(f"{system.url}/mail")
    before = unread(dana)
    toasts = "[...document.querySelectorAll('.toast')].map(e => e.textContent)"
    tell(901, quiet=True)
    wait_until("it is counted", lambda: unread(dana) == before + 1, 10)
    assert dana.ask(toasts) == []
    tell(902, count=4, last_at=now + 600_000, revision=4)
    wait_until("it is counted", lambda: unread(dana) == before + 2, 10)
    (toast,) = dana.ask(toasts)
    assert toast.startswith("A mail of yours was opened 4 times")
    dana.open(f"{system.url}/bell")
    feed = dana.ask("document.querySelector('.feed').innerText")
    assert re.search("One or more of 4 recipients opened .* 4 times in 10 minutes", feed)
    assert re.search("Someone of 4 recipients opened .*\\s+In your quiet hours", feed)
    tell(902, revision=6, withdrawn=True)
    wait_until("it is taken back", lambda: unread(dana) == before + 1, 10)
    wait_until(
        "the line goes",
        lambda: "4 times" not in dana.ask("document.querySelector('.feed').innerText"),
        10,
    )
    assert "In your quiet hours" in dana.ask("document.querySelector('.feed').innerText")
    tell(901, revision=2, withdrawn=True)
    wait_until("all is as before", lambda: unread(dana) == before, 10)


def test_a_webhook_is_added_and_its_test_tells_what_is_wrong(system: System, dana: Page) -> None:
    """The name is one that nobody has, so the test comes to nothing."""
    dana.open(f"{system.url}/preferences")
    submit(dana, "main a[href='/webhooks']")
    assert dana.ask("location.pathname") == "/webhooks"
    dana.ask("document.getElementById('url').value = 'https://no-such-host.example.org/alerts'")
    submit(dana, "main form .button.main")
    assert dana.ask("document.querySelector('.told-once code').innerText").startswith("whsec_")
    submit(dana, "form[action$='/test'] button")
    told = dana.ask("document.querySelector('[role=alert]').innerText")
    assert told.startswith("The test came to nothing: the name is not known")
    assert dana.ask("document.querySelector('main .feed').innerText").startswith("A test:")
    assert "whsec_" not in dana.ask("document.body.innerText")


def paths(dana: Page, system: System) -> list[str]:
    dana.open(f"{system.url}/mail?q=minutes")
    mail = dana.ask("document.querySelector('.mail .row').pathname")
    dana.open(system.url + mail)
    contact = dana.ask("document.querySelector('a.chip').pathname")
    dana.open(f"{system.url}/webhooks")
    webhook = dana.ask("document.querySelector('.feed .row').pathname")
    return ["/mail", "/mail?q=none-of-these", mail, contact, "/compose", "/bell", "/reports",
            "/preferences", "/webhooks", webhook, "/mail/" + "0" * 32]  # fmt: skip


def test_every_page_fits_a_phone_and_the_keyboard_reaches_all(system: System, dana: Page) -> None:
    for path in paths(dana, system):
        for width in (320, 390):
            dana.looks(width, 700)
            dana.open(system.url + path)
            shown_whole(dana)
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
    settings = system.up.settings()
    off = f"/digest/off/{off_token(read_keyring(settings.keyring), 'demo', 'dana')}"
    looked += [(stranger, "/signin"), (stranger, link), (stranger, off)]
    found: list[str] = []
    for page, path in looked:
        for window, scheme in product((DESK, PHONE), ("light", "dark")):
            page.looks(*window, scheme)
            page.open(system.url + path)
            shown_whole(page)
            found += [f"{path} {window} {scheme}: {each}" for each in axe.faults(page, script)]
    assert found == []


def test_nothing_was_blocked_and_nothing_came_from_elsewhere(system: System, dana: Page) -> None:
    # The browser draws the clock of a time field with pictures of its own (data:).
    ours = (system.url, "data:")
    elsewhere = [url for url in dana.requests if not url.startswith(ours)]
    assert elsewhere == []
    assert dana.blocked == []
    log = (system.up.home / "logs" / "api.log").read_text("utf-8")
    assert "/signin/" not in log
    assert "kitchen" not in log
