"""What may be read of events after what recipients have said, in the real engine."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import Consent, ConsentState, Event, Purpose, Send, new_consent
from mailwake.migrate import migrate
from mailwake.permission import counts
from mailwake_enricher.rows import Columns, event_columns, proof_columns, send_columns
from tests.forever import keep_forever
from tests.unit.loader.values import AT, event, message_id, send

ANNA, BOB, CAROL = "a" * 32, "b" * 32, "c" * 32


class Store:
    """A database of a test's own."""

    def __init__(self, url: str) -> None:
        self.client = ClickHouse(url)
        self._events = 0

    def insert(self, table: str, columns: Columns) -> None:
        self.client.insert(table, list(columns), list(columns.values()), token=uuid.uuid4().hex)

    def mail(self, number: int, *recipients: str, user: str = "anna", **more: Any) -> None:
        """A mail, and an open and a click of it."""
        shared = len(recipients) > 1
        sent: Send = send(
            number, recipients=list(recipients), recipient_count=len(recipients), user=user
        )
        self.insert("sends", send_columns([sent]))
        for kind in ("open", "click"):
            self._events += 1
            made: Event = event(self._events, message_id=message_id(number), kind=kind, user=user)
            happened = replace(
                made,
                recipient=0 if shared else 1,
                recipient_count=len(recipients),
                recipient_id=None if shared else recipients[0],
                link=0 if kind == "click" else None,
                target="https://example.com/" if kind == "click" else None,
                **more,
            )
            self.insert("events", event_columns([happened]))

    def say(self, *consents: Consent) -> None:
        self.insert("consent_proofs", proof_columns(consents))

    def seen(self, tenant: str = "acme", user: str = "anna") -> list[tuple[int, str]]:
        """The number of the mail and the kind of all events that may be read."""
        rows = self.client.query(
            "SELECT message_id, kind FROM consented_events(tenant = %(tenant)s, user = %(user)s)"
            " ORDER BY ALL",
            {"tenant": tenant, "user": user},
        )
        return [(int(message, 16), kind) for message, kind in rows]


@pytest.fixture
def store(clickhouse: str) -> Iterator[Store]:
    url = f"{clickhouse.rpartition('/')[0]}/t_{uuid.uuid4().hex[:12]}"
    migrate(url)
    keep_forever(url)
    made = Store(url)
    yield made
    made.client.close()


def said(
    recipient: str, state: ConsentState, at: int, purpose: Purpose = "opens", **more: Any
) -> Consent:
    return new_consent("acme", recipient, purpose, state, AT + at, "withdrawal_page", **more)


def both(*numbers: int) -> list[tuple[int, str]]:
    return [(number, kind) for number in numbers for kind in ("click", "open")]


def test_what_a_recipient_denies_is_not_read_any_more(store: Store) -> None:
    store.mail(1, ANNA)
    store.mail(2, BOB)
    store.mail(3, BOB, ANNA)
    store.mail(4, BOB, CAROL)
    assert store.seen() == both(1, 2, 3, 4)
    store.say(said(ANNA, "denied", 1))
    opens_gone = [(1, "click"), *both(2), (3, "click"), *both(4)]
    assert store.seen() == opens_gone
    store.say(said(ANNA, "denied", 1), said(ANNA, "granted", 0))  # again, and one that came late
    assert store.seen() == opens_gone
    store.say(said(ANNA, "denied", 2, "clicks"))
    assert store.seen() == both(2, 4)
    store.say(said(ANNA, "granted", 3))
    assert store.seen() == [(1, "open"), *both(2), (3, "open"), *both(4)]
    store.say(said(ANNA, "unknown", 4, "clicks"))
    assert store.seen() == both(1, 2, 3, 4)


def test_of_two_at_the_same_time_the_denial_counts(store: Store) -> None:
    store.mail(1, ANNA)
    store.say(said(ANNA, "denied", 5))
    store.say(said(ANNA, "granted", 5, wording="Yes?"))
    assert store.seen() == [(1, "click")]


def test_other_users_and_tenants_are_apart(store: Store) -> None:
    store.mail(1, ANNA)
    store.mail(2, ANNA, user="ben")
    elsewhere = new_consent("other", ANNA, "opens", "denied", AT, "import")
    store.say(elsewhere)
    assert (store.seen(), store.seen(user="ben")) == (both(1), both(2))
    assert store.seen(tenant="other") == []
    store.say(said(ANNA, "denied", 1))
    assert store.seen(user="ben") == [(2, "click")]
    assert store.seen(user="x' OR 1=1 --") == []


