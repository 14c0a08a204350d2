# ruff: noqa: S608 (constants alone make the text of a query; values are parameters)
"""`mailwake retention`: what is to be done before rows leave ClickHouse, and after; every day.

Rows of sends, events and tracks leave by themselves, `GRACE_DAYS` after their mail is no longer
tracked. In those days nothing happens to the mail any more, so what its day came to is counted into
`sent_days`, which stays. It is counted every day anew, for recipients may still withdraw or be
erased; a later count replaces the earlier, so a run that is repeated or cut off does no harm, and
one that fails may fail for weeks.

The edge knows nothing of a mail but its token, so raw hits leave by their own age alone; those of a
mail whose rows are about to go are deleted here, `LAST_DAYS` before its grace ends.

The names of a mail go with it: the display gets a tombstone, as in an erasure, by which the topic
and the table lose it (docs/decisions/0021-retention.md).
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from mailwake.clickhouse import ClickHouse, secured_url
from mailwake.kafka import require_topics, start_producer, stop_client
from mailwake.settings import Settings, read_settings

GRACE_DAYS = 30
"""How many days after its tracking ended a mail stays; schemas/clickhouse/0006_retention.sql."""

LAST_DAYS = 7
"""So many days before the other rows of a mail its hits go; so long may runs fail for nothing."""

ALONE_DAYS = 8
"""A display whose send is not there is waited for so long: a day more than `sends` is kept."""

AT_ONCE = 10_000

_KEYS = "tenant, user, day, tag, retention_days"
_COUNTS = (
    *("mails", "opened", "clicked", "opens", "clicks", "machine_opens", "machine_clicks"),
    *("forwards", "withheld"),
)
_NONE = ", ".join(f"0 AS {name}" for name in _COUNTS)
_EMPTY = "CAST(map(), 'Map(LowCardinality(String), UInt64)')"
# The last day of the grace is left out: at its end rows go, and a count may run until then.
_OVER = (
    "day + toIntervalDay(retention_days) <= %(today)s"
    f" AND day + toIntervalDay(retention_days + {GRACE_DAYS - 1}) > %(today)s"
)
_OF_TENANT = f"tenant = %(tenant)s AND {_OVER}"
_MAILS = (
    "SELECT tenant, user, toDate(sent_at) AS day, tag, retention_days, count() AS mails,"
    " countIf(m.opened) AS opened, countIf(m.clicked) AS clicked, sum(m.opens) AS opens,"
    " sum(m.clicks) AS clicks, sum(m.machine_opens) AS machine_opens,"
    " sum(m.machine_clicks) AS machine_clicks, sum(m.forwards) AS forwards,"
    " countIf(m.opens_withheld OR m.clicks_withheld) AS withheld,"
    f" {_EMPTY} AS opens_by_verdict, {_EMPTY} AS clicks_by_verdict"
    f" FROM v_messages AS m WHERE {_OF_TENANT} GROUP BY {_KEYS}"
)
_VERDICTS = (
    f"SELECT tenant, user, day, s.tag AS tag, retention_days, {_NONE},"
    " sumMapIf(map(verdict, toUInt64(1)), kind = 'open') AS opens_by_verdict,"
    " sumMapIf(map(verdict, toUInt64(1)), kind = 'click') AS clicks_by_verdict"
    " FROM (SELECT user, message_id, kind, verdict FROM v_events WHERE tenant = %(tenant)s) AS e"
    " INNER JOIN (SELECT tenant, user, message_id, toDate(sent_at) AS day, tag, retention_days"
    f" FROM sends FINAL WHERE {_OF_TENANT}) AS s USING (user, message_id) GROUP BY {_KEYS}"
)
# What was counted, and is there no more because it was erased.
_BEFORE = (
    f"SELECT {_KEYS}, {_NONE}, {_EMPTY} AS opens_by_verdict, {_EMPTY} AS clicks_by_verdict"
    f" FROM sent_days WHERE {_OF_TENANT}"
)
_COUNT = (
    f"INSERT INTO sent_days ({_KEYS}, counted_at, {', '.join(_COUNTS)}, opens_by_verdict,"
    f" clicks_by_verdict) SELECT {_KEYS}, now64(3, 'UTC'),"
    f" {', '.join(f'sum(c.{name})' for name in _COUNTS)}, sumMap(c.opens_by_verdict),"
    f" sumMap(c.clicks_by_verdict) FROM ({_MAILS} UNION ALL {_VERDICTS} UNION ALL {_BEFORE}) AS c"
    f" GROUP BY {_KEYS}"
)
_ALONE = (
    "FROM displays WHERE tenant = %(tenant)s AND message_id > %(after)s"
    f" AND loaded_at < now('UTC') - INTERVAL {ALONE_DAYS} DAY AND message_id NOT IN"
    " (SELECT message_id FROM sends WHERE tenant = %(tenant)s AND expires_on > %(today)s)"
)


_LEAVING = (
    "tenant = %(tenant)s AND message_id IN (SELECT message_id FROM sends FINAL WHERE"
    f" tenant = %(tenant)s AND expires_on <= toDate(%(today)s) + {LAST_DAYS})"
)


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did.

    Attributes:
        days: how many rows of `sent_days` are as they were counted now, or before.
        hits: how many raw hits were found whose mails are about to go; ClickHouse deletes them.
        displays: how many displays were erased.
    """

    days: int
    hits: int
    displays: int


