"""From a record of `alerts` to the socket of one of 2,000 readers, beside a bare consumer's way.

The API is the real service in its own process, with a stream open for each of 2,000 users. Alerts
are produced one by one, each for another user; a bare consumer of the same topic in the process of
the readers gets each as well. Both times begin when the alert is handed to the producer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from bench.row import Row
from mailwake.contracts import ALERT, Alert, user_key
from mailwake.ids import alert_id, now_ms
from mailwake.kafka import start_consumer, start_producer
from mailwake.keyring import new_keyring
from mailwake.settings import Settings, read_settings, to_environ
from mailwake.topics_apply import apply_topics
from mailwake_api.bearer import Caller
from mailwake_api.commands import keys_command, new_token
from mailwake_api.keys import read_keys
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port

READERS = 2_000
ALERTS = 4_000
PAUSE_S = 0.005
CONNECTING = 100
DEADLINE_S = 60.0


def measure() -> list[Row]:
    """One row: medians. Takes about a minute."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        new_keyring().write(folder / "keys.json")
        with contextlib.redirect_stdout(sys.stderr):
            keys_command(["new", str(folder / "api-keys.json")])
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            keyring=folder / "keys.json",
            api_keys=folder / "api-keys.json",
            api_port=free_port(),
            ops_port=free_port(),
        )
        asyncio.run(apply_topics(settings))
        log = stack.enter_context((folder / "api.log").open("wb"))
        api = subprocess.Popen(
            [sys.executable, "-m", "mailwake.cli", "api"],
            env=os.environ | to_environ(settings),
            stdout=log,
            stderr=log,
        )
        stack.callback(api.wait)
        stack.callback(api.terminate)
        _wait_ready(settings)
        ours, bare = asyncio.run(Bench(settings).run())
    print(
        f"bell: p99 {_percentile(ours, 99):.1f} ms, bare {_percentile(bare, 99):.1f} ms",
        file=sys.stderr,
    )
    return [
        Row(
            stage="bell: alert to a reader",
            figure=statistics.median(ours) * 1000,
            beside=statistics.median(bare) * 1000,
            unit="µs, median",
            beside_what="a bare consumer of the topic",
            less=True,
        )
    ]


class Bench:
    """The readers, the bare consumer and the producer, in one process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rung: dict[str, float] = {}
        self._ours: dict[str, float] = {}
        self._bare: dict[str, float] = {}
        self._key = read_keys(settings.api_keys)[-1]

    async def run(self) -> tuple[list[float], list[float]]:
        """Milliseconds of each alert: to its reader, and to the bare consumer."""
        producer = await start_producer(self._settings, client_id="bench", linger_ms=0)
        consumer = await start_consumer(self._settings, "alerts", client_id="bench")
        tasks = [asyncio.create_task(self._consume(consumer))]
        try:
            for start in range(0, READERS, CONNECTING):
                opened = [asyncio.Event() for _ in range(CONNECTING)]
                tasks += [
                    asyncio.create_task(self._listen(f"u{start + number}", event))
                    for number, event in enumerate(opened)
                ]
                await asyncio.gather(*(event.wait() for event in opened))
            topic = self._settings.topic("alerts")
            for number in range(ALERTS):
                alert = _alert(number)
                key = user_key(alert.tenant, alert.user)
                self._rung[alert.alert_id] = time.perf_counter()
                await producer.send(topic, ALERT.encode(alert), key=key)
                await asyncio.sleep(PAUSE_S)
            async with asyncio.timeout(DEADLINE_S):
                while min(len(self._ours), len(self._bare)) < ALERTS:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await consumer.stop()
            await producer.stop()
        return self._took(self._ours), self._took(self._bare)

    def _took(self, came: dict[str, float]) -> list[float]:
        return [(came[each] - at) * 1000 for each, at in self._rung.items()]

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self._bare[ALERT.decode(record.value).alert_id] = time.perf_counter()

    async def _listen(self, user: str, opened: asyncio.Event) -> None:
        token = new_token(self._settings, self._key, Caller("acme", user), 600)
        port = self._settings.api_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /v1/alerts/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n"
            % token.encode()
        )
        try:
            while line := await reader.readline():
                if line.startswith(b"event: unread"):
                    opened.set()
                elif line.startswith(b'data: {"alert_id":"'):
                    self._ours[line[19:51].decode()] = time.perf_counter()
        finally:
            writer.close()


def _alert(number: int) -> Alert:
    event, user = f"{number:032x}", f"u{number % READERS}"
    return Alert(
        alert_id=alert_id(event, "acme", user),
        revision=1,
        event_id=event,
        kind="open",
        at=now_ms(),
        tenant="acme",
        user=user,
        message_id=event,
        recipient=1,
        recipient_count=1,
        verdict="human",
        reasons=["browser"],
        recipient_id="3" * 32,
    )


def _percentile(values: list[float], part: int) -> float:
    return sorted(values)[len(values) * part // 100]


def _wait_ready(settings: Settings) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            url = f"http://127.0.0.1:{settings.ops_port}/ready"
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
