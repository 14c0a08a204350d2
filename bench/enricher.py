"""One enricher worker's hits a second, beside a bare Faust agent's records a second.

The worker is the real service in its own process with its RocksDB store; it reads a backlog of
hits from real Kafka, a hundred in a record, each of another of 20,000 mails whose sends it knows,
and writes events and changelog. The agent reads the same hits, one in a record, and does nothing.
They take turns; medians.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.row import Row
from mailwake.contracts import HIT, SEND, Hit, Send
from mailwake.ids import HitStream, new_message_id, partitioner
from mailwake.kafka import start_producer
from mailwake.settings import Settings, read_settings, to_environ
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port

TRACKS = 20_000
HITS = 300_000
BARE_RECORDS = 60_000
IN_RECORD = 100
ROUNDS = 3
PARTITIONS = 8
WARM = 0.2
"""The part of a backlog that is read before the clock starts."""

DEADLINE_S = 180.0
START = 1_790_000_000_000
DAY = 86_400_000

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mozilla/5.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.18000; Pro)",
)


def measure() -> list[Row]:
    """One row: hits beside bare records. Takes about two minutes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            partitions=PARTITIONS,
            state=folder / "state",
            ops_port=free_port(),
        )
        bench = Bench(settings, folder)
        asyncio.run(bench.prepare())
        ours, bare = [], []
        for turn in range(ROUNDS):
            bare.append(bench.bare())
            asyncio.run(bench.publish_hits(turn))
            ours.append(bench.enricher())
            say(f"round {turn + 1} of {ROUNDS}: {ours[-1]:,.0f} hits/s, bare {bare[-1]:,.0f}")
    return [
        Row(
            stage="enricher: hits",
            figure=statistics.median(ours),
            beside=statistics.median(bare),
            unit="hits/s",
            beside_what="a bare Faust agent that does nothing, one hit a record",
            aim=2.5,
        )
    ]


