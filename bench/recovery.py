"""How long the enricher is away: killed, without its folder, and while workers come and go.

`python -m bench recovery`. The workers are the real service on a real Kafka, whose changelog holds
a million tracks (TRACKS=1000000):

- *rebuild*: a worker with an empty folder, from the start of its process to `/ready`; beside it
  Faust's own recovery of the same changelog (bench/bare_recovery.py), also with its start.
- *kill -9*: the worker is killed under load and started again with its folder; until it has carried
  a record through.
- *join*, *leave*: a second worker comes and goes under load; the longest time in which the first
  carries nothing through.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer

from bench.core import Core
from bench.enricher import made_send
from bench.row import Row
from mailwake.contracts import HIT, SEND, Hit
from mailwake.errors import UnavailableError
from mailwake.ids import HitStream, new_message_id, now_ms, partitioner
from mailwake.kafka import start_producer
from mailwake.settings import Settings, read_settings, to_environ
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port

TRACKS = int(os.environ.get("TRACKS", "1_000_000"))
PARTITIONS = 8
ROWS = 2_000
"""Different rows; the changelog's tracks share them."""
LOADED = 5_000
"""Mails that are read while workers are killed, come and go."""
RATE = 200
"""Hits a second then, each a record of its own."""
QUIET_S = 5.0
"""So long after a worker has come or gone it is watched on."""

RESTART_AIM_S, STILL_AIM_S, REBUILD_AIM = 10.0, 3.0, 3.0
DEADLINE_S = 1_800.0
POLL_S = 0.1
CARRIED = re.compile(rb"^mailwake_enricher_flush_seconds_count (\S+)", re.MULTILINE)


def measure() -> list[Row]:
    """Four rows. Takes some minutes, most of them in Faust's own recovery."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics that are new have no leaders
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            partitions=PARTITIONS,
            state=folder / "one",
            worker="one",
            ops_port=free_port(),
            log_level="warning",
        )
        mails = [new_message_id() for _ in range(TRACKS)]
        asyncio.run(fill(settings, mails))
        bare = bare_recovery(settings, folder)
        say(f"Faust's own recovery of {TRACKS:,} tracks: {bare:.1f} s")
        one = Worker(settings, folder)
        stack.callback(one.kill)
        rebuilt = one.start()
        say(f"rebuilt in {rebuilt:.1f} s")
        restarted, joined, left = asyncio.run(under_load(one, folder, mails))
    tracks = f"{TRACKS:,} tracks"
    return [
        Row(
            stage=f"recovery: rebuild of {tracks}",
            figure=TRACKS / rebuilt,
            beside=TRACKS / bare,
            unit="tracks/s",
            beside_what="Faust's own recovery of the same changelog, its settings left alone",
            aim=REBUILD_AIM,
        ),
        aimed(f"recovery: kill -9 to the next record, {tracks}", restarted, RESTART_AIM_S),
        aimed("recovery: the other stands still, a worker joins", joined, STILL_AIM_S),
        aimed("recovery: the other stands still, a worker leaves", left, STILL_AIM_S),
    ]


def aimed(stage: str, seconds: float, aim_s: float) -> Row:
    """A row of milliseconds, beside what they are at the most."""
    return Row(stage, seconds * 1000, aim_s * 1000, "ms", "the aim", aim=1.0, less=True)


async def fill(settings: Settings, mails: Sequence[str]) -> None:
    """Creates the topics, and writes the changelog of these mails' tracks."""
    await apply_topics(settings)
    core = Core()
    core.run("sends", [SEND.encode_many([made_send(mail) for mail in mails[:ROWS]])])
    dice, stream, now = random.Random(1), HitStream(), now_ms()
    core.run("hits", [HIT.encode_many([hit(mail, stream, now, dice) for mail in mails[:ROWS]])])
    rows = list(core.rows.values())
    producer = await start_producer(settings, client_id="bench", compression="zstd")
    partition_of, topic = partitioner(PARTITIONS), settings.topic("tracks")
    try:
        for number, mail in enumerate(mails):
            key = mail.encode()
            row = rows[number % len(rows)]
            await producer.send(topic, row, key=key, partition=partition_of(key))
            if (number + 1) % 200_000 == 0:
                say(f"{number + 1:,} tracks written to the changelog")
    finally:
        await producer.stop()


def hit(mail: str, stream: HitStream, at: int, dice: random.Random) -> Hit:
    """An open, by one of some readers."""
    return Hit(
        hit_id=stream.next(),
        kind="open",
        at=at,
        tenant="acme",
        message_id=mail,
        recipient=1,
        mode="identified",
        network=f"203.0.{dice.randrange(256)}.0/24",
        agent="Mozilla/5.0",
    )


