"""The views for analysts, on the real engine, beside a ledger in Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from mailwake.contracts import PERSON, Event
from mailwake_api.clients import client_of
from tests.analysts import (
    ANSWERS,
    PAGE,
    SENDERS,
    Ledger,
    columns,
    day,
    fill,
    questions,
    when,
)
from tests.mailbox import Mailbox


@pytest.fixture(scope="module", params=["as it came", "merged"])
def filled(clickhouse: str, request: pytest.FixtureRequest) -> Iterator[tuple[Mailbox, Ledger]]:
    mailbox = Mailbox(clickhouse)
    ledger = fill(mailbox)
    if request.param == "merged":
        for table in ("sends", "events", "tracks", "consent_proofs"):
            mailbox.client.execute(f"OPTIMIZE TABLE {table} FINAL")
    yield mailbox, ledger
    mailbox.client.close()


@pytest.mark.parametrize("number", range(1, 11))
def test_the_questions_of_the_page(filled: tuple[Mailbox, Ledger], number: int) -> None:
    mailbox, ledger = filled
    heading, sql = list(questions().items())[number - 1]
    assert heading.startswith(f"{number}. ")
    answer = list(ANSWERS[number - 1](ledger))
    assert answer
    assert mailbox.client.query(sql) == answer


def test_the_page_has_ten_questions_and_every_view_and_column(
    filled: tuple[Mailbox, Ledger],
) -> None:
    mailbox, _ = filled
    assert len(questions()) == len(ANSWERS) == 10
    told = PAGE.read_text().partition("from the views' own comments -->\n")[2]
    assert told.partition("\n<!-- end of columns")[0].strip() == columns(mailbox).strip()


def test_events_are_those_of_consented_events(filled: tuple[Mailbox, Ledger]) -> None:
    """Of every tenant and user; and those of the ledger."""
    mailbox, ledger = filled
    for tenant, user in SENDERS:
        of = {"tenant": tenant, "user": user}
        wanted = mailbox.client.query(
            "SELECT event_id, kind, verdict, score, target FROM consented_events"
            "(tenant = %(tenant)s, user = %(user)s) ORDER BY event_id",
            of,
        )
        got = mailbox.client.query(
            "SELECT event_id, kind, verdict, score, target FROM v_events"
            " WHERE tenant = %(tenant)s AND user = %(user)s ORDER BY event_id",
            of,
        )
        assert got == wanted
        assert got == sorted(
            (each.event_id, each.kind, each.verdict, each.score, each.target or "")
            for each in ledger.events()
            if (each.tenant, each.user) == (tenant, user)
        )


def test_opens_and_clicks(filled: tuple[Mailbox, Ledger]) -> None:
    mailbox, ledger = filled
    for kind, view in (("open", "v_opens"), ("click", "v_clicks")):
        told = [each for each in ledger.events() if each.kind == kind]
        assert mailbox.client.query(
            f"SELECT event_id, at, after_s, person, client FROM {view} ORDER BY event_id"
        ) == sorted(
            (
                each.event_id,
                when(each.at),
                (each.at - each.sent_at) / 1000,
                each.verdict in PERSON,
                client_of(each.agent, each.reasons),
            )
            for each in told
        )


def test_messages_and_times(filled: tuple[Mailbox, Ledger]) -> None:
    mailbox, ledger = filled
    rows = mailbox.client.query(
        "SELECT message_id, tenant, user, opens_tracked, clicks_tracked, opens_withheld,"
        " clicks_withheld, opened, clicked, opens, clicks, machine_opens, machine_clicks, forwards,"
        " first_open_at, last_open_at, first_click_at, last_click_at, readers_about IS NULL"
        " FROM v_messages ORDER BY message_id"
    )
    wanted = []
    for mail in ledger.mails:
        opens, clicks = mail.acts("open"), mail.acts("click")
        machines = [len(mail.acts("open", person=False)), len(mail.acts("click", person=False))]
        forwards = sum(each.forward for each in mail.events)
        times = [when(each.at) if each else None for each in (*_ends(opens), *_ends(clicks))]
        wanted.append(
            (
                *(mail.send.message_id, mail.send.tenant, mail.send.user),
                *(mail.send.opens, mail.send.clicks, "open" in mail.hidden, "click" in mail.hidden),
                *(bool(opens), bool(clicks), len(opens), len(clicks), *machines, forwards, *times),
                bool(mail.hidden),
            )
        )
    assert rows == sorted(wanted)
    assert mailbox.client.query(
        "SELECT message_id, open_after_s, click_after_s FROM v_time_to_open ORDER BY message_id"
    ) == [
        (row[0], *(at and (at - when(sent)).total_seconds() for at in (row[14], row[16])))
        for row, sent in zip(rows, sorted_times(ledger), strict=True)
        if row[7] or row[8]
    ]


def sorted_times(ledger: Ledger) -> list[int]:
    mails = sorted(ledger.mails, key=lambda mail: mail.send.message_id)
    return [mail.send.sent_at for mail in mails]


def _ends(events: list[Event]) -> tuple[Event | None, Event | None]:
    return (events[0], events[-1]) if events else (None, None)


def test_days_clients_and_verdicts(filled: tuple[Mailbox, Ledger]) -> None:
    mailbox, ledger = filled
    days: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0] * 9)
    for mail in ledger.mails:
        send = mail.send
        counts = [len(mail.acts("open")), len(mail.acts("click"))]
        row = [1, *map(int, map(bool, counts)), *counts]
        row += [len(mail.acts("open", person=False)), len(mail.acts("click", person=False))]
        row += [sum(each.forward for each in mail.events), int(bool(mail.hidden))]
        key = (send.tenant, send.user, day(send.sent_at), send.tag)
        days[key] = [a + b for a, b in zip(days[key], row, strict=True)]
    assert mailbox.client.query("SELECT * FROM v_days ORDER BY ALL") == sorted(
        (*key, *row) for key, row in days.items()
    )
    machines = Counter(
        (each.tenant, each.user, day(each.at), each.tag, client_of(each.agent, each.reasons))
        for each in ledger.events()
        if each.verdict not in PERSON
    )
    assert mailbox.client.query(
        "SELECT tenant, user, day, tag, client, machines FROM v_clients WHERE machines ORDER BY ALL"
    ) == sorted((*key, count) for key, count in machines.items())
    verdicts = Counter(
        (each.tenant, each.user, day(each.at), each.kind, each.verdict) for each in ledger.events()
    )
    assert mailbox.client.query(
        "SELECT tenant, user, day, kind, verdict, events FROM v_verdicts ORDER BY ALL"
    ) == sorted((*key, count) for key, count in verdicts.items())


def test_nothing_of_a_recipient_stands_in_a_view(filled: tuple[Mailbox, Ledger]) -> None:
    mailbox, _ = filled
    named = mailbox.client.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND table LIKE"
        " 'v\\_%' AND match(name, 'recipient_id|recipients|address|subject|network|agent|asn|hit')"
    )
    assert named == []
