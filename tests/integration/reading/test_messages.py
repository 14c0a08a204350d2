"""The list of messages and one message, on the real engine."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from mailwake.contracts import Purpose
from mailwake.reasons import SENTENCES
from mailwake_api import timeline
from tests.mailbox import (
    AT,
    DAY,
    HOUR,
    MINUTE,
    Asking,
    Mailbox,
    identity,
    numbers,
)

MARK = "f" * 32


async def test_a_mail_as_the_list_tells_it(mailbox: Mailbox, ben: Asking) -> None:
    send = mailbox.send(1, "anna", subject="Spring is here", tag="spring")
    opened = [mailbox.event(send, "open", MINUTE * n, score=40 + n) for n in (2, 5)]
    scanned = [mailbox.event(send, "click", 1000, "scanner", score=99)]
    mailbox.happen(send, *opened, *scanned)
    found = await ben.json("/v1/messages")
    assert found == {
        "messages": [
            {
                "message_id": send.message_id,
                "sent_at": send.sent_at,
                "subject": "Spring is here",
                "recipients": [
                    {
                        "recipient_id": identity("anna"),
                        "name": "Anna",
                        "address": "anna@example.com",
                    }
                ],
                "recipient_count": 1,
                "mode": "identified",
                "tag": "spring",
                "opened": True,
                "clicked": False,
                "opens": {
                    "tracked": True,
                    "withheld": False,
                    "count": 2,
                    "machines": 0,
                    "first_at": send.sent_at + 2 * MINUTE,
                    "last_at": send.sent_at + 5 * MINUTE,
                    "score": 45,
                },
                "clicks": {
                    "tracked": True,
                    "withheld": False,
                    "count": 0,
                    "machines": 1,
                    "first_at": None,
                    "last_at": None,
                    "score": None,
                },
                "forwards": 0,
                "readers": {"recipients": 1, "about": 1, "least": 1, "line": "the recipient"},
            }
        ],
        "next": None,
    }


async def test_filters_and_orders(mailbox: Mailbox, ben: Asking) -> None:
    sends = [
        mailbox.send(1, "anna", subject="Spring offer", tag="spring"),
        mailbox.send(2, "bob", subject="Summer OFFER", tag="summer"),
        mailbox.send(3, "anna", "bob", subject="Élan vital", tag="spring"),
        mailbox.send(4, "carol", opens=False, clicks=False),
        mailbox.send(5, "dora", displayed=False),
    ]
    mailbox.happen(sends[0], mailbox.event(sends[0], "open", 10 * HOUR))
    mailbox.happen(sends[1], mailbox.event(sends[1], "open", HOUR, "scanner"))
    mailbox.happen(
        sends[2], mailbox.event(sends[2], "open", HOUR), mailbox.event(sends[2], "click", HOUR)
    )
    for asked, expected in (
        ({}, [5, 4, 3, 2, 1]),
        ({"sort": "oldest"}, [1, 2, 3, 4, 5]),
        ({"sort": "opened"}, [1, 3]),
        ({"sort": "clicked"}, [3]),
        ({"sort": "opened", "clicked": False}, [1]),
        ({"tracked": True}, [5, 3, 2, 1]),
        ({"tracked": False}, [4]),
        ({"opened": True}, [3, 1]),
        ({"opened": False}, [5, 4, 2]),
        ({"clicked": True}, [3]),
        ({"clicked": False}, [5, 4, 2, 1]),
        ({"opened": True, "clicked": False}, [1]),
        ({"opened": False, "tracked": True}, [5, 2]),
        ({"opened": True, "recipient": identity("bob")}, [3]),
        ({"opened": True, "tracked": False}, []),
        ({"recipient": identity("bob")}, [3, 2]),
        ({"recipient": identity("nobody")}, []),
        ({"q": "offer"}, [4, 2, 1]),
        ({"q": "offer sUmmer"}, [2]),
        ({"q": "éLAN"}, [3]),
        ({"q": "anna@example"}, [3, 1]),
        ({"q": "  "}, [5, 4, 3, 2, 1]),
        ({"q": "bob", "opened": "true"}, [3]),
        ({"tag": "spring"}, [3, 1]),
        ({"tag": "spring", "sort": "opened"}, [1, 3]),
        ({"since": sends[1].sent_at, "until": sends[3].sent_at}, [3, 2]),
        ({"since": sends[1].sent_at, "sort": "opened"}, [3]),
    ):
        assert numbers(await ben.json("/v1/messages", **asked)) == expected, asked


async def test_pages_hold_every_mail_once_while_more_are_sent(
    mailbox: Mailbox, ben: Asking
) -> None:
    random.seed(3)
    for number in range(1, 24):  # several at the same time
        send = mailbox.send(number, "anna", sent_at=AT + number // 4)
        happened = [mailbox.event(send, "open", random.randrange(3))]
        mailbox.happen(send, *happened[: number % 5])
    for asked in ({}, {"sort": "oldest"}, {"sort": "opened"}, {"opened": True}, {"q": "offer"}):
        whole = numbers(await ben.json("/v1/messages", **asked, limit=200))
        assert len(whole) >= 18
        told: list[int] = []
        cursor: dict[str, Any] = {}
        while True:
            page = await ben.json("/v1/messages", **asked, **cursor, limit=4)
            told += numbers(page)
            assert len(page["messages"]) == 4 or page["next"] is None
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
            if len(told) == 8 and not asked:
                mailbox.send(99, "anna", sent_at=AT + DAY)  # is no part of what is being paged
        assert told == whole, asked
    page = await ben.json("/v1/messages", limit=1)
    for other in ({"sort": "oldest"}, {"q": "x"}, {"opened": True}):
        refused = await ben.json("/v1/messages", 422, cursor=page["next"], **other)
        assert refused["code"] == "cursor"


async def test_what_came_twice_or_was_revised_counts_once(mailbox: Mailbox, ben: Asking) -> None:
    send = mailbox.send(1, "anna")
    first = mailbox.event(send, "open", MINUTE, first=True)
    second = mailbox.event(send, "open", 2 * MINUTE)
    mailbox.happen(send, first)
    revised = replace(first, revision=2, verdict="scanner", reasons=["hit_burst"], first=False)
    mailbox.happen(send, revised, second, revision=3)
    mailbox.happen(send, first, revision=1)  # a replay
    mailbox.send(1, "anna")
    (mail,) = (await ben.json("/v1/messages"))["messages"]
    assert (mail["opens"]["count"], mail["opens"]["machines"]) == (1, 1)
    assert mail["opens"]["first_at"] == second.at
    view = await ben.json(f"/v1/messages/{send.message_id}")
    assert [(each["verdict"], each["revision"]) for each in view["events"]] == [
        ("human", 1),
        ("scanner", 2),
    ]
    overview = (await ben.json("/v1/reports/overview"))["rows"][0]
    assert (overview["mails"], overview["opens"], overview["machine_opens"]) == (1, 1, 1)
    (times,) = (await ben.json("/v1/reports/times"))["rows"]
    assert (times["opens"], times["clicks"]) == (1, 0)


async def test_one_mail_whole(mailbox: Mailbox, ben: Asking) -> None:
    send = mailbox.send(1, "anna", "bob", "carol")
    events = [
        mailbox.event(send, "open", MINUTE, "scanner", reasons=["hit_burst", "from_tomorrow"]),
        mailbox.event(send, "open", HOUR, "proxy", reasons=["gmail_proxy"], first=True, score=100),
        mailbox.event(send, "open", HOUR + 1, repeat=True),
        mailbox.event(send, "open", 2 * HOUR, forward=True),
        mailbox.event(send, "open", 3 * HOUR, implied=True, reasons=["implied_by_click"]),
        mailbox.event(send, "click", 3 * HOUR, link=1, target=send.links[1], first=True),
        mailbox.event(send, "click", 2 * MINUTE, "scanner"),
    ]
    mailbox.happen(send, *events)
    view = await ben.json(f"/v1/messages/{send.message_id}")
    told = view["events"]
    assert [(each["kind"], each["at"] - send.sent_at) for each in told[2:]] == [
        ("open", 2 * HOUR),
        ("open", HOUR),
        ("click", 2 * MINUTE),
        ("open", MINUTE),
    ]
    assert {each["kind"] for each in told[:2]} == {"open", "click"}
    by_id = {each["event_id"]: each for each in told}
    assert events[2].event_id not in by_id
    proxy = by_id[events[1].event_id]
    assert (proxy["person"], proxy["client"], proxy["score"]) == (True, "Gmail", 100)
    assert (proxy["recipient"], proxy["first"]) == (None, True)
    assert proxy["why"] == [{"code": "gmail_proxy", "sentence": SENTENCES["gmail_proxy"]}]
    scanner = by_id[events[0].event_id]
    assert not scanner["person"]
    assert scanner["why"][1] == {"code": "from_tomorrow", "sentence": ""}
    assert by_id[events[3].event_id]["forward"]
    assert by_id[events[4].event_id]["implied"]
    assert view["links"] == [
        {
            "link": 0,
            "target": "https://shop.example/",
            "text": "Our offer",
            "clicks": 0,
            "machines": 1,
            "first_at": None,
            "last_at": None,
        },
        {
            "link": 1,
            "target": "https://shop.example/terms",
            "text": "Terms",
            "clicks": 1,
            "machines": 0,
            "first_at": send.sent_at + 3 * HOUR,
            "last_at": send.sent_at + 3 * HOUR,
        },
    ]
    mail = view["message"]
    assert mail["readers"]["line"].startswith("someone of 3 recipients")
    assert mail["forwards"] == 1
    assert [each["name"] for each in mail["recipients"]] == ["Anna", "Bob", "Carol"]


@pytest.mark.parametrize("denied", [(), ("opens",), ("clicks",), ("opens", "clicks")])
async def test_clickhouse_counts_a_long_timeline_as_a_short_one_is_counted_here(
    mailbox: Mailbox, ben: Asking, monkeypatch: pytest.MonkeyPatch, denied: tuple[Purpose, ...]
) -> None:
    send = mailbox.send(1, "anna", "bob")
    for revision, verdict in enumerate(("human", "scanner"), 1):  # the first was judged anew
        first = mailbox.event(send, "click", MINUTE, verdict, score=99)  # type: ignore[arg-type]
        mailbox.happen(send, replace(first, event_id=MARK, revision=revision), revision=revision)
    events = [
        mailbox.event(send, "open", 2 * MINUTE, score=40),
        mailbox.event(send, "open", 3 * MINUTE, "proxy", score=70),
        mailbox.event(send, "open", 4 * MINUTE, score=90, forward=True),
        mailbox.event(send, "open", 5 * MINUTE, score=95, repeat=True),
        mailbox.event(send, "click", 6 * MINUTE, link=1, target=send.links[1], score=55),
        mailbox.event(send, "click", 7 * MINUTE, link=1, target=send.links[1], score=50),
        mailbox.event(send, "click", 8 * MINUTE, "scanner", score=80),
    ]
    for _ in range(2):  # and all come twice
        mailbox.happen(send, *events, revision=3)
    for purpose in denied:
        mailbox.say("bob", purpose, "denied")
    short = await ben.json(f"/v1/messages/{send.message_id}")
    monkeypatch.setattr(timeline, "MOST_EVENTS", 0)
    long = await ben.json(f"/v1/messages/{send.message_id}")
    assert short["message"] == long["message"]
    assert short["links"] == long["links"]
    scores = {purpose: short["message"][purpose]["score"] for purpose in ("opens", "clicks")}
    told = {"opens": 70, "clicks": 55} | dict.fromkeys(denied)
    assert scores == told


async def test_a_long_timeline_shows_the_newest(mailbox: Mailbox, ben: Asking) -> None:
    send = mailbox.send(1, "anna")
    mailbox.happen(send, *(mailbox.event(send, "open", n * MINUTE) for n in range(503)))
    view = await ben.json(f"/v1/messages/{send.message_id}")
    assert (len(view["events"]), view["more_events"]) == (500, True)
    assert view["events"][0]["at"] == send.sent_at + 502 * MINUTE
    assert view["message"]["opens"]["count"] == 503


async def test_a_mail_that_was_never_displayed_or_erased_or_asked_for(
    mailbox: Mailbox, ben: Asking
) -> None:
    send = mailbox.send(1, "anna", displayed=False)
    view = await ben.json(f"/v1/messages/{send.message_id}")
    assert view["message"]["subject"] is None
    assert view["message"]["recipients"] == [
        {"recipient_id": identity("anna"), "name": "", "address": None}
    ]
    assert view["message"]["readers"]["line"] == "not the recipient, as far as is known"
    assert view["links"][0]["text"] == ""
    mailbox.send(2, "anna", "bob", mode="anonymous")
    (mail, _) = (await ben.json("/v1/messages"))["messages"]
    assert mail["recipients"][0] == {
        "recipient_id": None,
        "name": "Anna",
        "address": "anna@example.com",
    }
