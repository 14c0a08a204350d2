"""How many bytes a send, a hit, an event and an alert take in Kafka's files and in ClickHouse's,
and how many events a second a notifier takes.

Simulated mail (bench.quality) goes through the real enricher, loader and notifier into a real Kafka
and the real ClickHouse engine; then the files of each topic and the parts of each table, merged to
one, are counted. The notifier is started last, and its time, start and all, is taken. Writes
bench/results/bytes.json; `mailwake size` counts with it.

    python -m bench.bytes [MAILS]
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.quality.arrival import Arrival
from bench.quality.mail import Mail
from bench.quality.parameters import read_parameters
from bench.quality.traffic import mails
from bench.record import record
from mailwake.clickhouse import ClickHouse
from mailwake.contracts import HIT, Display, Hit, Party
from mailwake.kafka import start_producer
from mailwake.keeping_up import KeepingUp
from mailwake.migrate import migrate
from mailwake.publish import batches, publish
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.kafka import LocalKafka
from tests.forever import keep_forever
from tests.running import Service, running

MAILS = 20_000
PARTITIONS = 8
RESULTS = Path(__file__).parent / "results" / "bytes.json"
NAMES = ("anna", "ben", "carla", "dan", "eva", "fynn", "gina", "hugo", "ines", "jon")
HOSTS = ("example.com", "mail.example.org", "example.net", "office.example")
SYLLABLES = tuple(f"{one}{two}" for one in "bdfgklmnprst" for two in ("a", "e", "i", "o", "er"))
TOPICS = ("sends", "displays", "hits", "events", "tracks", "alerts")
TABLES = ("sends", "displays", "hits", "events", "tracks")


def main(argv: list[str]) -> int:
    """Measures, prints and writes the figures."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics that are new have no leaders
    count = int(argv[0]) if argv else MAILS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        clickhouse = stack.enter_context(LocalClickHouse(folder / "clickhouse"))
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            clickhouse_url=clickhouse.url,
            partitions=PARTITIONS,
            alert_age_s=31_536_000,  # the mails are of long ago
            settle_s=0,
            settle_doubtful_s=0,
        )
        asyncio.run(apply_topics(settings))
        migrate(settings.clickhouse_url)
        keep_forever(settings.clickhouse_url)
        names = ("enricher", "loader")
        with running(*(Service(name, settings, folder / f"{name}.log") for name in names)):
            sent, hits = asyncio.run(_fill(settings, count))
        events = _rows(settings, "events")
        began = time.perf_counter()
        with running(Service("notifier", settings, folder / "notifier.log")):
            asyncio.run(_told(settings))
            took = time.perf_counter() - began
            alerts = asyncio.run(_count(settings, "alerts"))
        found = {
            "mails": sent,
            "hits": hits,
            "events": events,
            "alerts": alerts,
            "notifier_events_s": round(events / took),
            "kafka": _kafka(folder / "kafka"),
            "clickhouse": {table: _bytes(settings, table) for table in TABLES},
        }
    record("python -m bench.bytes", found).write(RESULTS)
    print(json.dumps(found, indent=1))
    return 0


async def _fill(settings: Settings, count: int) -> tuple[int, int]:
    parameters = read_parameters(1)
    sent = list(mails(parameters, 1, count))
    records = list(Arrival(parameters.transport, PARTITIONS, 1).records(sent))
    hits: list[Hit] = []
    for _, each in records:
        if each.topic == "hits":
            hits += HIT.read(each.value or b"")[0]
    producer = await start_producer(settings, client_id="bench")
    try:
        for at in range(0, len(sent), 1000):
            some = sent[at : at + 1000]
            await publish(producer, settings, [m.send for m in some], [_display(m) for m in some])
        for at in range(0, len(hits), 1600):  # about 200 in a record, as of a busy edge
            for partition, key, value in batches(hits[at : at + 1600], HIT, PARTITIONS):
                await producer.send(settings.topic("hits"), value, key=key, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()
    async with KeepingUp(settings, print) as keeping_up:
        await keeping_up.wait("enricher", await keeping_up.ends("sends", "hits"))
        await keeping_up.wait(
            "loader", await keeping_up.ends("sends", "displays", "hits", "events", "tracks")
        )
    return len(sent), len(hits)


async def _told(settings: Settings) -> None:
    async with KeepingUp(settings, print) as keeping_up:
        await keeping_up.wait("notifier", await keeping_up.ends("events"))


async def _count(settings: Settings, topic: str) -> int:
    async with KeepingUp(settings, print) as keeping_up:
        return sum((await keeping_up.ends(topic)).values())


def _display(mail: Mail) -> Display:
    send = mail.send
    dice = random.Random(send.message_id)
    parties = [
        Party(f"{dice.choice(NAMES)}.{dice.randrange(10**5)}@{dice.choice(HOSTS)}", _said(dice, 2))
        for _ in range(send.recipient_count)
    ]
    subject = _said(dice, 7)
    links = [_said(dice, 2) for _ in send.links]
    return Display(send.message_id, send.tenant, send.user, subject, parties, links)


def _said(dice: random.Random, words: int) -> str:
    """Words that are none, some ten thousand of them, which compress as a language does."""
    made = (
        "".join(dice.choice(SYLLABLES) for _ in range(dice.choice((1, 2, 2, 3))))
        for _ in range(words)
    )
    return " ".join(made)


def _kafka(folder: Path) -> dict[str, int]:
    """The bytes of each topic's segments."""
    found = dict.fromkeys(TOPICS, 0)
    for file in folder.rglob("*.log"):
        topic = file.parent.name.rpartition("-")[0]
        if topic in found:
            found[topic] += file.stat().st_size
    return found


def _rows(settings: Settings, table: str) -> int:
    clickhouse = ClickHouse(settings.clickhouse_url)
    try:
        return int(clickhouse.query(f"SELECT count() FROM {table} FINAL")[0][0])  # noqa: S608
    finally:
        clickhouse.close()


def _bytes(settings: Settings, table: str) -> int:
    """The bytes of a table's parts, merged."""
    clickhouse = ClickHouse(settings.clickhouse_url)
    try:
        clickhouse.execute(f"OPTIMIZE TABLE {table} FINAL")
        return int(
            clickhouse.query(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active"
                " AND database = currentDatabase() AND table = %(table)s",
                {"table": table},
            )[0][0]
        )
    finally:
        clickhouse.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
