"""`mailwake migrate` on the real engine."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from mailwake.clickhouse import ClickHouse, ClickHouseError
from mailwake.errors import ConfigError
from mailwake.migrate import migrate, migrate_command
from mailwake.schemas import schemas_root

TABLES = {
    *("sends", "displays", "hits", "events", "tracks", "consent_proofs", "sent_days"),
    "migrations",
}
VIEWS = {
    *("consents", "consented_events", "withheld_mails", "v_events", "v_opens", "v_clicks"),
    *("v_messages", "v_days", "v_link_performance", "v_time_to_open", "v_clients", "v_verdicts"),
    *("v_past_days", "denials"),
}
CREATE = "CREATE TABLE IF NOT EXISTS {} (a String) ENGINE = MergeTree ORDER BY a;\n"


@pytest.fixture
def url(clickhouse: str) -> str:
    """The URL of a database that is not there yet."""
    return f"{clickhouse.rpartition('/')[0]}/t_{uuid.uuid4().hex[:12]}"


def tables(url: str) -> set[str]:
    client = ClickHouse(url)
    rows = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    client.close()
    return {name for (name,) in rows}


def test_the_command_makes_database_and_tables_once(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", url)
    assert migrate_command(["--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(
        "would apply 0001_tables\nwould apply 0002_consents\nwould apply 0003_meaning\n"
        "would apply 0004_views\nwould apply 0005_returned\n"
    )
    with pytest.raises(ClickHouseError):
        tables(url)  # nothing was made, not even the database
    assert migrate_command([]) == 0
    assert capsys.readouterr().out.startswith(
        "applied 0001_tables\napplied 0002_consents\napplied 0003_meaning\n"
        "applied 0004_views\napplied 0005_returned\n"
    )
    assert tables(url) == TABLES | VIEWS
    assert migrate_command([]) == 0
    assert capsys.readouterr().out == "nothing to do: ClickHouse's tables are up to date\n"


def test_every_table_and_column_has_its_comment(url: str) -> None:
    migrate(url)
    client = ClickHouse(url)
    of_this = "FROM system.{} WHERE database = currentDatabase() AND comment = ''"
    assert client.query(f"SELECT name {of_this.format('tables')}") == []
    assert client.query(f"SELECT table, name {of_this.format('columns')}") == []
    client.close()


def test_what_stood_before_a_migration_stays(url: str, tmp_path: Path) -> None:
    """Rows of the first two files' tables, under the views and tables of all."""
    for file in sorted((schemas_root() / "clickhouse").glob("*.sql"))[:2]:
        shutil.copy(file, tmp_path)
    migrate(url, tmp_path)
    client = ClickHouse(url)
    client.execute(
        "INSERT INTO events (event_id, revision, kind, at, sent_at, tenant, user, message_id,"
        " verdict) VALUES ('e', 1, 'open', now64(3), now64(3), 'acme', 'anna', 'm', 'human')"
    )
    client.execute(
        "INSERT INTO hits (hit_id, kind, at, tenant, message_id) "
        "SELECT toString(number), 'open', now64(3) - INTERVAL number * 100 DAY, 'acme', 'm' "
        "FROM numbers(4)"
    )
    assert migrate(url)[0].number == 3
    sql = (
        "SELECT event_id, verdict, score, repeat, returned "
        "FROM consented_events(tenant='acme',user='anna')"
    )
    assert client.query(sql) == [("e", "human", 0, False, False)]
    client.execute("OPTIMIZE TABLE hits FINAL")
    assert client.query("SELECT hit_id, asn FROM hits FINAL ORDER BY hit_id") == [
        *(("0", 0), ("1", 0)),
    ]
    client.close()


def test_raw_hits_go_after_180_days(url: str) -> None:
    migrate(url)
    client = ClickHouse(url)
    client.execute(
        "INSERT INTO hits (hit_id, kind, at, tenant, message_id) "
        "SELECT toString(number), 'open', now64(3) - INTERVAL number DAY, 'acme', 'm' "
        "FROM numbers(200)"
    )
    client.execute("OPTIMIZE TABLE hits FINAL")
    ((rows, oldest),) = client.query("SELECT count(), max(toUInt16(hit_id)) FROM hits")
    client.close()
    # A row goes on the day that is 180 after its own; which day it is may just have changed.
    assert rows == oldest + 1
    assert oldest in (179, 180)


def test_only_what_is_missing_is_applied(url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text(CREATE.format("one"))
    assert [str(done) for done in migrate(url, tmp_path)] == ["0001_first"]
    (tmp_path / "0002_second.sql").write_text(CREATE.format("two") + CREATE.format("three"))
    assert [str(done) for done in migrate(url, tmp_path)] == ["0002_second"]
    assert tables(url) == {"one", "two", "three", "migrations"}


def test_a_landed_file_that_was_edited_is_an_error(url: str, tmp_path: Path) -> None:
    file = tmp_path / "0001_first.sql"
    file.write_text(CREATE.format("one"))
    migrate(url, tmp_path)
    file.write_text(CREATE.format("one") + "-- only a comment\n")
    with pytest.raises(ConfigError, match=r"0001_first\.sql was changed after it was applied"):
        migrate(url, tmp_path)


def test_a_file_that_fails_is_named_and_not_recorded(url: str, tmp_path: Path) -> None:
    file = tmp_path / "0001_first.sql"
    file.write_text(CREATE.format("one") + "CREATE TABLE two (a Strong) ENGINE = Memory;\n")
    with pytest.raises(ClickHouseError, match=r"in statement 2 of 0001_first\.sql") as caught:
        migrate(url, tmp_path)
    assert caught.value.code == 50  # UNKNOWN_TYPE
    file.write_text(CREATE.format("one") + CREATE.format("two"))
    assert [str(done) for done in migrate(url, tmp_path)] == ["0001_first"]
