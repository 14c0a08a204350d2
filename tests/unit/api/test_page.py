"""The withdrawal page: what it says of each state, and that it says it safely."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import get_args

import pytest

from mailwake.contracts import (
    Ceiling,
    Consent,
    ConsentState,
    LawfulBasis,
    Policy,
    Purpose,
    new_consent,
)
from mailwake.permission import Consents
from mailwake_api import page

AT = 1_795_000_000_000


def said(purpose: Purpose, state: ConsentState, method: str = "signup_form") -> Consent:
    return new_consent("acme", "0" * 32, purpose, state, AT, method)


def shown(policy: Policy, consents: Consents) -> tuple[list[page.Row], str]:
    rows = page.rows_of(policy, consents)
    return rows, page.choices(policy.tenant, rows)


def test_what_was_agreed_is_on() -> None:
    consents = {"opens": said("opens", "granted"), "clicks": said("clicks", "granted")}
    rows, html = shown(Policy("acme", 1), consents)  # type: ignore[arg-type]
    assert [row.tracked for row in rows] == [True, True]
    assert "Mail from acme to you is tracked." in html
    assert rows[0].why == "You agreed to this on 18 November 2026, 11:06 UTC, says acme."
    assert html.count("Turn off</button>") == 2
    assert "Stop all tracking" in html


def test_what_was_refused_here_is_off() -> None:
    consents = {
        "opens": said("opens", "denied", page.METHOD),
        "clicks": said("clicks", "denied", page.METHOD),
    }
    rows, html = shown(Policy("acme", 1, basis="contract"), consents)  # type: ignore[arg-type]
    assert rows[0].why == "You refused this on 18 November 2026, 11:06 UTC, on this page."
    assert "Mail from acme to you is not tracked." in html
    assert "all-off" not in html  # it is all refused already
    assert html.count("Turn on</button>") == 2


def test_who_was_not_asked_can_refuse_either_way() -> None:
    rows, html = shown(Policy("acme", 1), {})
    assert [(row.tracked, row.why) for row in rows] == [(False, "You have not agreed to this.")] * 2
    assert "Refuse all tracking" in html
    rows, html = shown(Policy("acme", 1, basis="legitimate_interests"), {})
    assert rows[0].tracked
    assert "relies on its legitimate interests" in html
    assert "Stop all tracking" in html


def test_part_of_it() -> None:
    rows, html = shown(Policy("acme", 1), {"clicks": said("clicks", "granted")})
    assert [row.tracked for row in rows] == [False, True]
    assert "is tracked in part" in html
    assert 'value="opens-on"' in html
    assert 'value="clicks-off"' in html


def test_a_sender_who_tracks_nothing() -> None:
    consents: Consents = {"opens": said("opens", "granted")}
    rows, html = shown(Policy("acme", 1, ceiling="off"), consents)
    assert "acme tracks no mail at present." in html
    assert not any(row.tracked for row in rows)
    assert "Turn" not in html
    assert "Refuse all tracking" in html


def test_counting_alone_is_told_as_such() -> None:
    _, html = shown(Policy("acme", 1, ceiling="anonymous"), {"opens": said("opens", "granted")})
    assert "That it was you is not recorded." in html
    assert "network" not in html


class Outline(HTMLParser):
    """The tags of a page, and that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("ceiling", get_args(Ceiling))
@pytest.mark.parametrize("basis", get_args(LawfulBasis))
@pytest.mark.parametrize("state", get_args(ConsentState))
def test_every_page_is_whole_plain_and_loads_nothing(
    ceiling: Ceiling, basis: LawfulBasis, state: ConsentState
) -> None:
    policy = Policy("acme", 1, ceiling, basis)
    _, html = shown(policy, {"opens": said("opens", state, "<script>alert(1)</script>")})
    outline = Outline()
    outline.feed(html)
    outline.close()
    assert outline.open == []
    names = [tag for tag, _ in outline.tags]
    assert {"script", "img", "link", "iframe"}.isdisjoint(names)
    assert names.count("form") == names.count("h1") == 1
    assert not {name for _, attributes in outline.tags for name in attributes} & {"src", "href"}
    assert ("form", {"method": "post", "class": "card"}) in outline.tags
    for tag, attributes in outline.tags:
        if tag == "button":
            assert attributes["name"] == "choice"


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    html = page.notice("A <b>", "& more")
    assert "A &lt;b&gt;" in html
    style = re.search(r"<style>(.*)</style>", html, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = page.HEADERS["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "url(" not in style[1]
