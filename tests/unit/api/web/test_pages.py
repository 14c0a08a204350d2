"""What the pages say: of hostile mail, of times, of how sure something is."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from mailwake_api.alerts import Shown
from mailwake_api.mails import Happened, Mail, Readers, Recipient
from mailwake_api.returning import quiet_before
from mailwake_api.timeline import LinkView
from mailwake_api.web import charts, frame
from mailwake_api.web.clock import Clock, length, span
from mailwake_api.web.mailbox import TOLD, gathered, people, sign, title
from mailwake_api.web.ringing import sentence
from tests.unit.api.values import alert

NOW = 1_795_540_000.0  # a Tuesday in November 2026, 17:06 UTC
CLOCK = Clock("UTC", now=lambda: NOW)
AT = int(NOW * 1000)
NEVER = Happened(True, False, 0, 0, None, None, None)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }} {% raw %}",
    "</title><svg onload=alert(1)>",
    "\u202egnp.exe",
]


def mail(subject: str | None = "Hello", name: str = "Anna", **more: Any) -> Mail:
    values: dict[str, Any] = {
        "message_id": "a" * 32,
        "sent_at": AT,
        "subject": subject,
        "recipients": [Recipient("b" * 32, name, "anna@example.com")],
        "recipient_count": 1,
        "mode": "identified",
        "tag": None,
        "opened": False,
        "clicked": False,
        "opens": NEVER,
        "clicks": NEVER,
        "forwards": 0,
        "readers": Readers(1, 0, 0, "not the recipient, as far as is known"),
    }
    return Mail(**values | more)


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(f"{tag} " + " ".join(sorted(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def listed(*mails: Mail) -> Tags:
    values: dict[str, Any] = {
        "layout": "layout.html", "session": SimpleNamespace(sub="dana", tenant="acme"),
        "token": "t", "clock": CLOCK, "path": "/mail", "unread": 0, "groups": [("Today", mails)],
        "filters": [], "chosen": "all", "q": "", "tag": "", "older": None, "newest": None,
        "narrowed": False, "without_tag": "", "told": "",
    }  # fmt: skip
    return Tags(frame.text("mail.html", **values, **TOLD))


@pytest.mark.fault(30)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_subject_is_text_and_nothing_else(text: str) -> None:
    harmless = listed(mail("Hello", "Anna", tag="tag"))
    hostile = listed(mail(text, text, tag=text))
    assert hostile.found == harmless.found
    assert text in hostile.text


@given(st.text(max_size=60))
def test_whatever_a_subject_is_the_page_has_the_same_tags(text: str) -> None:
    assert listed(mail(text)).found == listed(mail("Hello")).found


@pytest.mark.fault(30)
@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", " https://x", "//x"])
def test_what_is_no_web_address_is_never_a_link(url: str) -> None:
    assert frame.href(url) == ""


def test_the_icons_say_when_how_often_and_how_sure() -> None:
    state, lines = sign(Happened(True, False, 1, 0, AT, AT, 92), "opens", CLOCK)
    assert (state, lines) == ("on", ["Opened today at 17:06 UTC", "Sure (92 %)"])
    state, lines = sign(Happened(True, False, 3, 2, AT - 60_000, AT, 65), "clicks", CLOCK)
    assert state == "on"
    assert lines == [
        "Clicked today at 17:05 UTC",
        "3 times, last today at 17:06 UTC",
        "Fairly sure (65 %)",
        "2 machine requests, not counted",
    ]
    assert sign(NEVER, "opens", CLOCK) == ("off", ["Not opened yet"])
    assert sign(Happened(False, False, 0, 0, None, None, None), "clicks", CLOCK)[0] == "none"
    assert sign(Happened(True, True, 0, 0, None, None, None), "opens", CLOCK)[0] == "hidden"


def test_a_mail_without_words_or_names_is_still_shown() -> None:
    assert title(mail(None)) == "(subject not kept)"
    assert title(mail("  ")) == "(no subject)"
    anonymous = mail(recipients=[Recipient(None, "", None)], recipient_count=7)
    assert people(anonymous) == "7 recipients"
    some = [Recipient(None, name, None) for name in ("Anna", "Ben", "Cleo")]
    assert people(mail(recipients=some, recipient_count=9)) == "Anna, Ben, Cleo and 6 more"


def test_a_link_in_text_and_html_is_one_line() -> None:
    links = [
        LinkView(0, "https://a.example/", "https://a.example/", 1, 0, 5, 5),
        LinkView(1, "https://b.example/", "", 0, 1, None, None),
        LinkView(2, "https://a.example/", "Our offer", 2, 3, 4, 9),
    ]
    assert gathered(links) == [
        LinkView(0, "https://a.example/", "Our offer", 3, 3, 4, 9),
        LinkView(1, "https://b.example/", "", 0, 1, None, None),
    ]


def test_times_are_those_of_the_zone() -> None:
    berlin = Clock("Europe/Berlin", now=lambda: NOW)
    assert (CLOCK.short(AT), berlin.short(AT)) == ("17:06", "18:06")
    assert berlin.full(AT) == "today at 18:06"
    assert berlin.full(AT - 86_400_000) == "yesterday at 18:06"
    assert berlin.day(AT - 3 * 86_400_000) == "Saturday"
    assert berlin.short(AT - 40 * 86_400_000) == "15 Oct"
    assert berlin.day(AT - 400 * 86_400_000) == "October 2025"
    assert berlin.exact(AT) == "2026-11-24T18:06:40+01:00"
    for wrong in ("", "Nowhere/None", "../../etc/passwd", "UTC\n"):
        assert Clock(wrong).zone == "UTC"


@pytest.mark.parametrize(
    ("seconds", "word"), [(None, "–"), (3, "3 s"), (200, "3 min"), (9000, "2 h"), (2e5, "2 d")]
)
def test_spans(seconds: float | None, word: str) -> None:
    assert span(seconds) == word


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=60))
def test_bars_stand_in_their_box(counts: list[tuple[int, int]]) -> None:
    chart = charts.bars([(f"{n}", {"sent": a, "opened": b}) for n, (a, b) in enumerate(counts)])
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= charts.WIDTH + 1
        assert charts.TOP - 1 <= bar.y <= bar.y + bar.height <= charts.HEIGHT - charts.BOTTOM + 1
    assert len(chart.lines) <= 7
    for one, other in ((a, b) for a in chart.bars for b in chart.bars[:8]):
        if int(one.says.split()[1]) > int(other.says.split()[1]):
            assert one.height >= other.height


def test_the_week_has_all_its_hours() -> None:
    cells = charts.week({(1, 0): 10, (7, 23): 1})
    assert len(cells) == 7 * 24
    assert (cells[0].strength, cells[-1].strength) == (5, 1)
    assert sum(cell.strength for cell in cells) == 6


def test_every_icon_button_has_a_name_and_a_description() -> None:
    page = frame.text("rows.html")
    assert not re.search(r"<\w", page)  # macros alone
    found = listed(mail())
    assert found.found.count("button aria-describedby aria-label data-key type") == 2


def rung(**more: Any) -> Shown:
    return Shown(**structs.asdict(alert(1, at=AT)) | more)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "Anna opened Hello"),
        ({"count": 4, "last_at": AT + 600_000}, "Anna opened Hello 4 times in 10 minutes"),
        ({"count": 2, "last_at": AT + 5_000}, "Anna opened Hello twice in a minute"),
        ({"returned": True}, "Anna opened Hello again after 2 days"),
        (
            {"returned": True, "count": 3, "last_at": AT + 3_700_000},
            "Anna opened Hello again after 2 days, 3 times in an hour",
        ),
        ({"kind": "click"}, "Anna followed a link in Hello"),
        ({"recipient_count": 3, "recipient": 0}, "Someone of 3 recipients opened Hello"),
        # Nobody knows whether they were one or several.
        (
            {"recipient_count": 3, "recipient": 0, "count": 4, "last_at": AT + 600_000},
            "One or more of 3 recipients opened Hello 4 times in 10 minutes",
        ),
    ],
)
def test_an_alert_is_a_sentence(more: dict[str, Any], told: str) -> None:
    assert " ".join(filter(None, sentence(rung(**more), mail(), 2 * 86_400_000))) == told


def test_where_it_is_not_known_since_when_it_was_quiet_that_is_not_said() -> None:
    assert sentence(rung(returned=True), None) == (
        "The recipient", "opened", "a mail", "again after a long time",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "a minute"), (89_000, "a minute"), (90_000, "2 minutes"), (3_540_000, "59 minutes"),
        (3_600_000, "an hour"), (5_000_000, "an hour"), (7_200_000, "2 hours"),
        (86_400_000, "a day"), (172_800_000, "2 days"),
    ],
)  # fmt: skip
def test_a_length_of_time_in_words(ms: int, words: str) -> None:
    assert length(ms) == words


@pytest.mark.parametrize(
    ("times", "at", "before"),
    [([], 5, None), ([5], 5, None), ([9], 5, None), ([1, 3, 5, 9], 5, 2), ([1, 3], 9, 6)],
)
def test_for_how_long_it_was_quiet(times: list[int], at: int, before: int | None) -> None:
    assert quiet_before(times, at) == before
