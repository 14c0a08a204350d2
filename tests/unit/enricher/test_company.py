"""Bursts, and what stands beside a machine or the sender: the first hits are corrected too."""

from __future__ import annotations

from typing import Any

import pytest

from mailwake.contracts import Event, Hit
from mailwake.track import Track
from tests.unit.enricher.values import BROWSER, NOW, hit, run, send

PHONE = "Mozilla/5.0 (iPhone) Version/18.6 Mobile/15E148 Safari/604.1"
THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0"
GMAIL = "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"
LATER = NOW + 3_600_000
ONE, TWO, THREE = ({"network": f"198.51.{n}.0/24"} for n in (1, 2, 3))


def visit(*seconds: float, **given: Any) -> list[Hit]:
    """Clicks on one link after the other, so many seconds after `LATER`."""
    return [hit(at=LATER + round(at * 1000), link=link, **given) for link, at in enumerate(seconds)]


def judged(*hits: Hit, **sent: Any) -> dict[str, Event]:
    """The last revision of the event of each hit; events that are implied left out."""
    events = run(Track(), send(**sent), *hits).events
    return {event.hit_id: event for event in events if not event.implied}


def verdicts(*hits: Hit, **sent: Any) -> list[str]:
    told = judged(*hits, **sent)
    return [told[each.hit_id].verdict for each in hits]


MACHINE_LIKE: list[tuple[str, list[Hit]]] = [
    ("link_burst", visit(0, 5, 10)),
    ("link_burst", [hit(at=LATER, **ONE), *visit(0.5, 1, 1.5, **ONE)]),
    ("link_burst", [*visit(0, 1, **ONE), hit(at=LATER + 2000, link=7, agent=PHONE, **TWO)]),
    ("hit_burst", [hit(at=LATER), *visit(20, 40), *visit(20.5, 60)[:2]]),
    ("hit_burst", visit(0, 15, 30, 45, 60)),
    (
        "network_burst",
        [hit(at=LATER, link=0, **ONE), *(hit(at=LATER + 120_000, **n) for n in (TWO, THREE))],
    ),
]
PERSON_LIKE: list[tuple[str, list[Hit]]] = [
    ("one network and one agent, three links, slowly", visit(0, 8, 16)),
    ("four requests in a minute", visit(0, 20, 40, 60)),
    ("two links", visit(0, 1)),
    (
        "the mail loaded again and again",
        [hit(at=LATER + 900 * n, agent=THUNDERBIRD) for n in range(9)],
    ),
    ("two networks", [hit(at=LATER, **ONE), hit(at=LATER + 5000, **TWO)]),
    (
        "three networks, over hours",
        [hit(at=LATER + 10**7 * n, **net) for n, net in enumerate((ONE, TWO, THREE))],
    ),
    (
        "image proxies have many networks",
        [hit(at=LATER + n, agent=GMAIL, network=f"66.249.{n}.0/24") for n in range(6)],
    ),
    (
        "read in a mail program, then all links opened in tabs",
        [hit(at=LATER - 5000, agent=THUNDERBIRD), *visit(0, 0.5, 1, 1.5, 2)],
    ),
    (
        "read in Gmail, then all links opened in tabs",
        [hit(at=LATER - 5000, agent=GMAIL, network="66.249.1.0/24"), *visit(0, 0.5, 1, 1.5)],
    ),
    ("read in the browser a while before", [hit(at=LATER - 70_000), *visit(0, 0.5, 1, 1.5)]),
]


@pytest.mark.parametrize(("sign", "hits"), MACHINE_LIKE)
def test_of_a_burst_all_hits_are_a_scanners(sign: str, hits: list[Hit]) -> None:
    told = judged(*hits)
    assert {event.verdict for event in told.values()} == {"scanner"}
    assert all(sign in event.reasons for event in told.values())
    assert not any(event.first for event in told.values())


@pytest.mark.parametrize(("name", "hits"), PERSON_LIKE)
def test_a_person_who_does_much_is_no_burst(name: str, hits: list[Hit]) -> None:
    assert {event.verdict for event in judged(*hits).values()} <= {"human", "proxy"}


def test_a_machine_known_as_one_does_not_make_a_burst_of_a_person() -> None:
    click = hit(at=LATER, link=0)
    checks = [
        hit(at=LATER + 1000 * n, link=n, asn=8075, network=f"40.94.{n}.0/24") for n in range(5)
    ]
    assert verdicts(click, *checks) == ["human", *["scanner"] * 5]


