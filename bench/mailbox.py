# ruff: noqa: S608 (constants alone make the text of a query)
"""What the mailbox and the reports read of a million mails and ten million events, and how fast.

The tables hold a thousand users with a thousand mails each, and one with 10,000 mails and
100,000 events, who asks. Fifty thousand recipients have said something, one in a hundred no. The
engine is the local one (chDB) in a process of its own, on whatever cores are free; a server has
more. Who denies is known from Kafka, as in the API.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.row import Row
from mailwake.clickhouse import ClickHouse
from mailwake.contracts import CONSENT, Consent, consent_key
from mailwake.kafka import start_producer, write
from mailwake.migrate import migrate
from mailwake.register import Register
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake_api import reports, timeline
from mailwake_api.messages import MessagesQuery, page
from mailwake_api.reading import Reader
from mailwake_api.withheld import Denials
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.kafka import LocalKafka

MAILS, BUSY, EVENTS, USERS, RECIPIENTS = 1_000_000, 10_000, 10, 1_000, 50_000
TIMES, WARM = 20, 3
REPORT_MS, LIST_MS = 300.0, 50.0
"""The slowest of a hundred is to take no longer than the one, or the other, but five."""

SETTLE_S = 60.0
TENANT, USER = "acme", "busy"

_ID = "lower(leftPad(hex({0}), 32, '0'))"
_USER = f"if({{0}} < {BUSY}, '{USER}', concat('u', toString({{0}} % {USERS})))"
# Over 150 days, the busy user's mails among them as all others.
_SENT = (
    "toDateTime64(toStartOfHour(now('UTC')), 3, 'UTC')"
    " - toIntervalSecond(({0} * 7919) % 12960000) - INTERVAL 1 DAY"
)
_RECIPIENT = f"lower(hex(MD5(toString({{0}} % {RECIPIENTS}))))"
_AGENT = (
    "arrayElement(['Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/140.0', 'Mozilla/5.0 (Windows NT"
    " 10.0) Chrome/140.0 Safari/537.36', 'Microsoft Office/16.0 (Microsoft Outlook 16)',"
    " 'Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko)', ''], 1 + number % 5)"
)
_TARGET = "concat('https://shop.example/', toString({0} % 50))"


def _sql() -> dict[str, str]:
    """What fills each table."""
    mail = {
        "id": _ID.format("number"),
        "user": _USER.format("number"),
        "sent": _SENT.format("number"),
        "to": _RECIPIENT.format("number"),
        "tag": "concat('campaign-', toString(number % 20))",
    }
    place = f"intDiv(number, {EVENTS})"
    return {
        "consent_proofs": "(consent_id, tenant, recipient_id, purpose, state, at, method) SELECT"
        f" {_ID.format('number')}, '{TENANT}', {_RECIPIENT.format('number')},"
        " if(number % 2, 'opens', 'clicks'), if(number % 100, 'granted', 'denied'), now64(3),"
        f" 'import' FROM numbers({RECIPIENTS})",
        "sends": "(message_id, tenant, user, sent_at, recipient_count, mode, opens, clicks,"
        " recipients, links, tag, basis) SELECT {id}, '{TENANT}', {user}, {sent}, 1, 'identified',"
        " true, true, [{to}], [{target}, 'https://shop.example/terms'], {tag}, 'consent'"
        " FROM numbers({MAILS})".format(
            **mail, TENANT=TENANT, MAILS=MAILS, target=_TARGET.format("number")
        ),
        "displays": "(message_id, tenant, user, subject, recipient_names, recipient_addresses,"
        " links) SELECT {id}, '{TENANT}', {user}, concat('Offer ', toString(number)), ['Somebody'],"
        " [concat('p', toString(number % {RECIPIENTS}), '@example.com')], ['Shop', 'Terms']"
        " FROM numbers({MAILS})".format(**mail, TENANT=TENANT, MAILS=MAILS, RECIPIENTS=RECIPIENTS),
        "tracks": "(message_id, revision, tenant, user, sent_at, recipient_count, recipient_id,"
        " mode, tag, opens, clicks, machine_opens, first_open_at, last_open_at, first_click_at,"
        " last_click_at, readers_about, readers_least, open_score, click_score)"
        " SELECT {id}, 10, '{TENANT}', {user}, {sent},"
        " 1, {to}, 'identified', {tag}, 4, 2, 4, {sent} + INTERVAL 1 HOUR,"
        " {sent} + INTERVAL 9 HOUR, {sent} + INTERVAL 2 HOUR, {sent} + INTERVAL 8 HOUR,"
        " 1, 1, 60, 60"
        " FROM numbers({MAILS})".format(**mail, TENANT=TENANT, MAILS=MAILS),
        "events": "(event_id, revision, hit_id, kind, at, tenant, user, message_id, recipient,"
        " recipient_count, recipient_id, mode, verdict, reasons, first, sent_at, link, target,"
        " network, agent, tag, score, rules_version)"
        f" SELECT lower(hex(MD5(toString(number)))), 1, {_ID.format('number')},"
        f" if(number % 5 = 4, 'click', 'open'), {_SENT.format(place)} + toIntervalHour(number %"
        f" {EVENTS}), '{TENANT}', {_USER.format(place)}, {_ID.format(place)}, 1, 1,"
        f" {_RECIPIENT.format(place)}, 'identified', if(number % 5 < 2, 'scanner', 'human'),"
        f" ['no_machine_sign'], number % {EVENTS} = 2, {_SENT.format(place)},"
        f" if(number % 5 = 4, 0, NULL), if(number % 5 = 4, {_TARGET.format(place)}, ''),"
        f" '203.0.113.0/24', {_AGENT}, concat('campaign-', toString({place} % 20)), 60, 1"
        f" FROM numbers({MAILS * EVENTS})",
    }


def measure() -> list[Row]:
    """A row for each thing that is asked. Takes some minutes, most of them for filling."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        local = stack.enter_context(LocalClickHouse(folder))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        url = f"{local.url.rpartition('/')[0]}/bench"
        migrate(url)
        fill(url)
        settings = read_settings({}, kafka_bootstrap=kafka.bootstrap)
        asyncio.run(apply_topics(settings))
        return asyncio.run(_measure(url, settings, psutil.Process(local.pid)))