def bare_recovery(settings: Settings, folder: Path) -> float:
    """Seconds of Faust's own recovery."""
    say(f"Faust recovers {TRACKS:,} tracks by itself …")
    argv = [sys.executable, "-m", "bench.bare_recovery", settings.kafka_bootstrap]
    argv += [settings.topic("hits.unmatched"), settings.topic("tracks"), str(folder / "bare")]
    with (folder / "bare.log").open("ab") as log:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=log, check=True, timeout=DEADLINE_S
        )
    shutil.rmtree(folder / "bare", ignore_errors=True)
    return float(done.stdout)


class Worker:
    """One worker of the enricher in its own process."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._log = folder / f"{settings.worker}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it; the seconds until it says that it is ready."""
        began = time.perf_counter()
        self.launch()
        while self._ask("ready") is None:
            self._check(began)
            time.sleep(POLL_S / 2)
        return time.perf_counter() - began

    def launch(self) -> None:
        """Starts its process."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mailwake.cli", "enricher"],
                env=os.environ | to_environ(self.settings),
                stdout=log,
                stderr=log,
            )

    def restart(self) -> float:
        """Kills it, starts it again; the seconds until it has carried something through."""
        self.kill()
        began = time.perf_counter()
        self.launch()
        while not self.carried():
            self._check(began)
            time.sleep(POLL_S / 2)
        return time.perf_counter() - began

    def carried(self) -> float:
        """How often its process has carried something through to the commit."""
        told = CARRIED.search(self._ask("metrics") or b"")
        return float(told[1]) if told else 0.0

    def cpu_s(self) -> float:
        """How many seconds of a processor its process has taken."""
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """Ends it as an orchestrator does, and waits."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def _ask(self, path: str) -> bytes | None:
        try:
            url = f"http://127.0.0.1:{self.settings.ops_port}/{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    def _check(self, began: float) -> None:
        """Raises UnavailableError when it has ended or takes too long."""
        assert self._process is not None
        if self._process.poll() is not None or time.perf_counter() - began > DEADLINE_S:
            last = self._log.read_text("utf-8").splitlines()[-3:]
            raise UnavailableError(f"worker {self.settings.worker}: {' '.join(last)}")


async def under_load(one: Worker, folder: Path, mails: Sequence[str]) -> tuple[float, float, float]:
    """Seconds: of a restart, and of standing still while another worker joins and leaves."""
    other = Worker(
        replace(one.settings, state=folder / "two", worker="two", ops_port=free_port()), folder
    )
    async with load(one.settings, mails[:LOADED]):
        await asyncio.sleep(2)
        restarted = await asyncio.to_thread(one.restart)
        say(f"killed, and working again after {restarted:.1f} s")
        await asyncio.sleep(QUIET_S)
        try:
            joined = await longest(one, asyncio.to_thread(other.start))
            say(f"a worker joined, the other stood still for {joined:.1f} s")
            left = await longest(one, asyncio.to_thread(other.end))
            say(f"it left, the other stood still for {left:.1f} s")
        finally:
            other.kill()
    return restarted, joined, left


async def longest(worker: Worker, change: Coroutine[Any, Any, object]) -> float:
    """The longest time in which a worker carries nothing through during a change and after it."""
    watching = asyncio.create_task(change)
    moved = time.perf_counter()
    before, most, until = await asyncio.to_thread(worker.carried), 0.0, None
    while until is None or time.perf_counter() < until:
        await asyncio.sleep(POLL_S)
        count, now = await asyncio.to_thread(worker.carried), time.perf_counter()
        if count != before:
            most, moved, before = max(most, now - moved), now, count
        if until is None and watching.done():
            until = now + QUIET_S
    watching.result()
    return max(most, time.perf_counter() - moved)


@asynccontextmanager
async def load(settings: Settings, mails: Sequence[str]) -> AsyncIterator[None]:
    """Hits at a steady rate, over all partitions."""
    producer = await start_producer(settings, client_id="bench", linger_ms=0)
    task = asyncio.create_task(_hits(producer, settings, mails))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await producer.stop()


async def _hits(producer: AIOKafkaProducer, settings: Settings, mails: Sequence[str]) -> None:
    dice, stream, due = random.Random(2), HitStream(), time.perf_counter()
    partition_of, topic = partitioner(PARTITIONS), settings.topic("hits")
    while True:
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        mail = dice.choice(mails)
        value = HIT.encode(hit(mail, stream, now_ms(), dice))
        await producer.send(topic, value, partition=partition_of(mail.encode()))


def say(text: str) -> None:
    """A line of progress."""
    print(f"recovery: {text}", file=sys.stderr, flush=True)
