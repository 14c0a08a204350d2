"""The stream of a user's alerts, in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from mailwake.ids import now_ms
from mailwake_api import stream
from tests.unit.api.listening import Client, Listener
from tests.unit.api.memory import Memory
from tests.unit.api.values import alert


async def test_a_stream_tells_what_comes(memory: Memory) -> None:
    memory.bell.ring(alert(1, at=now_ms()))
    async with Listener(memory) as ben, Listener(memory, "ada") as ada:
        assert await ben.take() == {"id": "0-1", "event": "unread", "data": '{"unread":1}'}
        assert await ada.take() == {"id": "0-1", "event": "unread", "data": '{"unread":0}'}
        memory.bell.ring(alert(2, at=now_ms()))
        told = await ben.take()
        assert (told["id"], told["event"]) == ("0-2", "alert")
        shown = json.loads(told["data"])
        assert shown == (await Client(memory, "ben").listed(limit=1))["alerts"][0]
        assert (await ben.take())["data"] == '{"unread":2}'
        await Client(memory, "ben").read(alert_ids=[shown["alert_id"]])
        assert await ben.take() == {"id": "0-2", "event": "unread", "data": '{"unread":1}'}
        assert memory.bell._listeners == 2
        memory.bell.close()
        assert await ben.take() == {} == await ada.take()
    assert memory.bell._listeners == 0
    assert memory.bell._listening == {}


async def test_a_stream_goes_on_where_its_reader_stood(memory: Memory) -> None:
    memory.bell.ring(*(alert(number, at=now_ms()) for number in range(25)))
    listed = await Client(memory, "ben").listed()
    memory.bell.ring(*(alert(number, at=now_ms()) for number in (30, 31, 2)))  # 2: once more
    async with Listener(memory, last=listed["last_event_id"]) as ben:
        pieces = await taken(ben)
        assert [event["id"] for event in pieces] == ["0-26", "0-27", "0-28"]
        assert [event["event"] for event in pieces] == ["alert", "alert", "unread"]


async def test_a_reader_that_missed_something_is_told_to_read_again(memory: Memory) -> None:
    memory.bell.ring(*(alert(number, at=now_ms() + number) for number in range(300)))
    for last in ("0-3", "0-99999", "7-1"):  # left out, of another topic, of another partition
        async with Listener(memory, last=last) as ben:
            assert await ben.take() == {"id": "0-300", "event": "resync", "data": "{}"}
            assert (await ben.take())["event"] == "unread"
    async with Listener(memory, last="0-290") as ben:
        assert [e["id"] for e in await taken(ben)] == [f"0-{n}" for n in range(291, 301)] + [
            "0-300"
        ]
    answer = await Client(memory, "ben")._http.get(
        "/v1/alerts/stream", headers={"Last-Event-ID": "x"}
    )
    assert answer.json()["code"] == "last_event_id"


async def taken(listener: Listener) -> list[dict[str, str]]:
    """All events up to the first that tells how many are unread."""
    found: list[dict[str, str]] = []
    while not found or found[-1]["event"] != "unread":
        found.append(await listener.take())
    return found


async def test_a_reader_that_takes_nothing_is_told_to_read_again(memory: Memory) -> None:
    async with Listener(memory) as ben:
        async with asyncio.timeout(5):  # it waits for its first piece to be taken
            while not ben.waits:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        for number in range(1000):
            memory.bell.ring(alert(number, at=now_ms() + number))
        while (told := await ben.take())["event"] != "resync":
            assert told["event"] == "unread"
        assert told["id"] == "0-1000"
        assert (await ben.take())["data"] == '{"unread":200}'
        memory.bell.ring(alert(1000, at=now_ms() + 2000))
        assert (await ben.take())["id"] == "0-1001"


@pytest.mark.parametrize(("every_s", "between"), [(0.0, 5), (3600.0, 0)])
async def test_what_is_unread_is_told_no_more_often_than_is_worth_it(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, every_s: float, between: int
) -> None:
    monkeypatch.setattr(stream, "UNREAD_EVERY_S", every_s)
    async with Listener(memory) as ben:
        assert (await ben.take())["data"] == '{"unread":0}'
        told = []
        for number in range(5):
            memory.bell.ring(alert(number, at=now_ms() + number))
            told.append((await ben.take())["event"])
            for _ in range(between // 5):
                told.append((await ben.take())["event"])
    assert (told.count("alert"), told.count("unread")) == (5, between)


async def test_what_is_unread_is_told_in_the_end(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "UNREAD_EVERY_S", 0.2)
    async with Listener(memory) as ben:
        assert (await ben.take())["data"] == '{"unread":0}'
        memory.bell.ring(*(alert(number, at=now_ms() + number) for number in range(5)))
        while (told := await ben.take())["data"] != '{"unread":5}':
            assert told["event"] in ("alert", "unread")


async def test_a_quiet_stream_shows_that_it_lives_and_ends_in_time(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(stream, "LIFE_S", 0.3)
    beats = 0
    async with Listener(memory) as ben:
        while True:
            async with asyncio.timeout(5):
                message = await ben._pieces.get()
            if message.get("more_body") is False:
                break
            beats += message.get("body", b"").startswith(b":\nid: 0-0")
        assert beats > 3


async def test_nobody_takes_all_the_room(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailwake_api.bell.MOST_READERS_OF_A_USER", 2)
    monkeypatch.setattr("mailwake_api.bell.MOST_READERS", 3)
    ada = Client(memory, "ada")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await (await stack.enter_async_context(Listener(memory))).take()
        answer = await Client(memory, "ben")._http.get("/v1/alerts/stream")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
        await (await stack.enter_async_context(Listener(memory, "ada"))).take()
        answer = await ada._http.get("/v1/alerts/stream")
        assert answer.status_code == 503
    assert memory.bell._listeners == 0
