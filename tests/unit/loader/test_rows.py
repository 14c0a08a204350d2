"""Values become the columns that the tables have."""

from __future__ import annotations

import re

from msgspec.structs import replace

from mailwake.migrate import read_migrations
from mailwake.schemas import schemas_root
from mailwake_enricher.loader_sources import SOURCES
from mailwake_enricher.rows import (
    display_columns,
    event_columns,
    hit_columns,
    proof_columns,
    send_columns,
    track_columns,
)
from tests.unit.loader.values import (
    AT,
    ID,
    consent,
    display,
    event,
    hit,
    message_id,
    send,
    track,
)


def columns_of_tables() -> dict[str, set[str]]:
    """The columns that the migrations give each table, read from their text."""
    tables: dict[str, set[str]] = {}
    for migration in read_migrations(schemas_root() / "clickhouse"):
        for statement in migration.statements:
            if created := re.search(
                r"CREATE TABLE IF NOT EXISTS (\w+)\n\(\n(.*?)\n\)", statement, re.S
            ):
                lines = re.findall(r"^    ([a-z_]+) +[A-Z]", created[2], re.M)
                tables[created[1]] = set(lines)
            if altered := re.search(r"ALTER TABLE (\w+)\n", statement):
                # ALIAS and DEFAULT now(): ClickHouse fills these itself.
                added = re.findall(
                    r"^    ADD COLUMN IF NOT EXISTS (\w+) (?!.* (?:ALIAS|DEFAULT now))",
                    statement,
                    re.M,
                )
                tables[altered[1]].update(added)
    return tables


def test_every_source_fills_every_column_of_its_table() -> None:
    made = {
        "sends": send_columns([send()]),
        "displays": display_columns([display()]),
        "hits": hit_columns([hit()]),
        "events": event_columns([event()]),
        "tracks": track_columns([(ID, track())]),
        "consent_proofs": proof_columns([consent()]),
    }
    assert set(made) == {source.name for source in SOURCES}
    assert {name: set(columns) for name, columns in made.items()} == {
        name: columns for name, columns in columns_of_tables().items() if name in made
    }
    assert {len(cells) for columns in made.values() for cells in columns.values()} == {1}


def test_no_values_give_empty_columns() -> None:
    for source in SOURCES:
        assert {len(cells) for cells in source.columns([]).values()} == {0}


def test_a_send() -> None:
    columns = send_columns([send(1), send(2, tag="spring", links=[], basis="contract")])
    assert columns["message_id"] == [message_id(1), message_id(2)]
    assert columns["sent_at"] == [AT, AT]
    assert columns["tag"] == ["", "spring"]
    assert columns["basis"] == ["", "contract"]
    assert columns["links"] == [["https://example.com/"], []]
    assert columns["recipients"] == [[ID], [ID]]


def test_a_display_keeps_names_and_addresses_in_step() -> None:
    columns = display_columns([display()])
    assert columns["recipient_names"] == [["Bob", ""]]
    assert columns["recipient_addresses"] == [["bob@example.com", "x@y"]]


def test_what_is_absent_is_empty_or_null_where_empty_would_say_something() -> None:
    columns = event_columns([event(), event(kind="click", link=0, target="https://x", tag="t")])
    assert columns["link"] == [None, 0]
    assert columns["target"] == ["", "https://x"]
    assert columns["recipient_id"] == ["", ""]
    assert hit_columns([hit()])["link"] == [None]


def test_what_verdicts_rest_on_and_what_they_say() -> None:
    sent = send_columns([send(), send(sender_network="203.0.113.0/24", sender_agent="Firefox")])
    assert sent["sender_network"] == ["", "203.0.113.0/24"]
    assert sent["sender_agent"] == ["", "Firefox"]
    assert send_columns([send(), send(retention_days=30)])["retention_days"] == [180, 30]
    assert hit_columns([hit(), hit(asn=15169)])["asn"] == [0, 15169]
    told = event_columns([event(), event(score=90, rules_version=3, repeat=True, forward=True)])
    assert told["score"] == [0, 90]
    assert told["rules_version"] == [0, 3]
    assert (told["repeat"], told["forward"]) == ([False, True], [False, True])
    assert told["implied"] == [False, False]
    read = replace(
        track(), forwards=1, readers_about=5, readers_least=2, open_score=90, click_score=60
    )
    columns = track_columns([(ID, track()), (ID, read)])
    assert columns["forwards"] == [0, 1]
    assert (columns["readers_about"], columns["readers_least"]) == ([0, 5], [0, 2])
    assert (columns["open_score"], columns["click_score"]) == ([0, 90], [0, 60])


def test_a_statement_about_consent() -> None:
    columns = proof_columns([consent(1), consent(2, state="granted", wording="May we?")])
    assert columns["recipient_id"] == [message_id(1), message_id(2)]
    assert columns["state"] == ["denied", "granted"]
    assert columns["wording"] == ["", "May we?"]
    assert columns["at"] == [AT, AT]


def test_a_track_has_its_send_and_no_time_for_what_never_was() -> None:
    columns = track_columns([(ID, track(3))])
    assert columns["message_id"] == [ID]
    assert columns["revision"] == columns["opens"] == [3]
    assert columns["first_open_at"] == [AT]
    assert columns["last_click_at"] == [None]
    assert (columns["user"], columns["recipient_id"], columns["tag"]) == (["anna"], [ID], [""])