class Bench:
    """The mails, the backlogs and the two ways to read them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._dice = random.Random(1)
        self._stream = HitStream(START)
        partition_of = partitioner(PARTITIONS)
        self._mails: dict[int, list[str]] = {partition: [] for partition in range(PARTITIONS)}
        for number in range(TRACKS):
            message_id = new_message_id(START + number)
            self._mails[partition_of(message_id.encode())].append(message_id)

    async def prepare(self) -> None:
        """Creates the topics, publishes the sends and the agent's records."""
        await apply_topics(self._settings)
        sends = [
            (partition, SEND.encode_many([made_send(mail) for mail in mails[at : at + IN_RECORD]]))
            for partition, mails in self._mails.items()
            for at in range(0, len(mails), IN_RECORD)
        ]
        await self._publish("sends", sends)
        say(f"{TRACKS:,} sends published")
        # The hits.unmatched of this installation stand in for a topic of the agent's own: it has
        # eight partitions and the worker writes nothing to it here.
        hits = [
            (partition, HIT.encode(hit))
            for partition, record in self._records(BARE_RECORDS, 0)
            for hit in record
        ]
        await self._publish("hits.unmatched", hits)
        say(f"{BARE_RECORDS:,} records for the bare agent published")

    async def publish_hits(self, turn: int) -> None:
        """Fills `hits` with a backlog; each turn's is a day later."""
        records = [
            (partition, HIT.encode_many(record))
            for partition, record in self._records(HITS, turn + 1)
        ]
        await self._publish("hits", records)

    def _records(self, hits: int, day: int) -> Iterator[tuple[int, list[Hit]]]:
        """Records of so many hits in all, each hit of a record of another mail."""
        for _ in range(hits // IN_RECORD):
            partition = self._dice.randrange(PARTITIONS)
            mails = self._dice.sample(self._mails[partition], IN_RECORD)
            yield (
                partition,
                [
                    made_hit(self._dice, self._stream.next(), mail, START + day * DAY)
                    for mail in mails
                ],
            )

    async def _publish(self, topic: str, records: list[tuple[int, bytes]]) -> None:
        producer = await start_producer(self._settings, client_id="bench")
        try:
            for partition, value in records:
                await producer.send(self._settings.topic(topic), value, partition=partition)
        finally:
            await producer.stop()

    def bare(self) -> float:
        """Records a second of the bare agent."""
        warm = int(BARE_RECORDS * WARM)
        argv = [
            *(sys.executable, "-m", "bench.bare_agent", self._settings.kafka_bootstrap),
            *(self._settings.topic("hits.unmatched"), str(BARE_RECORDS), str(warm)),
        ]
        with (self._folder / "bare.log").open("ab") as log:
            done = subprocess.run(
                argv, stdout=subprocess.PIPE, stderr=log, check=True, timeout=DEADLINE_S
            )
        return (BARE_RECORDS - warm) / float(done.stdout)

    def enricher(self) -> float:
        """Hits a second of a worker that reads the backlog, from read to safely written."""
        records = HITS // IN_RECORD
        with (self._folder / "enricher.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "mailwake.cli", "enricher"],
                env=os.environ | to_environ(self._settings),
                stderr=log,
            )
        try:
            # What it wrote before (sends, earlier turns) is committed: it begins with the backlog,
            # but for the first turn, which begins with the sends.
            began, first = self._when(int(records * WARM) + TRACKS // IN_RECORD)
            ended, last = self._when_done()
            return (last - first) * IN_RECORD / (ended - began)
        finally:
            worker.terminate()
            worker.wait()

    def _when(self, records: int) -> tuple[float, float]:
        """The time when at least so many records are carried through, and how many."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            at, count = self._carried()
            if count >= records:
                return at, count
            time.sleep(0.2)
        raise RuntimeError(f"the enricher did not get there within {DEADLINE_S:g} s")

    def _when_done(self) -> tuple[float, float]:
        """The time when the last record was carried through, and how many were."""
        last = self._carried()
        quiet = 0
        while quiet < 5:
            time.sleep(0.2)
            now = self._carried()
            quiet = quiet + 1 if now[1] == last[1] else 0
            if now[1] != last[1]:
                last = now
        return last

    def _carried(self) -> tuple[float, float]:
        name = "mailwake_enricher_flush_seconds_count "
        try:
            url = f"http://127.0.0.1:{self._settings.ops_port}/metrics"
            with urllib.request.urlopen(url, timeout=5) as answer:
                page = answer.read().decode()
        except OSError:
            return time.perf_counter(), 0
        counts = [float(line[len(name) :]) for line in page.splitlines() if line.startswith(name)]
        return time.perf_counter(), sum(counts)


def made_hit(dice: random.Random, hit_id: str, message_id: str, day: int) -> Hit:
    """A fifth are clicks; most mails are read by one reader all the time."""
    click = dice.random() < 0.2
    reader = int(message_id[-2:], 16)
    return Hit(
        hit_id=hit_id,
        kind="click" if click else "open",
        at=day + dice.randrange(DAY),
        tenant="acme",
        message_id=message_id,
        recipient=1,
        mode="identified",
        link=(link := dice.randrange(5)) if click else None,
        target=f"https://shop.example/offers/{link}?from=mail" if click else None,
        network=f"203.0.{reader}.0/24",
        agent=AGENTS[reader % len(AGENTS)],
    )


def made_send(message_id: str) -> Send:
    """A send with five links to one recipient."""
    return Send(
        message_id=message_id,
        tenant="acme",
        user=f"user-{message_id[-2:]}",
        sent_at=START,
        recipient_count=1,
        mode="identified",
        opens=True,
        clicks=True,
        recipients=[message_id],
        links=[f"https://shop.example/offers/{link}?from=mail" for link in range(5)],
        tag="spring",
    )


def say(text: str) -> None:
    """A line of progress."""
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    for row in measure():
        print(row.as_dict())
