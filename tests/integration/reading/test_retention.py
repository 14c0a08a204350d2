"""What leaves ClickHouse when, and what stays, on the real engine with old mails."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mailwake.settings import Settings
from mailwake_enricher.retention import GRACE_DAYS, count_days, delete_hits, run
from mailwake_enricher.rows import display_columns, hit_columns
from tests.analysts import SENDERS, Ledger, day, fill
from tests.forever import let_go
from tests.installation import own_installation
from tests.mailbox import DAY, Asking, Mailbox, rows
from tests.running import wait_until
from tests.topics import read_all
from tests.unit.loader.values import display, hit, message_id

SHORT = 20
"""The retention of the mails that go; they were sent over 18 days, 70 days ago the first."""


def ago(days: int) -> int:
    return int(time.time() * 1000) - days * DAY


def today(days_ago: int = 0) -> date:
    return datetime.now(UTC).date() - timedelta(days=days_ago)


def filled(mailbox: Mailbox) -> tuple[Ledger, Ledger]:
    """Mails whose time is over, and mails that stay."""
    return (
        fill(mailbox, at=ago(70), retention_days=SHORT),
        fill(mailbox, 30, number=1000, at=ago(60)),
    )


def days_of(mailbox: Mailbox) -> list[tuple[Any, ...]]:
    return mailbox.client.query("SELECT * FROM v_days ORDER BY ALL")


def left(mailbox: Mailbox, table: str) -> set[int]:
    found = mailbox.client.query(f"SELECT DISTINCT message_id FROM {table}")
    return {int(message_id, 16) for (message_id,) in found}


async def reports(asking: Asking) -> list[Any]:
    """The overview in every way, without what is not kept."""
    asked = [{"by": by} for by in ("all", "day", "tag")]
    asked += [{"by": "tag", "tag": "spring"}, {"by": "all", "since": str(ago(65) // DAY * DAY)}]
    return [
        [
            each | {"open_after_s": None, "click_after_s": None}
            for each in await rows(asking, "overview", **some)
        ]
        for some in asked
    ]


def test_a_mail_goes_when_its_own_retention_and_the_grace_are_over(clickhouse: str) -> None:
    mailbox = Mailbox(clickhouse)
    for number, (days, retention_days) in enumerate(
        [(50, SHORT), (52, SHORT), (28, 1), (32, 1), (200, 180), (212, 180)]
    ):
        send = mailbox.send(number, "anna", sent_at=ago(days), retention_days=retention_days)
        mailbox.happen(send, mailbox.event(send, "open", 1), mailbox.event(send, "click", DAY))
        # The day on which rows go is the one that is `expires_on`; 50 days ago it is today.
    let_go(mailbox.url)
    for table in ("sends", "events", "tracks"):
        assert left(mailbox, table) == {2, 4}, table
    assert mailbox.client.query("SELECT expires_on FROM sends WHERE retention_days = 1") == [
        (day(ago(28)) + timedelta(days=1 + GRACE_DAYS),)
    ]
    mailbox.client.close()


async def test_reports_tell_the_same_when_the_mails_are_gone(mailbox: Mailbox, ben: Asking) -> None:
    over, staying = filled(mailbox)
    before, reported = days_of(mailbox), await reports(ben)
    assert count_days(mailbox.client, today(25)) > 20
    # The rows are still there, and the days are counted as well: nothing is told twice.
    assert days_of(mailbox) == before
    assert await reports(ben) == reported
    let_go(mailbox.url)
    for table in ("sends", "tracks"):
        assert left(mailbox, table) == {int(mail.send.message_id, 16) for mail in staying.mails}
    assert days_of(mailbox) == before
    assert await reports(ben) == reported
    count_days(mailbox.client, today())  # they are gone: nothing is counted any more
    mailbox.client.execute("OPTIMIZE TABLE sent_days FINAL")
    verdicts = Counter((each.kind, each.verdict) for each in over.events())
    for kind in ("open", "click"):
        ((told,),) = mailbox.client.query(f"SELECT sumMap({kind}s_by_verdict) FROM v_past_days")
        assert told == {verdict: n for (of, verdict), n in verdicts.items() if of == kind}


async def test_reports_say_how_many_mails_they_leave_out(mailbox: Mailbox, ben: Asking) -> None:
    over, _ = filled(mailbox)
    count_days(mailbox.client, today(25))
    of_ben = [mail.send for mail in over.mails if (mail.send.tenant, mail.send.user) == SENDERS[0]]

    async def left_out(name: str, **asked: Any) -> int:
        found: dict[str, Any] = await ben.json(f"/v1/reports/{name}", **asked)
        return int(found["gone"])

    for name in ("links", "times", "clients"):
        assert await left_out(name) == len(of_ben) > 0, name
        spring = sum(send.tag == "spring" for send in of_ben)
        assert await left_out(name, tag="spring") == spring
        assert await left_out(name, since=str(ago(10))) == 0
    assert await left_out("overview", by="hour") == len(of_ben)
    assert await left_out("overview", by="day") == 0
    answer = await ben.get("/v1/reports/links", params={"format": "csv"})
    assert answer.headers["mailwake-gone"] == str(len(of_ben))


def test_hits_go_with_their_mail_and_no_others(clickhouse: str) -> None:
    mailbox = Mailbox(clickhouse)
    for number, (days, retention_days) in enumerate(
        [(40, SHORT), (44, SHORT), (25, 1), (20, 1), (100, 180)]
    ):
        send = mailbox.send(number, "anna", sent_at=ago(days), retention_days=retention_days)
        mailbox.insert("hits", hit_columns([hit(number, at=send.sent_at + 1000)]))
    mailbox.insert("hits", hit_columns([hit(9, at=ago(90))]))  # of a mail that is not known
    assert delete_hits(mailbox.client, today()) == 2
    wait_until("they are gone", lambda: left(mailbox, "hits") == {0, 3, 4, 9})
    assert delete_hits(mailbox.client, today()) == 0
    mailbox.client.close()


async def test_counts_follow_whoever_withdraws_or_is_erased_in_the_grace(mailbox: Mailbox) -> None:
    over, _ = filled(mailbox)
    now = today(25)
    count_days(mailbox.client, now)
    sends = [mail.send for mail in over.mails]
    gone = [each.message_id for each in sends if (each.tenant, each.user) == SENDERS[0]]
    mailbox.say("dora", "opens", "denied")
    for table in ("sends", "events", "tracks"):
        mailbox.client.execute(
            f"ALTER TABLE {table} DELETE WHERE message_id IN %(ids)s",
            {"ids": gone},
            {"mutations_sync": 1},
        )
    before = mailbox.client.query(
        "SELECT tenant, user, toDate(sent_at) AS day, tag, count(), countIf(m.opened),"
        " countIf(m.clicked), sum(m.opens), sum(m.clicks), sum(m.machine_opens),"
        " sum(m.machine_clicks), sum(m.forwards), countIf(opens_withheld OR clicks_withheld)"
        " FROM v_messages AS m GROUP BY tenant, user, day, tag ORDER BY ALL"
    )
    count_days(mailbox.client, now)
    assert mailbox.client.query(
        "SELECT sum(mails) FROM v_past_days WHERE tenant = 'acme' AND user = 'ben'"
    ) == [(0,)]
    let_go(mailbox.url)
    told = [row for row in days_of(mailbox) if row[4]]
    assert told == before
    assert sum(row[-1] for row in told) > 0


async def test_names_go_with_the_mail(kafka: str, clickhouse: str) -> None:
    settings: Settings = await own_installation(kafka, clickhouse)
    mailbox = Mailbox(clickhouse, settings.clickhouse_url.rpartition("/")[2])
    old, young = ago(300), ago(30)
    sent = [mailbox.send(number, "anna", sent_at=at) for number, at in enumerate((old, young))]
    alone, fresh = message_id(11), message_id(12)
    mailbox.insert("displays", display_columns([display(11), display(12)]))
    mailbox.client.execute(
        "ALTER TABLE displays UPDATE loaded_at = loaded_at - INTERVAL 9 DAY"
        f" WHERE message_id != '{fresh}'",
        settings={"mutations_sync": 1},
    )
    done = await run(settings, today())
    assert done.displays == 2
    found = await read_all(settings, "displays")
    assert {(record.key, record.value) for record in found} == {
        (each.encode(), None) for each in (sent[0].message_id, alone)
    }
    mailbox.client.close()
