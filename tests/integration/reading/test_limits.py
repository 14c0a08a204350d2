"""What is answered whatever fits, what takes too long, and a ClickHouse that is away or bare."""

from __future__ import annotations

import asyncio
import time
import zoneinfo
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake_api import reading
from mailwake_api.call import Endpoint
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.problems import Problem
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.ports import free_port
from tests.mailbox import (
    HOUR,
    Asking,
    Mailbox,
    ReadingApi,
    identity,
    numbers,
)

READING = ("mailwake_api.messages", "mailwake_api.contacts", "mailwake_api.reports")


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