@pytest.mark.parametrize("many", [0, 20])
def test_a_click_does_not_repeat_what_the_browser_fetched_ahead(many: int) -> None:
    """Neither while that is a mark nor when other hits have pushed it out."""
    ahead = hit(at=LATER, link=0, purpose="prefetch")
    others = [
        hit(at=LATER + 1000 + n, agent=GMAIL, network=f"66.249.{n}.0/24") for n in range(many)
    ]
    click, again = hit(at=LATER + 30_000, link=0), hit(at=LATER + 31_000, link=0)
    told = judged(ahead, *others, click, again)
    assert told[ahead.hit_id].verdict == "prefetch"
    assert (told[click.hit_id].verdict, told[click.hit_id].first) == ("human", True)
    assert again.hit_id not in told
    late = judged(click, ahead)
    assert (late[ahead.hit_id].verdict, late[click.hit_id].first) == ("prefetch", True)


def test_several_recipients_of_one_body_are_no_burst() -> None:
    two = {"recipient_count": 3, "recipients": [f"{n:032x}" for n in range(3)]}
    opens = [hit(at=LATER + 1000 * n, recipient=0, network=f"10.0.{n}.0/24") for n in range(4)]
    assert verdicts(*opens, **two) == ["human"] * 4
    one_more = hit(at=LATER + 5000, recipient=0, network="10.0.9.0/24")
    assert verdicts(*opens, one_more, **two) == ["scanner"] * 5
    # Within seconds links are followed by two people at the most, however many have the mail.
    ten = {"recipient_count": 10, "recipients": [f"{n:032x}" for n in range(10)]}
    links = [
        hit(at=LATER + 1000 * n, link=n, recipient=0, network=f"10.0.{n % 2}.0/24")
        for n in range(4)
    ]
    assert verdicts(*links, **ten) == ["scanner"] * 4
    assert verdicts(*links[:3], **ten) == ["human"] * 3
    # Of one network three links are enough.
    assert verdicts(*visit(0, 1, 2, recipient=0), **two) == ["scanner"] * 3
    # So too, where each has a body of its own, in each of them.
    apart = [hit(at=LATER + n, link=n, recipient=n + 1) for n in range(3)]
    assert verdicts(*apart, **two) == ["human"] * 3


def test_what_comes_with_a_scanner_is_the_scanners() -> None:
    asked, got = hit(at=LATER, link=0, method="HEAD"), hit(at=LATER + 200, link=0)
    told = judged(got, asked)
    assert told[got.hit_id].verdict == "scanner"
    assert told[got.hit_id].reasons == ["beside_scanner"]
    assert told[got.hit_id].revision == 2
    other = hit(at=LATER, link=0, agent=PHONE)
    assert verdicts(other, asked) == ["human", "scanner"]


CLOUD, HOME = {"asn": 16509}, {"asn": 64500}


@pytest.mark.parametrize(
    ("name", "hits", "verdict"),
    [
        ("two links within ten seconds", visit(0, 10, **CLOUD), "scanner"),
        ("two links, slowly", visit(0, 11, **CLOUD), "human"),
        (
            "two networks within two minutes",
            [hit(at=LATER, **ONE, **CLOUD), hit(at=LATER + 120_000, link=0, **TWO, **CLOUD)],
            "scanner",
        ),
        (
            "two networks, later",
            [hit(at=LATER, **ONE, **CLOUD), hit(at=LATER + 121_000, **TWO, **CLOUD)],
            "human",
        ),
        ("an open and a click", [hit(at=LATER, **CLOUD), *visit(1, **CLOUD)], "human"),
        ("two links from a home", visit(0, 10, **HOME), "human"),
        (
            "the mail had been read",
            [hit(at=LATER - 40_000, **CLOUD), *visit(0, 1, **CLOUD)],
            "human",
        ),
    ],
)
def test_a_pair_from_data_centres_is_a_scanners(name: str, hits: list[Hit], verdict: str) -> None:
    told = judged(*hits)
    assert {event.verdict for event in told.values()} == {verdict}
    if verdict == "scanner":
        assert all("hosting_pair" in event.reasons for event in told.values())


