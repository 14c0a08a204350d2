"""Bursts, and what stands beside a machine or the sender: the first hits are corrected too."""

from __future__ import annotations

from typing import Any

import pytest

from mailwake.contracts import Event, Hit, Track
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


def test_several_recipients_of_one_body_are_no_burst() -> None:
    two = {"recipient_count": 3, "recipients": [f"{n:032x}" for n in range(3)]}
    opens = [hit(at=LATER + 1000 * n, recipient=0, network=f"10.0.{n}.0/24") for n in range(4)]
    assert verdicts(*opens, **two) == ["human"] * 4
    one_more = hit(at=LATER + 5000, recipient=0, network="10.0.9.0/24")
    assert verdicts(*opens, one_more, **two) == ["scanner"] * 5
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
