"""Mails in tests are of fixed days; nothing of them is to go by itself while a test looks."""

from __future__ import annotations

from mailwake.clickhouse import ClickHouse
from mailwake.migrate import read_migrations
from mailwake.schemas import schemas_root


def keep_forever(url: str) -> None:
    """Takes the retention off the tables of a database."""
    client = ClickHouse(url)
    for (table,) in client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND engine_full LIKE '% TTL %'"
    ):
        client.execute(f"ALTER TABLE {table} REMOVE TTL")
    client.close()


def let_go(url: str) -> None:
    """Gives the tables their retention again, and has go now what is over."""
    client = ClickHouse(url)
    for migration in read_migrations(schemas_root() / "clickhouse"):
        for statement in migration.statements:
            if "MODIFY TTL" in statement:
                client.execute(statement)
    for table in ("sends", "hits", "events", "tracks"):
        client.execute(f"OPTIMIZE TABLE {table} FINAL")
    client.close()
