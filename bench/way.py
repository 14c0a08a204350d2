"""From a pixel at the edge to the bell's stream and to ClickHouse, at 1,000 hits a second.

Edge, enricher, notifier and API are the real services, each in its own process, on a real Kafka;
the settle windows are 0. Every hit is the first open of another mail, by a mail program; the mails
are of 200 users, each with a stream open. All times begin when the request was due, whether or not
the one before it was answered by then, and end when this process has the answer, when Kafka has
appended the record (its topics stamp records themselves here, and are read when all is over, so
that measuring takes as little as it can of the cores that are measured), or when this process has
the alert from the stream. A second run has the loader as well; there they end when ClickHouse shows
the row, which is asked ten times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from clickhouse_driver import Client

from bench.edge import AGENT, await_answer, server
from bench.row import Row
from mailwake.contracts import ALERT, EVENT, HIT, SEND, Send
from mailwake.errors import UnavailableError
from mailwake.ids import new_message_id, now_ms, partitioner
from mailwake.kafka import start_admin, start_consumer, start_producer
from mailwake.keyring import Keyring, new_keyring
from mailwake.migrate import migrate
from mailwake.settings import Settings, read_settings
from mailwake.tokens import Token
from mailwake.topics import registry
from mailwake.topics_apply import apply_topics
from mailwake_api.bearer import Caller
from mailwake_api.commands import keys_command, new_token
from mailwake_api.keys import read_keys
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import HOST, free_port

RATE = int(os.environ.get("RATE", "1_000"))
"""Hits a second."""
SECONDS = int(os.environ.get("SECONDS", "20"))
WARM = 0.2
"""The part of the hits that is not counted."""
USERS = 200
CONNECTIONS = 64
PARTITIONS = 4
"""As many as one enricher on a share of two cores keeps up with."""
IN_RECORD = 100
DEADLINE_S = 90.0
STORE_POLL_S = 0.1
SERVICES = ("edge", "enricher", "notifier", "api")
STAGES = ("edge answered", "hit in Kafka", "event", "alert", "bell")
AIMS_MS = {50: 100.0, 99: 500.0}
"""Of a hundred alerts, so many ring within so long."""


def measure() -> list[Row]:
    """The median and p99 of each stage, to the bell and to ClickHouse, beside the aims of the
    bell. Takes about two minutes."""
    took = went(SERVICES)
    # The store has a run of its own: it takes of the cores that the way to the bell needs.
    took["ClickHouse"] = went((*SERVICES, "loader"))["ClickHouse"]
    say(f"{'':<16}{'p50':>10}{'p99':>10}")
    for stage, values in took.items():
        say(f"{stage:<16}{percentile(values, 50):>7.1f} ms{percentile(values, 99):>7.1f} ms")
    return [
        Row(
            stage=f"way: pixel to {stage}, p{part}",
            figure=percentile(took[stage], part),
            beside=aim,
            unit="ms",
            beside_what=f"the aim of the bell, at {RATE:,} hits/s",
            aim=1.0 if stage == "bell" else None,
            less=True,
        )
        for stage in took
        for part, aim in AIMS_MS.items()
    ]


def went(services: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each hit to each stage, with these services running."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        store = None
        if "loader" in services:
            store = stack.enter_context(LocalClickHouse(folder / "clickhouse")).url
            migrate(store)
        with contextlib.redirect_stdout(sys.stderr):
            keys_command(["new", str(folder / "api-keys.json")])
        keyring = new_keyring()
        keyring.write(folder / "keys.json")
        edge_port, api_port = free_port(), free_port()
        each = {
            name: read_settings(
                {},
                kafka_bootstrap=kafka.bootstrap,
                partitions=PARTITIONS,
                keyring=folder / "keys.json",
                api_keys=folder / "api-keys.json",
                edge_port=edge_port,
                api_port=api_port,
                ops_port=free_port(),
                state=folder / name,
                settle_s=0,
                settle_doubtful_s=0,
                log_level="warning",
                **({"clickhouse_url": store} if store else {}),
            )
            for name in services
        }
        asyncio.run(_make_topics(each["edge"]))
        for name, settings in each.items():
            stack.enter_context(server(settings, "-m", "mailwake.cli", name))
        for settings in each.values():
            await_answer(settings.ops_port, "/ready")
        bench = Bench(each["edge"], keyring, store)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bench.run())
        return {stage: bench.took(stage) for stage in (*STAGES, *(["ClickHouse"] if store else []))}


class Bench:
    """Asks for the pixels, and watches topics and streams; all in one process, by one clock."""

    def __init__(self, settings: Settings, keyring: Keyring, store: str | None) -> None:
        """`store` is the address of the ClickHouse that is watched, if any is."""
        self._settings = settings
        self._store = store
        self._mails = [new_message_id() for _ in range(RATE * SECONDS)]
        self._requests = [_request(keyring, mail) for mail in self._mails]
        self._due: dict[str, float] = {}
        self._came: dict[str, dict[str, float]] = {stage: {} for stage in (*STAGES, "ClickHouse")}

    def took(self, stage: str) -> list[float]:
        """Milliseconds of each hit to a stage, those of the beginning left out."""
        came = self._came[stage]
        counted = self._mails[int(len(self._mails) * WARM) :]
        return [(came[mail] - self._due[mail]) * 1000 for mail in counted]

    async def run(self) -> None:
        """Runs all. Raises UnavailableError when not every hit rings."""
        await self._send_mails()
        opened = [asyncio.Event() for _ in range(USERS)]
        tasks = [
            asyncio.create_task(self._listen(number, event)) for number, event in enumerate(opened)
        ]
        await asyncio.gather(*(event.wait() for event in opened))
        storing = asyncio.create_task(asyncio.to_thread(self._watch_store))
        try:
            start = time.time() + 0.5
            async with asyncio.TaskGroup() as asking:
                for number in range(CONNECTIONS):
                    asking.create_task(self._ask(start, number))
            await self._all_rang()
            await storing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for (topic, stage), mails_of in _TOPICS.items():
            await self._read(topic, stage, mails_of)

    async def _all_rang(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while len(self._came["bell"]) < len(self._mails):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"of {len(self._mails):,} hits {len(self._came['bell']):,} rang the bell "
                    f"within {DEADLINE_S:.0f} s"
                )
            await asyncio.sleep(0.1)

    async def _send_mails(self) -> None:
        """Makes the mails known, and waits until the enricher has them."""
        partition_of = partitioner(PARTITIONS)
        by_partition: dict[int, list[Send]] = {}
        for number, mail in enumerate(self._mails):
            send = Send(
                message_id=mail,
                tenant="acme",
                user=f"u{number % USERS}",
                sent_at=now_ms() - 3_600_000,
                recipient_count=1,
                mode="identified",
                opens=True,
                clicks=True,
                recipients=["3" * 32],
                links=[],
            )
            by_partition.setdefault(partition_of(mail.encode()), []).append(send)
        producer = await start_producer(self._settings, client_id="bench")
        consumer = await start_consumer(self._settings, "tracks", client_id="bench")
        try:
            topic = self._settings.topic("sends")
            for partition, sends in by_partition.items():
                for at in range(0, len(sends), IN_RECORD):
                    value = SEND.encode_many(sends[at : at + IN_RECORD])
                    await producer.send(topic, value, key=b"k", partition=partition)
            await producer.flush()
            known: set[bytes] = set()
            async with asyncio.timeout(DEADLINE_S):
                async for record in consumer:
                    known.add(record.key)
                    if len(known) == len(self._mails):
                        break
        finally:
            await consumer.stop()
            await producer.stop()

    async def _ask(self, start: float, connection: int) -> None:
        """Asks for every so manieth pixel when it is due."""
        reader, writer = await asyncio.open_connection(HOST, self._settings.edge_port)
        for number in range(connection, len(self._mails), CONNECTIONS):
            mail = self._mails[number]
            due = start + number / RATE
            await asyncio.sleep(max(0.0, due - time.time()))
            self._due[mail] = due
            writer.write(self._requests[number])
            head = await reader.readuntil(b"\r\n\r\n")
            fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
            length = next(int(value) for name, _, value in fields if name == b"content-length")
            await reader.readexactly(length)
            self._came["edge answered"][mail] = time.time()
        writer.close()

    async def _read(
        self, topic: str, stage: str, mails_of: Callable[[bytes], Iterable[str]]
    ) -> None:
        came = self._came[stage]
        consumer = await start_consumer(self._settings, topic, client_id="bench")
        try:
            async with asyncio.timeout(DEADLINE_S):
                while len(came) < len(self._mails):
                    record = await consumer.getone()
                    for mail in mails_of(record.value):
                        came.setdefault(mail, record.timestamp / 1000)
        finally:
            await consumer.stop()

    def _watch_store(self) -> None:
        """Notes when ClickHouse shows a row of each mail; it is asked for new parts alone."""
        if self._store is None:
            return
        came, known = self._came["ClickHouse"], set[str]()
        deadline = time.monotonic() + DEADLINE_S + SECONDS
        with Client.from_url(self._store) as client:
            while len(came) < len(self._mails):
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{len(came):,} of {len(self._mails):,} were stored")
                now = time.time()
                parts = {part for (part,) in client.execute("SELECT DISTINCT _part FROM events")}
                for part in parts - known:
                    query = "SELECT message_id FROM events WHERE _part = %(part)s"
                    for (mail,) in client.execute(query, {"part": part}):
                        came.setdefault(mail, now)
                known = parts
                time.sleep(STORE_POLL_S)

    async def _listen(self, number: int, opened: asyncio.Event) -> None:
        key = read_keys(self._settings.api_keys)[-1]
        token = new_token(self._settings, key, Caller("acme", f"u{number}"), 600)
        reader, writer = await asyncio.open_connection(HOST, self._settings.api_port)
        writer.write(
            b"GET /v1/alerts/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n"
            % token.encode()
        )
        try:
            while told := await reader.readuntil(b"\n\n"):
                if b"\nevent: unread\n" in told:
                    opened.set()
                elif b"\nevent: alert\n" in told:
                    now, (_, _, data) = time.time(), told.partition(b"\ndata: ")
                    mail = msgspec.json.decode(data)["message_id"]
                    self._came["bell"].setdefault(mail, now)
        finally:
            writer.close()


_TOPICS: Mapping[tuple[str, str], Callable[[bytes], Iterable[str]]] = {
    ("hits", "hit in Kafka"): lambda value: (hit.message_id for hit in HIT.read(value)[0]),
    ("events", "event"): lambda value: (event.message_id for event in EVENT.read(value)[0]),
    ("alerts", "alert"): lambda value: (ALERT.decode(value).message_id,),
}
"""What of each stage between stands in Kafka, and the mails that a record of it is of."""


async def _make_topics(settings: Settings) -> None:
    """Applies the topics; those of the stages say when Kafka has appended a record."""
    await apply_topics(settings)
    admin = await start_admin(settings)
    try:
        await admin.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC,
                    settings.topic(topic),
                    registry()[topic].config | {"message.timestamp.type": "LogAppendTime"},
                )
                for topic, _ in _TOPICS
            ]
        )
    finally:
        await admin.close()


def _request(keyring: Keyring, mail: str) -> bytes:
    token = keyring.seal(Token("open", "acme", mail, 1, "identified"))
    return f"GET /o/{token} HTTP/1.1\r\nHost: a\r\nUser-Agent: {AGENT}\r\n\r\n".encode()


def percentile(values: list[float], part: int) -> float:
    """Of a hundred values, so many are no larger."""
    return sorted(values)[min(len(values) * part // 100, len(values) - 1)]


def say(text: str) -> None:
    """The stages, beside the table."""
    print(f"way: {text}", file=sys.stderr, flush=True)
