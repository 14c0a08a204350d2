"""`mailwake reclassify` and `mailwake replay` on real Kafka, enricher, loader and ClickHouse."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from mailwake.contracts import Hit
from mailwake.ids import now_ms
from mailwake.settings import Settings, to_environ
from mailwake_enricher.archive import Choice
from mailwake_enricher.confusion import Comparison
from mailwake_enricher.decide import Rules
from mailwake_enricher.reclassify import Reclassify
from mailwake_enricher.rules import read_rules
from tests.installation import own_installation
from tests.judging import (
    PARTITIONS,
    Mails,
    ask,
    check,
    filled,
    loaded,
    verdicts,
)
from tests.running import Service, running
from tests.topics import read_all
from tests.unit.enricher.values import RULES, hit

VERSION = 2001
WINDOW_MS = RULES.repeat_window_ms


@pytest.fixture
async def settings(kafka: str, clickhouse: str) -> Settings:
    return await own_installation(
        kafka,
        clickhouse,
        partitions=PARTITIONS,
        repeat_window_s=WINDOW_MS // 1000,
        join_wait_s=1,
    )


@pytest.fixture
def services(settings: Settings, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """The enricher and the loader, running."""
    both = (
        Service("enricher", settings, tmp_path / "enricher.log"),
        Service("loader", settings, tmp_path / "loader.log"),
    )
    with running(*both):
        yield both


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rule set that takes mail programs for scanners, and Gmail's proxy for a prefetch."""
    folder = files("mailwake_enricher") / "rules"
    text = max((each for each in folder.iterdir()), key=lambda each: each.name).read_text("utf-8")
    old = msgspec.toml.decode(text)
    old |= {"version": VERSION}
    old["signals"] |= {"mail_program": {"scanner": 100}, "gmail_proxy": {"prefetch": 100}}
    file = tmp_path / "stronger.toml"
    file.write_bytes(msgspec.toml.encode(old))
    return file


async def reclassify(
    settings: Settings, file: Path, choice: Choice | None = None, *, dry_run: bool = False
) -> Comparison:
    """Runs it in this process; gives what it tells."""
    made = Reclassify(settings, with_rules(file), choice or Choice(), dry_run=dry_run)
    try:
        await made.run()
    finally:
        made.close()
    assert made.moving == 0
    return made.comparison


def with_rules(file: Path) -> Rules:
    return dataclasses.replace(RULES, meaning=read_rules(file))