def test_rows_that_came_twice_are_one_and_the_last_revision_stands(store: Store) -> None:
    store.mail(1, BOB, ANNA)
    first = event(1, message_id=message_id(1), recipient=0, recipient_count=2)
    revised = replace(first, revision=2, verdict="scanner", reasons=["burst"])
    store.insert("events", event_columns([revised]))
    store.insert("events", event_columns([first]))
    rows = store.client.query(
        "SELECT kind, revision FROM consented_events(tenant = 'acme', user = 'anna') ORDER BY ALL"
    )
    assert rows == [("click", 1), ("open", 2)]


def test_what_counts_for_nothing_is_not_read(store: Store) -> None:
    """An event that turned out to tell of what another told already."""
    store.mail(1, BOB)
    assert store.seen() == both(1)
    told = event(1, message_id=message_id(1), recipient_id=BOB)
    store.insert("events", event_columns([replace(told, revision=2, repeat=True)]))
    assert store.seen() == [(1, "click")]
    store.insert("events", event_columns([replace(told, revision=3, score=70, implied=True)]))
    assert store.client.query(
        "SELECT kind, score, rules_version, repeat, implied, forward "
        "FROM consented_events(tenant = 'acme', user = 'anna') ORDER BY ALL"
    ) == [("click", 0, 0, False, False, False), ("open", 70, 0, False, True, False)]


def test_a_mail_whose_send_is_not_stored_goes_by_its_event(store: Store) -> None:
    lone = event(7, message_id=message_id(7), recipient_id=ANNA)
    store.insert("events", event_columns([lone]))
    assert store.seen() == [(7, "open")]
    store.say(said(ANNA, "denied", 1))
    assert store.seen() == []


def test_an_anonymous_event_of_an_identified_mail_goes_too(store: Store) -> None:
    """Such stand for hits that came before the edge knew the consents."""
    store.mail(1, ANNA, mode="anonymous")
    store.client.execute(
        "ALTER TABLE events UPDATE recipient_id = '' WHERE 1 SETTINGS mutations_sync = 1"
    )
    store.say(said(ANNA, "denied", 1))
    assert store.seen() == [(1, "click")]


def test_the_view_of_consents_is_what_the_library_says(store: Store) -> None:
    random.seed(7)
    states: Sequence[ConsentState] = ("granted", "denied", "unknown")
    purposes: Sequence[Purpose] = ("opens", "clicks")
    statements = [
        said(
            random.choice((ANNA, BOB, CAROL)) if number % 2 else f"{number % 60:032x}",
            random.choice(states),
            random.randrange(6),
            random.choice(purposes),
            source=random.choice(("a", "b")),
        )
        for number in range(600)
    ]
    in_force: dict[tuple[str, str], Consent] = {}
    for each in statements:
        key = (each.recipient_id, each.purpose)
        if counts(each, in_force.get(key)):
            in_force[key] = each
    for some in (statements[:300], statements[200:], statements[:50]):
        store.say(*some)
    rows = store.client.query(
        "SELECT recipient_id, purpose, state, toUnixTimestamp64Milli(at) FROM consents ORDER BY ALL"
    )
    assert rows == sorted((*key, each.state, each.at) for key, each in in_force.items())
    proofs = {each.consent_id for each in statements}
    assert store.client.query("SELECT count() FROM consent_proofs FINAL") == [(len(proofs),)]
    stood = store.client.query(
        "SELECT count() FROM consents JOIN consent_proofs USING consent_id"
        " WHERE consents.state = consent_proofs.state AND consents.at = consent_proofs.at"
    )
    assert stood[0][0] >= len(rows)


def test_many_denials_cost_little(store: Store) -> None:
    many, mails = 200_000, 100_000
    store.client.execute(
        "INSERT INTO consent_proofs (consent_id, tenant, recipient_id, purpose, state, at, method) "
        "SELECT lower(hex(MD5(toString(number)))), 'acme', lower(hex(MD5(toString(number)))), "
        f"'opens', 'denied', now64(3), 'import' FROM numbers({many})"
    )
    store.client.execute(
        "INSERT INTO sends (message_id, tenant, user, sent_at, recipient_count, mode, recipients) "
        "SELECT lower(leftPad(hex(number), 32, '0')), 'acme', 'anna', now64(3), 2, 'identified', "
        "[lower(hex(MD5(toString(2 * number)))), lower(hex(MD5(toString(9999999 + number))))] "
        f"FROM numbers({mails})"
    )
    store.insert(
        "events",
        event_columns([event(n, message_id=message_id(n), recipient=0) for n in range(mails)]),
    )
    began = time.monotonic()
    ((left,),) = store.client.query(
        "SELECT count() FROM consented_events(tenant = 'acme', user = 'anna')"
    )
    took = time.monotonic() - began
    print(f"{many} denials, {mails} mails and events: {took:.2f} s")
    assert left == 0
    assert took < 20
