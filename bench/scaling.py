"""How the enricher scales: with partitions and workers, and with the size of its state.

`python -m bench scaling`. As in bench/enricher.py the workers are the real service, each in its own
process, and read hits a hundred in a record; here all are ready before the hits are published, each
record already made. Every figure is beside the first of its kind: one worker on one partition, and
one time the state (TRACKS=20000). More than one worker is no faster than the machine has cores for:
Kafka takes one of them in part. So what counts beside it is how many hits a worker carries through
with a second of its processor: on cores of their own, so many workers take so many times that. Of
two or more each keeps copies of another's tracks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.enricher import DAY, IN_RECORD, START, made_hit, made_send
from bench.recovery import Worker
from bench.row import Row
from mailwake.contracts import HIT, SEND
from mailwake.errors import UnavailableError
from mailwake.ids import HitStream, new_message_id, partitioner
from mailwake.kafka import start_producer
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port

TRACKS = int(os.environ.get("TRACKS", "20_000"))
HITS = int(os.environ.get("HITS", "200_000"))
SHARED = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4))
"""Partitions, and workers that share them."""
TIMES = (1, 10, 100)
"""Times `TRACKS`, on two partitions with one worker."""
OF_A_CORE = "hits/s of a core"
WARM = 0.2
POLL_S = 0.1
DEADLINE_S = 1_800.0


def measure() -> list[Row]:
    """A row for each. Takes about ten minutes, most of them in publishing mails."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics that are new have no leaders
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        shared = {
            (partitions, workers): rate(kafka.bootstrap, folder, partitions, workers, TRACKS)
            for partitions, workers in SHARED
        }
        state = {times: rate(kafka.bootstrap, folder, 2, 1, times * TRACKS) for times in TIMES}
    cores = os.cpu_count()
    rows: list[Row] = []
    for which, (unit, beside_what) in enumerate(
        (
            ("hits/s", f"one worker on one partition; {cores} cores for all, Kafka too"),
            (OF_A_CORE, "one worker on one partition"),
        )
    ):
        rows += [
            Row(
                stage=f"scaling: partitions {partitions}, workers {workers}",
                figure=found[which],
                beside=shared[SHARED[0]][which],
                unit=unit,
                beside_what=beside_what,
            )
            for (partitions, workers), found in shared.items()
        ]
    return rows + [
        Row(
            stage=f"scaling: {times * TRACKS:,} tracks",
            figure=found.all,
            beside=state[TIMES[0]].all,
            unit="hits/s",
            beside_what=f"{TRACKS:,} tracks; two partitions, one worker",
        )
        for times, found in state.items()
    ]


class Rate(NamedTuple):
    """Hits a second: of all workers, and of a core that does nothing but a worker's work."""

    all: float
    of_a_core: float


def rate(bootstrap: str, folder: Path, partitions: int, workers: int, tracks: int) -> Rate:
    """What so many workers carry that share so many partitions and know so many mails."""
    name = f"p{partitions}w{workers}t{tracks}"
    settings = read_settings(
        {},
        kafka_bootstrap=bootstrap,
        partitions=partitions,
        topic_prefix=f"{name}.",
        log_level="warning",
    )
    mails = [new_message_id(START + number) for number in range(tracks)]
    sends = asyncio.run(publish_sends(settings, mails))
    sharing = [
        Worker(
            replace(
                settings,
                state=folder / f"{name}-{number}",
                worker=f"w{number}",
                ops_port=free_port(),
            ),
            folder,
        )
        for number in range(workers)
    ]
    try:
        for worker in sharing:
            worker.start()
        reached(sharing, sends)
        found = asyncio.run(carry(settings, mails, sharing))
        say(
            f"{partitions} partitions, {workers} workers, {tracks:,} tracks: {found.all:,.0f}"
            f" hits/s, {found.of_a_core:,.0f} {OF_A_CORE}"
        )
        return found
    finally:
        for worker in sharing:
            worker.kill()


async def publish_sends(settings: Settings, mails: Sequence[str]) -> int:
    """Makes the mails known; how many records they are."""
    await apply_topics(settings)
    producer = await start_producer(settings, client_id="bench", compression="zstd")
    count = 0
    try:
        for partition, mine in shared_out(settings, mails).items():
            for at in range(0, len(mine), IN_RECORD):
                value = SEND.encode_many([made_send(mail) for mail in mine[at : at + IN_RECORD]])
                await producer.send(settings.topic("sends"), value, partition=partition)
                count += 1
    finally:
        await producer.stop()
    return count


async def carry(settings: Settings, mails: Sequence[str], workers: Sequence[Worker]) -> Rate:
    """Publishes the hits; how many a second the workers carry through, once they have begun."""
    dice, stream = random.Random(1), HitStream(START)
    by_partition = shared_out(settings, mails)
    records = [
        (
            partition,
            HIT.encode_many(
                [
                    made_hit(dice, stream.next(), mail, START + DAY)
                    for mail in dice.sample(by_partition[partition], IN_RECORD)
                ]
            ),
        )
        for partition in (dice.choice(list(by_partition)) for _ in range(HITS // IN_RECORD))
    ]
    before = sum(worker.carried() for worker in workers)
    producer = await start_producer(settings, client_id="bench")
    try:
        for partition, value in records:
            await producer.send(settings.topic("hits"), value, partition=partition)
        await producer.flush()
        began, first = await asyncio.to_thread(reached, workers, before + WARM * len(records))
        taken = -cpu_s(workers)
        ended, last = await asyncio.to_thread(reached, workers, before + len(records))
        taken += cpu_s(workers)
    finally:
        await producer.stop()
    hits = (last - first) * IN_RECORD
    return Rate(hits / (ended - began), hits / taken)


def cpu_s(workers: Sequence[Worker]) -> float:
    """Seconds of a processor that the workers have taken, all together."""
    return sum(worker.cpu_s() for worker in workers)


def shared_out(settings: Settings, mails: Sequence[str]) -> dict[int, list[str]]:
    """The mails by their partitions."""
    partition_of = partitioner(settings.partitions)
    found: dict[int, list[str]] = {}
    for mail in mails:
        found.setdefault(partition_of(mail.encode()), []).append(mail)
    return found


def reached(workers: Sequence[Worker], records: float) -> tuple[float, float]:
    """When so many records are carried through by all together, and how many are then."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        count = sum(worker.carried() for worker in workers)
        if count >= records:
            return time.perf_counter(), count
        time.sleep(POLL_S)
    raise UnavailableError(f"the workers did not get there within {DEADLINE_S:g} s")


def say(text: str) -> None:
    """A line of progress."""
    print(f"scaling: {text}", file=sys.stderr, flush=True)