def test_a_pair_is_of_one_recipient_and_of_data_centres_alone() -> None:
    two = {"recipient_count": 2, "recipients": [f"{n:032x}" for n in range(2)]}
    apart = [hit(at=LATER + n, link=n, recipient=n + 1, **CLOUD) for n in range(2)]
    assert verdicts(*apart, **two) == ["human"] * 2
    mixed = [*visit(0, **ONE, **CLOUD), hit(at=LATER + 1000, link=1, **TWO, **HOME)]
    assert verdicts(*mixed) == ["human"] * 2


@pytest.mark.parametrize(
    ("after_s", "verdict", "sign"),
    [
        (-5, "scanner", "soon_after_send"),
        (0, "scanner", "soon_after_send"),
        (60, "scanner", "minutes_after_send"),
        (299, "scanner", "minutes_after_send"),
        (300, "human", "hosting_network"),
    ],
)
def test_from_a_data_centre_when_scanners_come(after_s: int, verdict: str, sign: str) -> None:
    made = hit(at=LATER + after_s * 1000, **CLOUD)
    event = judged(made, sent_at=LATER)[made.hit_id]
    assert event.verdict == verdict
    assert sign in event.reasons
    program = hit(at=LATER + after_s * 1000, agent=THUNDERBIRD, **CLOUD)
    assert verdicts(program, sent_at=LATER) == ["human"]
    at_home = hit(at=LATER + after_s * 1000, **HOME)
    assert verdicts(at_home, sent_at=LATER) == ["human"]


@pytest.mark.parametrize(
    ("name", "hits", "verdict"),
    [
        ("from a home", visit(0, 1, 2, 3, 4, **HOME), "human"),
        ("from a network that is not known", visit(0, 1, 2, 3, 4), "scanner"),
        ("from a data centre", visit(0, 1, 2, 3, 4, **CLOUD), "scanner"),
        (
            "from two networks",
            [*visit(0, 1, **ONE, **HOME), hit(at=LATER + 2000, link=2, **TWO, **HOME)],
            "scanner",
        ),
        (
            "from three networks",
            [hit(at=LATER + n, **net, **HOME) for n, net in enumerate((ONE, TWO, THREE))],
            "scanner",
        ),
    ],
)
def test_all_links_at_a_run_long_after_scanners(name: str, hits: list[Hit], verdict: str) -> None:
    told = judged(*hits, sent_at=LATER - 900_000)
    assert {event.verdict for event in told.values()} == {verdict}
    assert all(("long_after_send" in e.reasons) == (verdict == "human") for e in told.values())
    # A sender's clock may be ten minutes wrong, and most scanners come within five.
    told = judged(*hits, sent_at=LATER - 895_000)
    assert {event.verdict for event in told.values()} == {"scanner"}


@pytest.mark.parametrize(
    ("opened", "verdict"),
    [
        ({"network": "198.51.1.0/24", "agent": THUNDERBIRD}, "self"),
        ({"network": "198.51.1.0/24", "agent": THUNDERBIRD.replace("140", "141")}, "self"),
        ({"network": "198.51.1.0/24", "agent": BROWSER}, "human"),
        ({"network": "198.51.2.0/24", "agent": THUNDERBIRD}, "human"),
        ({"network": "198.51.1.0/24", "agent": THUNDERBIRD, "at": LATER + 10**7}, "human"),
    ],
)
def test_the_senders_own_open(opened: dict[str, Any], verdict: str) -> None:
    sender = {"sender_network": "198.51.1.0/24", "sender_agent": THUNDERBIRD, "sent_at": LATER}
    made = hit(**({"at": LATER + 600_000} | opened))
    assert verdicts(made, **sender) == [verdict]


def test_what_the_sender_clicks_after_looking() -> None:
    sender = {"sender_network": "198.51.1.0/24", "sender_agent": THUNDERBIRD, "sent_at": LATER}
    looked = hit(at=LATER + 10_000, agent=THUNDERBIRD, **ONE)
    clicked = hit(at=LATER + 20_000, link=0, **ONE)
    told = judged(clicked, looked, **sender)
    assert told[clicked.hit_id].verdict == "self"
    assert {"sender_network", "after_self"} < {*told[clicked.hit_id].reasons, "soon_after_send"}
    colleague = hit(at=LATER + 20_000, link=0, network="198.51.7.0/24")
    assert verdicts(looked, colleague, **sender) == ["self", "human"]
