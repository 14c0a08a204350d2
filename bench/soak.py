"""An hour at half load: `make soak`. Does memory or the number of open files grow, and is all read?

The whole system runs as `mailwake up` starts it. Half load is half of what `bench.way` asks for.
Mails are sent all the while; each is opened and clicked in the minutes after, and every tenth token
is forged. A process is flat when the medians of its memory and its open files in the last fifth of
the time are at most a tenth, or 16 MiB and 16 files, above those of the fifth before: a notifier
remembers what it told for half an hour, and fills until then. Of Kafka the files alone are judged:
its Java takes of the system what heap it may have, and in an hour does not come to the end of it.
Prints a line a minute and a table; writes bench/results/soak.json.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvloop

from bench.edge import AGENT
from bench.record import record
from bench.way import RATE
from mailwake.contracts import Send
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.ids import new_message_id, now_ms
from mailwake.kafka import start_producer
from mailwake.keyring import Keyring, new_keyring, read_keyring
from mailwake.publish import publish
from mailwake.settings import Settings, read_settings
from mailwake.tokens import Token
from mailwake_local.ports import HOST

RESULTS = Path(__file__).parent / "results" / "soak.json"
CONNECTIONS = 16
MAILS_A_SECOND = 50
KEPT_MAILS = 20_000
"""Hits are of the last so many mails: those of some minutes."""
SAMPLE_S = 5.0
START_S = 180.0
DRAIN_S = 120.0
PARTS = ("edge", "enricher", "loader", "notifier", "webhooks", "api", "relay", "digest")
STORES = {"kafka": "mailwake_local.kafka", "clickhouse": "mailwake_local.clickhouse"}
JAVA = ("kafka",)
"""Whose memory says nothing."""

LINK = "https://example.com/offer"


@dataclass
class Watched:
    """One process: its memory (MiB) and open files over time, as sampled."""

    name: str
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self, process: psutil.Process) -> None:
        """Adds what it has now, its children's included."""
        family = [process, *process.children(recursive=True)]
        self.memory.append(sum(each.memory_info().rss for each in family) / (1 << 20))
        self.files.append(sum(each.num_fds() for each in family))

    def as_dict(self) -> dict[str, Any]:
        """Its row: medians of the fourth and of the last fifth, and whether it is flat."""
        memory, files = fifths(self.memory), fifths(self.files)
        flat = is_flat(*files, least=16)
        if self.name not in JAVA:
            flat = flat and is_flat(*memory, least=16)
        return {
            "process": self.name,
            "memory_mib": [round(each, 1) for each in memory],
            "files": [round(each) for each in files],
            "flat": flat,
        }