def command(settings: Settings, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "mailwake.cli", *map(str, arguments)],
        env=os.environ | to_environ(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_verdicts_turn_as_the_dry_run_said_and_a_second_run_finds_nothing(
    settings: Settings, services: tuple[Service, Service], rules: Path
) -> None:
    mails, sends = await filled(settings, 150, 500)
    check(settings, mails, RULES)

    before = verdicts(settings)
    told = await reclassify(settings, rules, dry_run=True)
    assert await asyncio.to_thread(verdicts, settings) == before
    assert await read_all(settings, "reclassified") == []
    assert told.hits == len(mails.hits)
    assert told.verdicts["human", "scanner"] > 20
    assert told.verdicts["proxy", "prefetch"] > 20

    done = await asyncio.to_thread(command, settings, "reclassify", "--rules", rules)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"rule set {VERSION}: {len(mails.hits):,} hits of " in done.stdout
    assert "\n".join(told.lines()) in done.stdout
    after = verdicts(settings)
    turned = Counter(
        (before[identity][0], after[identity][0]) for identity in before if identity in after
    )
    implied = {i for (i,) in ask(settings, "SELECT event_id FROM events FINAL WHERE implied")}
    for identity in implied & before.keys() & after.keys():
        turned[before[identity][0], after[identity][0]] -= 1
    assert +turned == +told.verdicts
    check(settings, mails, with_rules(rules))
    changed = ask(
        settings,
        f"SELECT min(revision), count() FROM events FINAL WHERE rules_version = {VERSION}",
    )
    assert changed[0][1] == told.changed_events
    assert all(after[each][1] >= before[each][1] for each in before.keys() & after.keys())

    records = len(await read_all(settings, "reclassified"))
    again = await reclassify(settings, rules)
    assert (again.changed_events, again.counts_alone) == (0, 0)
    assert len(await read_all(settings, "reclassified")) == records
    assert verdicts(settings) == after

    # Back to the rules in force: everything stands as it stood, one revision on.
    folder = files("mailwake_enricher") / "rules"
    packaged = rules.with_name("packaged.toml")
    packaged.write_bytes(max(folder.iterdir(), key=lambda each: each.name).read_bytes())
    back = await reclassify(settings, packaged)
    assert back.verdicts["scanner", "human"] == told.verdicts["human", "scanner"]
    check(settings, mails, RULES)
    # The enricher goes on above what was published: bursts revise what stands.
    stood = verdicts(settings)
    mails.now += 6 * 86_400_000
    await mails.put("hits", mails.some_hits(sends, 200, days=1))
    await loaded(settings)
    check(settings, mails, RULES)
    assert all(
        revision >= stood[each][1]
        for each, (_, revision) in verdicts(settings).items()
        if each in stood
    )


async def test_hits_after_the_days_of_their_send_are_not_judged(
    settings: Settings, services: tuple[Service, Service], rules: Path
) -> None:
    mails, _ = await filled(settings, 40, 200, retention_days=2)
    check(settings, mails, RULES)
    sql = "SELECT uniqExact(message_id), min(retention_days), max(retention_days) FROM sends"
    kept = ask(settings, sql)
    assert kept == [(40, 2, 2)]
    told = await reclassify(settings, rules)
    assert told.changed_events > 0
    assert told.strangers == 0, "they were never joined, but the rules would not join them either"
    check(settings, mails, with_rules(rules))


async def test_hits_that_come_meanwhile_are_neither_lost_nor_contradicted(
    settings: Settings, services: tuple[Service, Service], rules: Path
) -> None:
    mails, sends = await filled(settings, 100, 300)
    mails.now += 6 * 86_400_000
    ended = asyncio.Event()
    # The rest is left in peace, so what is judged of it is never outdated.
    busy = sends[: len(sends) // 2]

    async def keep_coming() -> None:
        while not ended.is_set():
            mails.now += 20_000
            await mails.put("hits", mails.some_hits(busy, 10, days=0.0001))

    coming = asyncio.create_task(keep_coming())
    made = Reclassify(settings, with_rules(rules), Choice(), dry_run=False)
    try:
        await made.run()
    finally:
        made.close()
        ended.set()
        await coming
    await loaded(settings)
    # Each hit counts once, whatever rules judged it.
    ((hits,),) = ask(
        settings,
        "SELECT sum(opens + clicks + machine_opens + machine_clicks + repeats + forwards) "
        "FROM tracks FINAL",
    )
    ((implied,),) = ask(
        settings,
        "SELECT count() FROM events FINAL WHERE implied AND NOT repeat",
    )
    assert hits - implied == len(mails.hits)
    said = "\n".join(await asyncio.to_thread(services[0].metrics))
    for what in ("applied", "outdated"):
        assert f'mailwake_enricher_reclassified_total{{what="{what}"}}' in said
    # What the enricher has judged meanwhile by its own rules, the next run judges anew.
    await reclassify(settings, rules)
    check(settings, mails, with_rules(rules))


async def test_a_time_a_tenant_and_hits_that_are_gone(
    settings: Settings, services: tuple[Service, Service], rules: Path
) -> None:
    mails = Mails(settings)
    sends = mails.some_sends(60)
    await mails.put("sends", sends)
    early = mails.some_hits(sends[:30], 80, days=1)
    mails.now += 3 * 86_400_000
    late = mails.some_hits(sends[30:], 80, days=1)
    await mails.put("hits", [*early, *late])
    await loaded(settings)

    def mails_of(hits: Sequence[Hit], tenant: str | None = None) -> int:
        return len({each.message_id for each in hits if tenant in (None, each.tenant)})

    for choice, count in (
        (Choice(), mails_of([*early, *late])),
        (Choice(since=mails.now), mails_of(late)),
        (Choice(until=mails.now), mails_of(early)),
        (Choice(tenant="beta"), mails_of([*early, *late], "beta")),
        (Choice(tenant="beta", since=mails.now), mails_of(late, "beta")),
        (Choice(tenant="nobody"), 0),
    ):
        told = await reclassify(settings, rules, choice, dry_run=True)
        assert told.mails == count, choice

    gone = early[0]
    left = {each.hit_id for each in early if each.message_id == gone.message_id}
    ask(
        settings,
        f"ALTER TABLE hits DELETE WHERE hit_id = '{gone.hit_id}' SETTINGS mutations_sync = 2",
    )
    before = verdicts(settings)
    told = await reclassify(settings, rules)
    assert (told.left["no_hits"], told.gone >= 1) == (1, True)
    after = verdicts(settings)
    of_mail = {
        identity
        for identity, hit_id in ask(settings, "SELECT event_id, hit_id FROM events FINAL")
        if hit_id in left
    }
    assert {each: after.get(each) for each in of_mail} == {
        each: before.get(each) for each in of_mail
    }
    assert told.changed_mails > 20


async def test_without_its_services_it_says_what_is_missing(
    settings: Settings, rules: Path
) -> None:
    done = command(settings, "reclassify", "--rules", rules.with_name("none.toml"))
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "none.toml cannot be read" in done.stderr
    done = command(settings, "reclassify", "--rules", rules, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "no events to compare" in done.stdout


@pytest.mark.fault(13)
async def test_replayed_hits_join_late_sends_once(
    settings: Settings, services: tuple[Service, Service], tmp_path: Path
) -> None:
    mails = Mails(settings)
    mails.now = now_ms() - 86_400_000
    sends = mails.some_sends(40)
    crowd = sends[0]
    # More than can wait: the later ones are given up before the earlier ones.
    crowded = [
        hit(
            hit_id=f"{mails.stream.name}{5_000_000 + number:016x}",
            at=mails.now + 120_000 * number,
            tenant=crowd.tenant,
            message_id=crowd.message_id,
        )
        for number in range(100)
    ]
    mails.hits += crowded
    hits = mails.some_hits(sends[1:], 150, days=0.5)
    await mails.put("hits", [*crowded, *hits])

    async def unmatched() -> int:
        return len(await read_all(settings, "hits.unmatched"))

    for _ in range(300):
        if await unmatched() >= len(mails.hits):
            break
        await asyncio.sleep(0.2)
    assert await unmatched() == len(mails.hits)

    # Nothing is lost when there is still no send.
    done = command(settings, "replay", "hits.unmatched", "--dry-run")
    assert f"{len(mails.hits):,} hits would be replayed" in done.stdout, done.stderr
    assert "waiting_full" in done.stdout
    assert await unmatched() == len(mails.hits)

    await mails.put("sends", sends)
    await loaded(settings)
    for _ in range(2):
        done = await asyncio.to_thread(command, settings, "replay", "hits.unmatched")
        assert done.stdout.startswith(f"{len(mails.hits):,} hits replayed"), done.stderr
        await loaded(settings)
        check(settings, mails, RULES)
    assert await unmatched() == len(mails.hits)
    done = command(settings, "replay", "hits.unmatched", "--dry-run", "--since", "2100-01-01")
    assert done.stdout.startswith("0 hits would be replayed"), done.stderr
