"""The bell as real processes on a real Kafka: alerts come, are read, and nothing is lost or doubled
whatever process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_module
import resource
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from mailwake.contracts import ALERT, ALERT_READS, Alert, user_key
from mailwake.http_server import Server, configure, listen
from mailwake.ids import alert_id, now_ms
from mailwake.kafka import start_producer
from mailwake.settings import Settings
from mailwake.topics_apply import apply_topics
from mailwake_api.server import Protocol
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.api import Api, api_settings, json, two_apis
from tests.following import standing, until


@pytest.fixture(scope="module")
def settings(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return asyncio.run(api_settings(kafka, tmp_path_factory.mktemp("bell"), partitions=4))


@pytest.fixture(scope="module")
def apis(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    with two_apis(settings, tmp_path_factory.mktemp("logs")) as both:
        yield both


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    made = await start_producer(settings, client_id="test-alerts", linger_ms=0)
    yield made
    await made.stop()


def alert(tenant: str, user: str, number: int, revision: int = 1) -> Alert:
    """An alert of the number-th event of a user."""
    event = f"{number:032x}"
    return Alert(
        alert_id=alert_id(event, tenant, user),
        revision=revision,
        event_id=event,
        kind="open",
        at=now_ms(),
        tenant=tenant,
        user=user,
        message_id="2" * 32,
        recipient=1,
        recipient_count=1,
        verdict="human",
        reasons=["browser"],
        recipient_id="3" * 32,
    )


async def ring(producer: AIOKafkaProducer, settings: Settings, *alerts: Alert) -> None:
    """Publishes alerts, and returns when Kafka has them."""
    sent = [
        await producer.send(
            settings.topic("alerts"), ALERT.encode(each), key=user_key(each.tenant, each.user)
        )
        for each in alerts
    ]
    await asyncio.gather(*sent)


class Reader:
    """A stream of alerts over a bare socket.

    Attributes:
        got: the ids of the alerts, as they came; `at` when each did.
        last: the id of the last event.
    """

    def __init__(self, api: Api, tenant: str, user: str, last: str = "") -> None:
        self._api = api
        self._token = api.token(user, tenant=tenant)
        self.last = last
        self.got: list[str] = []
        self.at: dict[str, float] = {}
        self.resyncs = 0
        self.live = asyncio.Event()

    async def listen(self) -> None:
        """Until the other side ends it."""
        port = self._api.settings.api_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        try:
            head = (
                "GET /v1/alerts/stream HTTP/1.1\r\nHost: a\r\n"
                f"Authorization: Bearer {self._token}\r\n"
            ) + (f"Last-Event-ID: {self.last}\r\n" if self.last else "")
            writer.write(head.encode() + b"\r\n")
            assert b" 200 " in await reader.readline()
            event = ""
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    self.last = line[4:].decode().strip()
                elif line.startswith(b"event: "):
                    event = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    self._take(event, json_module.loads(line[6:]))
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _take(self, event: str, data: Any) -> None:
        if event == "alert":
            self.got.append(data["alert_id"])
            self.at[data["alert_id"]] = time.perf_counter()
        elif event == "resync":
            self.resyncs += 1
        self.live.set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Reader]:
        """It listens while this lasts."""
        task = asyncio.create_task(self.listen())
        try:
            async with asyncio.timeout(20):
                await self.live.wait()
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def has(self, count: int) -> None:
        """Waits until it has so many."""
        await until(f"{count} alerts", lambda: len(self.got) >= count, 20)


async def test_alerts_are_told_at_once_and_stay_read(
    apis: list[Api], settings: Settings, producer: AIOKafkaProducer, tenant: str
) -> None:
    alerts = [alert(tenant, "ben", number) for number in range(5)]
    one, two = (api.client("ben", tenant=tenant) for api in apis)
    with one, two, apis[0].client("ben", tenant="other") as other:
        async with Reader(apis[0], tenant, "ben").listening() as ben:
            async with Reader(apis[1], tenant, "ada").listening() as ada:
                await ring(producer, settings, *alerts, alerts[0])
                await ben.has(5)
                assert ben.got == [each.alert_id for each in alerts]
                assert ada.got == []
            listed = json(await asyncio.to_thread(two.get, "/v1/alerts"))
            assert {each["alert_id"] for each in listed["alerts"]} == {*ben.got}
            assert listed["unread"] == 5
            assert json(await asyncio.to_thread(other.get, "/v1/alerts"))["alerts"] == []
            # Marked by both processes at the same time, none undoes the other, here and in Kafka.
            wanted: set[str] = set()
            for number, (first, second) in enumerate(((0, 1), (2, 3))):
                pair = [alerts[first].alert_id, alerts[second].alert_id]
                done = await asyncio.gather(
                    *(
                        asyncio.to_thread(
                            each.post, "/v1/alerts/read", json={"alert_ids": [marked]}
                        )
                        for each, marked in zip((one, two), pair, strict=True)
                    )
                )
                assert [each.status_code for each in done] == [200, 200]
                wanted |= {*pair}
                for each in (one, two):
                    told = json(await asyncio.to_thread(each.get, "/v1/alerts"))
                    assert told["unread"] == 3 - 2 * number
                    read = {a["alert_id"] for a in told["alerts"] if a["read"]}
                    assert read == wanted
                kept = (await standing(settings, "alert_reads"))[user_key(tenant, "ben")]
                assert {*ALERT_READS.decode(kept).alert_ids} == wanted


@pytest.mark.fault(21)
async def test_a_reader_that_comes_back_anywhere_gets_what_it_missed_once(
    apis: list[Api], settings: Settings, producer: AIOKafkaProducer, tenant: str
) -> None:
    """Alerts come all the time while the reader goes from one process to the other."""
    alerts = [alert(tenant, "ben", number) for number in range(120)]
    ended = asyncio.Event()

    async def ringing() -> None:
        for each in alerts:
            await ring(producer, settings, each)
            await asyncio.sleep(0.02)
        ended.set()

    got: list[str] = []
    async with Reader(apis[0], tenant, "ben").listening() as first:
        ringer = asyncio.create_task(ringing())
        await first.has(1)
    got, last, turn = first.got, first.last, 0
    while not ended.is_set():
        turn += 1
        async with Reader(apis[turn % 2], tenant, "ben", last).listening() as ben:
            await asyncio.sleep(0.15)
        got, last = got + ben.got, ben.last
        assert ben.resyncs == 0
    await ringer
    async with Reader(apis[0], tenant, "ben", last).listening() as ben:
        await ben.has(len(alerts) - len(got))
    assert got + ben.got == [each.alert_id for each in alerts]
    assert turn > 5


async def test_a_killed_process_knows_all_when_it_is_back(
    settings: Settings, producer: AIOKafkaProducer, tenant: str, tmp_path: Path
) -> None:
    api = Api(settings, tmp_path, "killed")
    with api, api.client("ben", tenant=tenant) as ben:
        got: list[str] = []
        last, alerts = "", [alert(tenant, "ben", number) for number in range(60)]
        for turn in range(3):
            reader = Reader(api, tenant, "ben", last)
            async with reader.listening():
                await ring(producer, settings, *alerts[turn * 20 : turn * 20 + 10])
                await reader.has(10 if turn == 0 else 20)
                read = json(
                    await asyncio.to_thread(
                        ben.post, "/v1/alerts/read", json={"alert_ids": reader.got[:2]}
                    )
                )
                assert read["unread"] == len(got) + len(reader.got) - 2 * turn - 2
                api.kill()
            got, last = got + reader.got, reader.last
            await ring(producer, settings, *alerts[turn * 20 + 10 : turn * 20 + 20])
            await asyncio.to_thread(api.start)
        async with Reader(api, tenant, "ben", last).listening() as reader:
            await reader.has(10)
        assert got + reader.got == [each.alert_id for each in alerts]
        listed = json(await asyncio.to_thread(ben.get, "/v1/alerts", params={"limit": 200}))
        assert len(listed["alerts"]) == 60
        assert listed["unread"] == 54


async def test_a_stream_outlasts_a_kafka_that_goes_away(
    settings: Settings, tenant: str, tmp_path: Path
) -> None:
    with LocalKafka(tmp_path / "kafka", port=free_port()) as local:
        own = replace(settings, kafka_bootstrap=local.bootstrap, topic_prefix="")
        await apply_topics(own)
        api = Api(own, tmp_path, "alone")
        with api, api.client("ben", tenant=tenant) as ben:
            async with Reader(api, tenant, "ben").listening() as reader:
                await ring_once(own, alert(tenant, "ben", 1))
                await reader.has(1)
                local.kill()
                told = json(await asyncio.to_thread(ben.get, "/v1/alerts"), 503)
                assert told["code"] == "unavailable"
                marked = await asyncio.to_thread(
                    ben.post, "/v1/alerts/read", json={"alert_ids": reader.got}
                )
                assert marked.status_code == 503
                local.start()
                await ring_once(own, alert(tenant, "ben", 2))
                await reader.has(2)

                def marked_now() -> bool:
                    reading = {"alert_ids": reader.got}
                    return ben.post("/v1/alerts/read", json=reading).status_code == 200

                await until("they are marked", marked_now)
            assert json(await asyncio.to_thread(ben.get, "/v1/alerts"))["unread"] == 0
            assert reader.resyncs == 0


async def ring_once(settings: Settings, each: Alert) -> None:
    """Publishes an alert with a producer of its own."""
    producer = await start_producer(settings, client_id="test-alert", linger_ms=0)
    try:
        await ring(producer, settings, each)
    finally:
        await producer.stop()


async def test_the_end_of_a_process_sends_its_readers_away(
    settings: Settings, tenant: str, tmp_path: Path
) -> None:
    api = Api(settings, tmp_path, "ended")
    with api:
        async with Reader(api, tenant, "ben").listening():
            at = time.monotonic()
            assert await asyncio.to_thread(api.stop) == 0
            assert time.monotonic() - at < 5


async def test_two_thousand_readers_on_one_process(
    settings: Settings, producer: AIOKafkaProducer, tenant: str, tmp_path: Path
) -> None:
    """All get theirs, in time; those that take nothing cost a buffer each, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.skip("fewer than 8,192 open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    count, rounds = 2000, 5
    api = Api(settings, tmp_path, "many")
    with api:
        before = api.memory()
        readers = [Reader(api, tenant, f"u{number}") for number in range(count)]
        tasks = []
        for start in range(0, count, 200):
            tasks += [asyncio.create_task(each.listen()) for each in readers[start : start + 200]]
            async with asyncio.timeout(20):
                await asyncio.gather(*(each.live.wait() for each in readers[start : start + 200]))
        idle = api.memory() - before
        deaf = [deaf_reader(api, tenant) for _ in range(10)]
        try:
            rung: dict[str, float] = {}
            for turn in range(rounds):
                for number in range(turn, count, rounds):
                    each = alert(tenant, f"u{number}", 1)
                    rung[each.alert_id] = time.perf_counter()
                    await ring(producer, settings, each)
                    if number % 10 == 0:
                        await ring(producer, settings, alert(tenant, "deaf", number))
            await until("all have theirs", lambda: all(each.got for each in readers), 20)
            assert all(len(each.got) == 1 and each.resyncs == 0 for each in readers)
            took = sorted(each.at[each.got[0]] - rung[each.got[0]] for each in readers)
            full = api.memory() - before
            print(
                f"2,000 readers: {idle / count:.1f} KiB each; from the producer to the socket "
                f"median {statistics.median(took) * 1000:.1f} ms, "
                f"99th {took[int(count * 0.99)] * 1000:.1f} ms; {full - idle} KiB more at the end"
            )
            assert statistics.median(took) < 0.1
            assert full < 150_000
        finally:
            for sock in deaf:
                sock.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.to_thread(api.ask, "/health")
    assert "Traceback" not in api.log.read_text()


@pytest.mark.fault(21)
async def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailwake_api.server.TAKE_DEADLINE_TICKS", 1)
    sent, ended = 0, asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 9000, "more_body": True})
            sent += 9000
            await asyncio.sleep(0)
        ended.set()

    listener = listen("API", "127.0.0.1", 0)
    server = Server(configure(endless, Protocol, answer_deadline_s=1))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    with socket.create_connection(listener.getsockname()[:2]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            async with asyncio.timeout(10):
                await ended.wait()
            assert sent < 20_000_000
        finally:
            server.should_exit = True
            await serving


def deaf_reader(api: Api, tenant: str) -> socket.socket:
    """One that listens and takes nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", api.settings.api_port))
    token = api.token("deaf", tenant=tenant)
    sock.sendall(
        b"GET /v1/alerts/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n"
        % token.encode()
    )
    return sock