def fifths(values: list[float] | list[int]) -> tuple[float, float]:
    """The medians of the fourth and of the last fifth."""
    fifth = max(1, len(values) // 5)
    before, last = values[-2 * fifth : -fifth], values[-fifth:]
    return statistics.median(before or values), statistics.median(last)


def is_flat(before: float, after: float, *, least: float) -> bool:
    """Whether a growth is none: a tenth, or so much at the least."""
    return after - before <= max(before / 10, least)


@contextlib.contextmanager
def system(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """The whole system, ready; gone afterwards. Gives its process and what its run.json says."""
    environ = {name: value for name, value in os.environ.items() if "MAILWAKE" not in name}
    with (home.parent / "up.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mailwake", "up", "--any-ports"],
            env=environ | {"MAILWAKE_HOME": str(home)},
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + START_S
        while b"Ready in" not in (home.parent / "up.out").read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError((home.parent / "up.out").read_text("utf-8")[-2000:])
            time.sleep(0.2)
        yield process, json.loads((home / "run.json").read_text("utf-8"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def processes(up: int) -> dict[str, psutil.Process]:
    """The parts that run under `mailwake up`, by name."""
    found: dict[str, psutil.Process] = {}
    for child in psutil.Process(up).children():
        words = child.cmdline()
        for part in PARTS:
            if words[-1:] == [part]:
                found[part] = child
        for name, module in STORES.items():
            if module in words:
                found[name] = child
    return found


def lag(services: Mapping[str, str]) -> float:
    """How many records the services have not committed, as they say."""
    waiting = 0.0
    for address in services.values():
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
            told = page.read().decode()
        waiting += sum(
            float(value) for value in re.findall(r"^mailwake_lag_records\{.*\} (\S+)$", told, re.M)
        )
    return waiting


class Load:
    """Sends mails and asks for their pixels and links, at a rate."""

    def __init__(self, settings: Settings, keyring: Keyring, rate: float) -> None:
        self._settings, self._keyring, self._rate = settings, keyring, rate
        self._forger = new_keyring()
        self._mails: deque[str] = deque(maxlen=KEPT_MAILS)
        self._dice = random.Random(rate)
        self._port = urlsplit(settings.tracking_url).port
        self.answered = 0
        self.forged = 0

    async def run(self, until: float) -> None:
        """Until a monotonic time."""
        producer = await start_producer(self._settings, client_id="soak")
        try:
            await self._send(producer, MAILS_A_SECOND)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send_on(producer, until))
                for _ in range(CONNECTIONS):
                    group.create_task(self._read(until))
        finally:
            await producer.stop()

    async def _send_on(self, producer: Any, until: float) -> None:
        while time.monotonic() < until:
            await self._send(producer, MAILS_A_SECOND)
            await asyncio.sleep(1)

    async def _send(self, producer: Any, count: int) -> None:
        sends = [
            Send(
                message_id=new_message_id(),
                tenant="acme",
                user=f"u{self._dice.randrange(200)}",
                sent_at=now_ms() - 600_000,
                recipient_count=1,
                mode="identified",
                opens=True,
                clicks=True,
                recipients=[f"{self._dice.getrandbits(128):032x}"],
                links=[LINK],
            )
            for _ in range(count)
        ]
        await publish(producer, self._settings, sends)
        self._mails += [send.message_id for send in sends]

    async def _read(self, until: float) -> None:
        reader, writer = await asyncio.open_connection(HOST, self._port)
        due = time.monotonic()
        while due < until:
            due += CONNECTIONS / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            self.answered += 1
        writer.close()

    def _request(self) -> bytes:
        mail, keyring = self._dice.choice(self._mails), self._keyring
        if self._dice.random() < 0.1:
            keyring = self._forger
            self.forged += 1
        if self._dice.random() < 0.2:
            path = "/c/" + keyring.seal(Token("click", "acme", mail, 1, "identified", 0, LINK))
        else:
            path = "/o/" + keyring.seal(Token("open", "acme", mail, 1, "identified"))
        return f"GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: {AGENT}\r\n\r\n".encode()


async def soak(up: int, told: dict[str, Any], seconds: float, rate: float) -> dict[str, Any]:
    """Runs the load, watches the processes, waits until all is read; gives what is written."""
    settings = read_settings(told["settings"])
    load = Load(settings, read_keyring(settings.keyring), rate)
    watched = {name: Watched(name) for name in processes(up)}
    begun = shown = time.monotonic()
    running = asyncio.create_task(load.run(begun + seconds))
    while not running.done():
        await asyncio.wait({running}, timeout=SAMPLE_S)
        for name, process in processes(up).items():
            watched[name].sample(process)
        if time.monotonic() > shown + 60 or running.done():
            shown = time.monotonic()
            memory = ", ".join(f"{name} {each.memory[-1]:.0f}" for name, each in watched.items())
            say(f"{shown - begun:,.0f} s, {load.answered:,} answers, MiB: {memory}")
    running.result()
    left = lag(told["services"])
    drained = time.monotonic()
    while left and time.monotonic() < drained + DRAIN_S:
        await asyncio.sleep(1)
        left = lag(told["services"])
    return {
        "seconds": round(seconds),
        "hits_a_second": round(load.answered / seconds, 1),
        "answered": load.answered,
        "forged": load.forged,
        "lag_at_the_end": left,
        "drained_after_s": round(time.monotonic() - drained, 1),
        "processes": [each.as_dict() for each in watched.values()],
    }


def main(arguments: list[str]) -> int:
    """`python -m bench.soak [SECONDS]`; 1 when something grew or was left unread."""
    seconds = float(arguments[0]) if arguments else 3600.0
    with tempfile.TemporaryDirectory(prefix="mailwake-soak-") as folder:
        try:
            with (
                system(Path(folder) / "home") as (process, told),
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                said = runner.run(soak(process.pid, told, seconds, RATE / 2))
        except MailwakeError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
    print(
        f"{said['answered']:,} hits, {said['hits_a_second']} a second; "
        f"{said['lag_at_the_end']:g} records left"
    )
    print(f"{'process':12}{'MiB':>8}{'then':>8}{'files':>8}{'then':>8}")
    for each in said["processes"]:
        (before, after), (first, last) = each["memory_mib"], each["files"]
        flat = "" if each["flat"] else "  GREW"
        print(f"{each['process']:12}{before:8,.0f}{after:8,.0f}{first:8,}{last:8,}{flat}")
    record("make soak", said).write(RESULTS)
    return int(bool(said["lag_at_the_end"]) or not all(each["flat"] for each in said["processes"]))


def say(text: str) -> None:
    """Progress."""
    print(f"soak: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
