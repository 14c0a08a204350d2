"""The list of messages, one message and a contact, on the real engine."""

from __future__ import annotations

import asyncio
import random
import time
import zoneinfo
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mailwake.reasons import SENTENCES
from mailwake_api import reading
from mailwake_api.call import Endpoint
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.mails import read_mails
from mailwake_api.problems import Problem
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.ports import free_port
from tests.mailbox import AT, DAY, HOUR, MINUTE, Asking, Mailbox, ReadingApi, identity

READING = ("mailwake_api.messages", "mailwake_api.contacts", "mailwake_api.reports")


@pytest.fixture
def mailbox(clickhouse: str) -> Iterator[Mailbox]:
    made = Mailbox(clickhouse)
    yield made
    made.client.close()


@pytest.fixture
async def api(mailbox: Mailbox, tmp_path: Path) -> AsyncIterator[ReadingApi]:
    made = ReadingApi(tmp_path, mailbox.url)
    yield made
    await made.reader.stop()


@pytest.fixture
async def ben(api: ReadingApi) -> AsyncIterator[Asking]:
    async with api.client() as client:
        yield client


def numbers(found: dict[str, Any]) -> list[int]:
    return [int(each["message_id"], 16) for each in found["messages"]]


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


async def test_who_denies_is_not_shown(mailbox: Mailbox, ben: Asking) -> None:
    alone, shared, other = (
        mailbox.send(1, "anna"),
        mailbox.send(2, "anna", "bob"),
        mailbox.send(3, "bob"),
    )
    for send in (alone, shared, other):
        mailbox.happen(
            send, mailbox.event(send, "open", HOUR), mailbox.event(send, "click", 2 * HOUR)
        )

    async def counted() -> list[tuple[int, int]]:
        found = (await ben.json("/v1/messages", sort="oldest"))["messages"]
        return [(each["opens"]["count"], each["clicks"]["count"]) for each in found]

    assert await counted() == [(1, 1)] * 3
    mailbox.say("anna", "opens", "granted", AT)
    mailbox.say("anna", "opens", "denied", AT + 1)
    assert await counted() == [(0, 1), (0, 1), (1, 1)]
    assert numbers(await ben.json("/v1/messages", opened=True)) == [3]
    assert numbers(await ben.json("/v1/messages", opened=False)) == [2, 1]
    assert numbers(await ben.json("/v1/messages", sort="opened")) == [3]
    assert numbers(await ben.json("/v1/messages", clicked=True)) == [3, 2, 1]
    for send in (alone, shared):
        view = await ben.json(f"/v1/messages/{send.message_id}")
        opens = view["message"]["opens"]
        assert opens == {
            "tracked": True,
            "withheld": True,
            "count": 0,
            "machines": 0,
            "first_at": None,
            "last_at": None,
            "score": None,
        }
        assert (view["message"]["opened"], view["message"]["readers"]) == (False, None)
        assert [each["kind"] for each in view["events"]] == ["click"]
        assert view["links"][0]["clicks"] == 1
    row = (await ben.json("/v1/reports/overview"))["rows"][0]
    assert (row["mails"], row["opens"], row["clicks"], row["withheld"]) == (3, 1, 3, 2)
    contact = await ben.json(f"/v1/contacts/{identity('anna')}")
    assert contact["consent"] == {
        "opens": {"state": "denied", "at": AT + 1},
        "clicks": {"state": "unknown", "at": None},
    }
    mailbox.say("anna", "clicks", "denied", AT + 2)
    view = await ben.json(f"/v1/messages/{alone.message_id}")
    assert view["events"] == []
    assert view["links"][0]["clicks"] == 0
    mailbox.say("anna", "opens", "granted", AT + 3, wording="Yes?")
    assert await counted() == [(1, 0), (1, 0), (1, 1)]


async def test_the_rule_is_that_of_the_view(mailbox: Mailbox, api: ReadingApi) -> None:
    """Whatever recipients say: what a page tells is what `consented_events` has."""
    random.seed(11)
    names = ["anna", "bob", "carol", "dora"]
    sends = []
    for number in range(1, 31):
        send = mailbox.send(number, *random.sample(names, random.choice((1, 1, 2, 3))))
        mailbox.happen(
            send,
            *(mailbox.event(send, "open", n * HOUR) for n in range(number % 3)),
            *(mailbox.event(send, "click", n * HOUR) for n in range(number % 2)),
        )
        sends.append(send)
    ids = [send.message_id for send in sends]
    async with api.client() as ben:
        for turn in range(8):
            for name in names:
                for purpose in ("opens", "clicks"):
                    state = random.choice(("granted", "denied", "unknown"))
                    at = AT + random.randrange(20) + turn
                    mailbox.say(name, purpose, state, at, wording=f"{turn}")  # type: ignore[arg-type]
            rows = mailbox.client.query(
                "SELECT message_id, countIf(kind = 'open'), countIf(kind = 'click')"
                " FROM consented_events(tenant = 'acme', user = 'ben') GROUP BY message_id"
            )
            expected = {row[0]: row[1:] for row in rows}
            mails = await read_mails(api.reader, "acme", "ben", ids)
            for mail in mails:
                counts = (mail.opens.count, mail.clicks.count)
                assert counts == expected.get(mail.message_id, (0, 0))
            opened = {each.message_id for each in mails if each.opened}
            for wish, those in ((True, opened), (False, {*ids} - opened)):
                found = await ben.json("/v1/messages", opened=wish, limit=200)
                assert {each["message_id"] for each in found["messages"]} == those
            row = (await ben.json("/v1/reports/overview"))["rows"][0]
            assert row["opens"] == sum(each[0] for each in expected.values())
            assert row["clicks"] == sum(each[1] for each in expected.values())


