"""Enrichers killed, frozen and shared out anew on a real Kafka: events and tracks stay exact."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from mailwake.contracts import EVENT
from mailwake.kafka import start_admin
from mailwake.settings import Settings
from tests.enriching import (
    Ledger,
    changelog,
    check,
    done,
    emitted,
    stored,
)
from tests.running import Service, running
from tests.topics import rewind
from tests.unit.enricher.values import last

SESSION_S = 15


async def backlog(ledger: Ledger, mails: int, hits: int) -> list[str]:
    """Sends and hits in one pile: half of the hits lie before the sends they belong to."""
    messages = ledger.mails(mails)
    made = ledger.some_hits(messages, hits)
    await ledger.put("hits", made[: hits // 2])
    await ledger.put("sends", [ledger.sends[message] for message in messages])
    await ledger.put("hits", made[hits // 2 :])
    await ledger.flush()
    return messages


@pytest.mark.fault(10)
@pytest.mark.fault(14)
async def test_killed_at_any_moment_nothing_is_lost_doubled_or_miscounted(
    settings: Settings,
    producer: AIOKafkaProducer,
    tmp_path: Path,
    long: bool,
    tally: Callable[..., None],
) -> None:
    ledger = Ledger(settings, producer)
    messages = await backlog(ledger, 3000, 30_000)
    worker = Service("enricher", settings, tmp_path / "log")
    try:
        kills = (0.05, 0.3, 0.6) * (6 if long else 1)
        for after in kills:
            worker.start()
            await asyncio.sleep(after)
            worker.kill()
        await ledger.put("hits", ledger.some_hits(messages, 5000))
        await ledger.flush()
        worker.start()
        await done(settings)
        await check(settings, ledger, copies=True)

        # The folder is lost, in the middle of further work.
        await ledger.put("hits", ledger.some_hits(messages, 20_000))
        await ledger.flush()
        worker.kill()
        shutil.rmtree(settings.state)
        worker.start()
        await done(settings)
        await check(settings, ledger, copies=True)
        assert worker.stop() == 0
        assert stored(settings.state)[0] == await changelog(settings)

        # Everything is read again from the start, with the tracks as they are.
        before, rows = await emitted(settings), await changelog(settings)
        await left(settings)
        await rewind(settings, "enricher", "sends", "hits")
        worker.start()
        await done(settings)
        assert worker.stop() == 0
        assert sorted(map(EVENT.encode, await emitted(settings))) == sorted(
            map(EVENT.encode, before)
        )
        assert await changelog(settings) == rows
        tally(injected=len(kills) + 1, answered=len(ledger.hits), lost=0, doubled=0)
    finally:
        worker.kill()


async def left(settings: Settings) -> None:
    """Waits until the group is empty: a static member, as the worker is, stays in it until its
    session has run out, though its process ended.
    """
    admin = await start_admin(settings)
    group = settings.topic("enricher")
    try:
        deadline = time.monotonic() + 2 * SESSION_S
        while (await admin.describe_consumer_groups([group]))[0].groups[0][2] != "Empty":
            assert time.monotonic() < deadline, "the worker is still a member"
            await asyncio.sleep(0.5)
    finally:
        await admin.close()


@pytest.mark.fault(11)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_another_worker_takes_over(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path, how: signal.Signals
) -> None:
    first, second = (
        Service(
            "enricher",
            replace(settings, state=tmp_path / name, worker=name),
            tmp_path / f"{name}.log",
        )
        for name in ("first", "second")
    )
    ledger = Ledger(settings, producer)
    with running(first, second):
        # Both have partitions, and one falls in the middle of its work.
        messages = await backlog(ledger, 1000, 10_000)
        await asyncio.sleep(0.3)
        assert first.process is not None
        first.process.send_signal(how)
        await ledger.put("hits", ledger.some_hits(messages, 5000))
        await ledger.flush()
        await done(settings, 90)
        if how is signal.SIGSTOP:
            # It wakes up with works in flight whose tracks are another's by now.
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(30) == 70
            assert "stood still" in first.log.read_text()
        await ledger.put("hits", ledger.some_hits(messages, 1000))
        await ledger.flush()
        await done(settings)
        assert second.stop() == 0
    await check(settings, ledger, copies=True)
    rows, _ = stored(tmp_path / "second")
    assert rows == await changelog(settings)


@pytest.mark.fault(11)
async def test_bursts_end_as_if_nothing_had_happened_in_between(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    """Killed and shared out anew amid bursts, with sends that come late."""
    ledger = Ledger(settings, producer)
    messages = ledger.mails(600)
    sends = [ledger.sends[message] for message in messages]
    hits = ledger.bursts(messages)
    pieces = [hits[at : at + len(hits) // 6 + 1] for at in range(0, len(hits), len(hits) // 6 + 1)]
    first, second, third = (
        Service(
            "enricher",
            replace(settings, state=tmp_path / name, worker=name),
            tmp_path / f"{name}.log",
        )
        for name in ("first", "second", "third")
    )
    await ledger.put("sends", sends[:300])
    with running(first, second):
        await ledger.put("hits", pieces[0], in_record=7)
        await ledger.put("hits", pieces[1], in_record=7)
        await ledger.put("sends", sends[300:450])
        await ledger.flush()
        first.kill()  # its partitions go to the second
        await ledger.put("hits", pieces[2], in_record=7)
        await ledger.flush()
        first.start(wait=False)
        third.start(wait=False)  # another share
        await ledger.put("hits", pieces[3], in_record=7)
        await ledger.flush()
        await asyncio.sleep(1)
        second.kill()
        second.start(wait=False)
        await ledger.put("sends", sends[450:])
        await ledger.put("hits", pieces[4], in_record=7)
        await ledger.flush()
        await asyncio.sleep(0.5)
        third.stop()  # and another, in good order
        await ledger.put("hits", pieces[5], in_record=7)
        await ledger.flush()
        await done(settings, 90)
    await check(settings, ledger, copies=True)
    standing = last(await emitted(settings)).values()
    assert {event.verdict for event in standing if event.network != "192.0.2.0/24"} == {"scanner"}
    assert sum(event.first for event in standing) == len(messages)