def fill(url: str) -> None:
    """Fills the tables, and waits until ClickHouse has merged what it wants to."""
    client = ClickHouse(url, timeout_s=900)
    for table, sql in _sql().items():
        began = time.monotonic()
        client.execute(f"INSERT INTO {table} {sql}")
        print(f"mailbox: {table} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    until = time.monotonic() + SETTLE_S
    while client.query("SELECT count() FROM system.merges")[0][0] and time.monotonic() < until:
        time.sleep(1)
    client.close()


async def tell_consents(settings: Settings, reader: Reader) -> None:
    """Writes what recipients have said to Kafka, as it stands in ClickHouse."""
    rows = await reader.rows(
        "SELECT tenant, recipient_id, purpose, state, toUnixTimestamp64Milli(at), consent_id"
        " FROM consent_proofs"
    )
    consents = [
        Consent(consent_id, tenant, recipient_id, purpose, state, at, "import")
        for tenant, recipient_id, purpose, state, at, consent_id in rows
    ]
    producer = await start_producer(settings, client_id="bench")
    records = [(consent_key(each), CONSENT.encode(each)) for each in consents]
    await write(producer, settings, "consents", records)
    await producer.stop()


async def _measure(url: str, settings: Settings, engine: psutil.Process) -> list[Row]:
    reader, register = Reader(url), Register(settings)
    await tell_consents(settings, reader)
    register.start()
    await register.current(60)
    denials = Denials(reader, register)

    def listing(**asked: Any) -> Callable[[int], Awaitable[Any]]:
        return lambda _: page(reader, denials, TENANT, USER, MessagesQuery(**asked))

    def report(kind: Any, by: Any) -> Callable[[int], Awaitable[Any]]:
        return lambda _: reports.read(reader, TENANT, USER, reports.ReportQuery(by=by), kind)

    def one(number: int) -> Awaitable[Any]:
        return timeline.view(reader, denials, TENANT, USER, f"{number * 97 % BUSY:032X}".lower())

    asked = (
        ("nothing (SELECT 1)", LIST_MS, lambda _: reader.rows("SELECT 1")),
        ("list", LIST_MS, listing()),
        ("list, opened", LIST_MS, listing(opened=True)),
        ("list, not clicked", LIST_MS, listing(clicked=False)),
        ("list, by words", LIST_MS, listing(q="Offer 77")),
        ("timeline", LIST_MS, one),
        ("overview", REPORT_MS, report(reports.OVERVIEW, "day")),
        ("links", REPORT_MS, report(reports.LINKS, "all")),
        ("times", REPORT_MS, report(reports.TIMES, "all")),
        ("clients", REPORT_MS, report(reports.CLIENTS, "tag")),
    )
    try:
        return [
            Row(
                stage=f"mailbox: {name}",
                figure=took.p95,
                beside=most,
                unit="ms, p95",
                beside_what=f"the bound; p50 {took.p50:,.0f} ms, CPU {took.cpu:,.0f} ms a request",
                aim=1.0,
                less=True,
            )
            for name, most, ask in asked
            for took in [await _slow(ask, engine)]
        ]
    finally:
        await register.stop()
        await reader.stop()


class Took(NamedTuple):
    """Milliseconds: within which half and 95 of 100 are answered, one after the other; and of CPU a
    request, of the engine with its listener and of the reader."""

    p50: float
    p95: float
    cpu: float


async def _slow(ask: Callable[[int], Awaitable[Any]], engine: psutil.Process) -> Took:
    for number in range(WARM):
        await ask(number)
    took, before = [], _cpu_s(engine)
    for number in range(WARM, WARM + TIMES):
        began = time.perf_counter()
        await ask(number)
        took.append((time.perf_counter() - began) * 1000)
    cpu = (_cpu_s(engine) - before) * 1000 / TIMES
    took.sort()
    return Took(took[TIMES // 2], took[TIMES * 95 // 100], cpu)


def _cpu_s(engine: psutil.Process) -> float:
    times = engine.cpu_times()
    return float(times.user + times.system) + time.process_time()