async def test_a_contact(mailbox: Mailbox, ben: Asking) -> None:
    for number in range(1, 6):
        send = mailbox.send(number, *(("anna",) if number % 2 else ("bob", "anna")))
        mailbox.happen(send, mailbox.event(send, "open", HOUR))
    mailbox.send(9, "carol")
    mailbox.say("anna", "opens", "granted", AT, wording="I agree.")
    path = f"/v1/contacts/{identity('anna')}"
    contact = await ben.json(path, limit=3)
    assert (contact["name"], contact["address"]) == ("Anna", "anna@example.com")
    assert (contact["sent"], contact["last_sent_at"]) == (5, AT + 5 * HOUR)
    assert contact["consent"]["opens"] == {"state": "granted", "at": AT}
    assert numbers(contact) == [5, 4, 3]
    rest = await ben.json(path, limit=3, cursor=contact["next"])
    assert (numbers(rest), rest["next"]) == ([2, 1], None)
    assert numbers(await ben.json(path, sort="oldest")) == [1, 2, 3, 4, 5]
    await ben.json(f"/v1/contacts/{identity('dora')}", 404)


async def test_nobody_sees_what_is_not_theirs(mailbox: Mailbox, api: ReadingApi) -> None:
    send = mailbox.send(1, "anna", tag="secret")
    mailbox.happen(send, mailbox.event(send, "open", HOUR), mailbox.event(send, "click", HOUR))
    mailbox.send(2, "zoe", user="eve")
    paths = [f"/v1/messages/{send.message_id}", f"/v1/contacts/{identity('anna')}"]
    nothing = [f"/v1/messages/{9:032x}", f"/v1/contacts/{identity('nobody')}", "/v1/messages/x"]
    reports = [f"/v1/reports/{name}" for name in ("overview", "links", "times", "clients")]
    for sub, role, tenant, params in (
        ("eve", "user", "acme", {}),
        ("ada", "admin", "acme", {}),
        ("ben", "user", "other", {}),
        ("crm", "platform", "acme", {"user": "eve"}),
        ("crm", "platform", "other", {"user": "ben"}),
        ("ben", "platform", "acme", {"user": "eve"}),
    ):
        async with api.client(sub, role, tenant) as other:  # type: ignore[arg-type]
            answers = {(await other.get(each, params=params)).content for each in paths + nothing}
            assert len(answers) == 1  # nothing tells what is another's from what is not at all
            assert b"not_found" in answers.pop()
            wishes: list[dict[str, Any]] = [{}, {"q": "offer"}, {"opened": True}]
            for wish in [*wishes, {"recipient": identity("anna")}]:
                found = await other.get("/v1/messages", params=params | wish)
                assert send.message_id not in found.text
            for each in reports:
                found = await other.get(each, params=params | {"by": "tag"})
                assert "secret" not in found.text
                assert "shop.example" not in found.text
    async with api.client("crm", "platform") as crm:
        assert numbers(await crm.json("/v1/messages", user="ben")) == [1]
        await crm.json(paths[0], user="ben")
        for each in ("/v1/messages", *paths, *reports):
            assert (await crm.json(each, 422))["code"] == "no_user"
    async with api.client("eve") as eve:
        for each in ("/v1/messages", *paths, *reports):
            assert (await eve.json(each, 403, user="ben"))["code"] == "not_yours"


async def test_an_etag_spares_what_is_known(mailbox: Mailbox, ben: Asking) -> None:
    send = mailbox.send(1, "anna")
    paths = [
        "/v1/messages",
        f"/v1/messages/{send.message_id}",
        f"/v1/contacts/{identity('anna')}",
        "/v1/reports/overview",
        "/v1/reports/overview?format=csv",
    ]
    tags = {}
    for path in paths:
        answer = await ben.get(path)
        tags[path] = answer.headers["etag"]
        again = await ben.get(path, headers={"If-None-Match": tags[path]})
        assert (again.status_code, again.content) == (304, b"")
    mailbox.happen(send, mailbox.event(send, "open", HOUR))
    for path in paths:
        answer = await ben.get(path, headers={"If-None-Match": tags[path]})
        assert answer.status_code == 200