def count_days(clickhouse: ClickHouse, today: date) -> int:
    """Counts what the days came to whose mails are not tracked any more and not gone yet.

    Gives how many rows that is. Blocks; raises ClickHouseError and UnavailableError.
    """
    rows = 0
    for tenant in _tenants(clickhouse, "sends"):
        values = {"tenant": tenant, "today": today}
        clickhouse.execute(_COUNT, values)
        sql = f"SELECT count() FROM sent_days FINAL WHERE {_OF_TENANT}"
        rows += clickhouse.query(sql, values)[0][0]
    return rows


def delete_hits(clickhouse: ClickHouse, today: date) -> int:
    """Has ClickHouse delete the hits of mails that are about to go; gives how many there are.

    It is not waited for: what a deletion that failed has left is found the next day. Blocks; raises
    ClickHouseError and UnavailableError.
    """
    hits = 0
    for tenant in _tenants(clickhouse, "sends"):
        values = {"tenant": tenant, "today": today}
        found = clickhouse.query(f"SELECT count() FROM hits WHERE {_LEAVING}", values)[0][0]
        if found:
            clickhouse.execute(f"ALTER TABLE hits DELETE WHERE {_LEAVING}", values)
        hits += found
    return hits


def alone(clickhouse: ClickHouse, today: date) -> Iterator[list[str]]:
    """The message_ids of displays whose mail is gone, or never came; some at a time."""
    for tenant in _tenants(clickhouse, "displays"):
        after = ""
        while True:
            rows = clickhouse.query(
                f"SELECT DISTINCT message_id {_ALONE} ORDER BY message_id LIMIT {AT_ONCE}",
                {"tenant": tenant, "today": today, "after": after},
            )
            if not rows:
                break
            found = [message_id for (message_id,) in rows]
            yield found
            after = found[-1]


async def run(settings: Settings, today: date) -> Done:
    """Counts, has hits deleted, erases displays. Raises UnavailableError and ClickHouseError."""
    await require_topics(settings, "displays")
    clickhouse = ClickHouse(secured_url(settings))
    producer = await start_producer(settings, client_id="mailwake-retention")
    try:
        days = await asyncio.to_thread(count_days, clickhouse, today)
        hits = await asyncio.to_thread(delete_hits, clickhouse, today)
        displays = 0
        lots = alone(clickhouse, today)
        while (some := await asyncio.to_thread(next, lots, None)) is not None:
            topic = settings.topic("displays")
            acks = [await producer.send(topic, None, key=each.encode()) for each in some]
            await asyncio.gather(*acks)
            displays += len(some)
    finally:
        await stop_client(producer)
        clickhouse.close()
    return Done(days, hits, displays)


def _tenants(clickhouse: ClickHouse, table: str) -> Sequence[str]:
    rows = clickhouse.query(f"SELECT DISTINCT tenant FROM {table} ORDER BY tenant")
    return [tenant for (tenant,) in rows]


def main(argv: list[str]) -> int:
    """Runs the command; gives the exit status."""
    argparse.ArgumentParser(
        prog="mailwake retention",
        description="Counts what days came to before their mails leave ClickHouse, deletes the raw "
        "hits of these mails, and erases the names of mails that are gone. Run it every day.",
    ).parse_args(argv)
    done = asyncio.run(run(read_settings(), datetime.now(UTC).date()))
    print(
        f"{done.days:,} rows of days counted, {done.hits:,} hits to be deleted, "
        f"{done.displays:,} displays erased"
    )
    return 0