async def test_what_takes_too_long_or_is_too_much_is_ended(
    api: ReadingApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_SETTINGS", " SETTINGS max_execution_time = 1")
    began = time.monotonic()
    with pytest.raises(Problem) as told:
        await api.reader.rows(
            "SELECT count() FROM system.numbers WHERE NOT ignore(sipHash64(number))"
        )
    assert (told.value.status, told.value.code) == (422, "too_much")
    assert time.monotonic() - began < 8
    monkeypatch.undo()
    with pytest.raises(Problem) as told:
        await api.reader.rows("SELECT number FROM numbers(%(most)s)", most=200_000)
    assert told.value.code == "too_much"
    assert await api.reader.rows("SELECT %(it)s", it="it's %") == [("it's %",)]


async def test_many_may_ask_at_the_same_time(mailbox: Mailbox, api: ReadingApi) -> None:
    for number in range(1, 4):
        mailbox.send(number, "anna", user="ben" if number % 2 else "eve")
    async with api.client("ben") as ben, api.client("eve") as eve:
        asking = [(ben, [3, 1]), (eve, [2])] * 8
        found = await asyncio.gather(*(who.json("/v1/messages") for who, _ in asking))
    for each, (_, expected) in zip(found, asking, strict=True):
        assert numbers(each) == expected


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "tracked": st.booleans(),
        "opened": st.booleans(),
        "clicked": st.booleans(),
        "q": st.text(max_size=200),
        "recipient": st.sampled_from([identity("anna"), "0" * 32, "f" * 32]),
        "tag": st.text(min_size=1, max_size=64),
        "since": st.integers(0, 1 << 42),
        "until": st.integers(0, 1 << 42),
        "sort": st.sampled_from(["newest", "oldest", "opened", "clicked"]),
        "limit": st.integers(1, 200),
        "by": st.sampled_from(["all", "day", "hour", "tag"]),
        "zone": st.sampled_from(sorted(zoneinfo.available_timezones())),
        "format": st.sampled_from(["json", "csv"]),
    },
)


async def test_whatever_fits_is_answered_as_the_document_says(
    mailbox: Mailbox, api: ReadingApi
) -> None:
    """`Asking` holds every answer against it."""
    for number in range(1, 6):
        send = mailbox.send(number, "anna", tag=f"{number}")
        mailbox.happen(send, mailbox.event(send, "open", HOUR), mailbox.event(send, "click", HOUR))
    endpoints = [each for each in ENDPOINTS if each.handler.__module__ in READING]
    assert len(endpoints) == 7

    @given(st.sampled_from(endpoints), ASKED, st.booleans())
    @hypothesis.settings(max_examples=150, deadline=None)
    def ask(endpoint: Endpoint, asked: dict[str, Any], known: bool) -> None:
        assert endpoint.asks is not None
        fits = {each: asked[each] for each in asked if each in endpoint.asks.__struct_fields__}
        path = endpoint.path.format(
            message_id=f"{1 if known else 77:032x}",
            recipient_id=identity("anna" if known else "nobody"),
        )
        answer = portal.call(lambda: ben.get(path, params=fits))
        statuses = (200,) if known or "{" not in endpoint.path else (404,)
        contradiction = fits.get("sort") in ("opened", "clicked") and (
            fits.get(fits["sort"]) is False
        )
        assert answer.status_code in ((422,) if contradiction else statuses), answer.text

    async with api.client() as ben:
        portal = _Portal(asyncio.get_running_loop())
        await asyncio.to_thread(ask)


class _Portal:
    """Calls from a thread into the event loop, for hypothesis is not asynchronous."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call(self, make: Callable[[], Coroutine[Any, Any, httpx.Response]]) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(60)


async def test_without_a_migration_it_says_so(clickhouse: str, tmp_path: Path) -> None:
    api = ReadingApi(tmp_path, f"{clickhouse.rpartition('/')[0]}/nothing_here")
    async with api.client() as ben:
        refused = await ben.json("/v1/messages", 503)
    assert "not set up" in refused["detail"]
    await api.reader.stop()


async def test_while_clickhouse_is_away_the_rest_goes_on(tmp_path: Path) -> None:
    port, password = free_port(), "secret"
    url = f"clickhouse://default:{password}@127.0.0.1:{port}/default"
    api = ReadingApi(tmp_path, url)
    paths = ["/v1/messages", "/v1/reports/overview", "/v1/reports/links?format=csv"]
    async with api.client() as ben:
        for turn in range(3):
            for path in [*paths, f"/v1/messages/{1:032x}", f"/v1/contacts/{identity('anna')}"]:
                answer = await ben.get(path)
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "5"
                assert answer.json()["code"] == "unavailable"
            assert (await ben.get("/v1/preferences")).status_code == 200
            if turn == 2:
                break
            with LocalClickHouse(tmp_path / "data", port=port, password=password) as local:
                mailbox = Mailbox(local.url, "default")
                send = mailbox.send(1, "anna")
                mailbox.client.close()
                for path in paths:
                    assert (await ben.get(path)).status_code == 200
                assert send.message_id in (await ben.get("/v1/messages")).text
    await api.reader.stop()
