"""Migrations: schemas/clickhouse/NNNN_name.sql, applied in order and once by `mailwake migrate`.

A file that has landed is never edited: what was applied is known by its SHA-256. ClickHouse has no
transactions over DDL, so a file is recorded when all its statements are through, and its statements
are such that running them twice does no harm (`IF NOT EXISTS`).
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailwake.clickhouse import ClickHouse, ClickHouseError, identifier, secured_url
from mailwake.errors import ConfigError
from mailwake.schemas import schemas_root
from mailwake.settings import read_settings

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_UNKNOWN_TABLE, _UNKNOWN_DATABASE = 60, 81

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations
(
    number     UInt16                COMMENT 'The number its file name begins with',
    name       String                COMMENT 'The rest of the file name',
    sha256     String                COMMENT 'Of the file as it was applied',
    applied_at DateTime64(3, 'UTC')  COMMENT 'When its last statement was through'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
COMMENT 'The schema files that were applied to this database; written by mailwake migrate'
"""


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name without number and ending, its digest and statements."""

    number: int
    name: str
    sha256: str
    statements: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


def read_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder in their order, numbered 1, 2, 3 …

    Raises ConfigError for a file name that is not NNNN_name.sql, a number that is missing or given
    twice, and a file without a statement.
    """
    migrations: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise ConfigError(f"{file}: a migration is named NNNN_name.sql, as in 0001_tables.sql")
        content = file.read_bytes()
        number = int(match[1])
        if migrations and number == migrations[-1].number:
            raise ConfigError(f"{file}: number {number:04d} is taken by {migrations[-1]}.sql")
        if number != len(migrations) + 1:
            raise ConfigError(f"{file}: number {len(migrations) + 1:04d} is missing before it")
        statements = tuple(split_statements(content.decode()))
        if not statements:
            raise ConfigError(f"{file}: holds no statement")
        digest = hashlib.sha256(content).hexdigest()
        migrations.append(Migration(number, match[2], digest, statements))
    if not migrations:
        raise ConfigError(f"{folder}: no migrations (NNNN_name.sql) stand here")
    return migrations


def split_statements(text: str) -> Iterator[str]:
    """The statements of a file: each ends with a `;` at the end of a line, the last may lack it.

    A `;` within a line does not end one. What holds comments only is none.
    """
    for part in re.split(r";[ \t]*(?:--[^\n]*)?$", text, flags=re.MULTILINE):
        if re.sub(r"(?m)^\s*--.*$", "", part).strip():
            yield part.strip()


def missing(
    migrations: Sequence[Migration], applied: dict[int, tuple[str, str]]
) -> list[Migration]:
    """What is to be applied, given the number, name and digest of what was.

    Raises ConfigError when a file was changed after it was applied, when the database knows
    migrations that are not among the files, and when one before an applied one was left out.
    """
    known = {migration.number: migration for migration in migrations}
    for number, (name, digest) in sorted(applied.items()):
        migration = known.get(number)
        if migration is None:
            raise ConfigError(
                f"The database knows migration {number:04d}_{name}, which this version of mailwake "
                "does not have: it is older than the one that made the database; update it"
            )
        if migration.sha256 != digest:
            raise ConfigError(
                f"{migration}.sql was changed after it was applied (as {number:04d}_{name}): put "
                "it back as it was and write the change into a new file"
            )
    left = [migration for migration in migrations if migration.number not in applied]
    if left and applied and left[0].number < max(applied):
        raise ConfigError(
            f"The database has migrations after {left[0]}, but not this one: its table "
            "`migrations` is damaged; restore it"
        )
    return left


def applied_migrations(clickhouse: ClickHouse) -> dict[int, tuple[str, str]]:
    """Number -> (name, digest) of what the database says was applied; none in an empty one."""
    try:
        rows = clickhouse.query("SELECT number, name, sha256 FROM migrations FINAL")
    except ClickHouseError as error:
        if error.code in (_UNKNOWN_TABLE, _UNKNOWN_DATABASE):
            return {}
        raise
    return {number: (name, digest) for number, name, digest in rows}


def migrate(url: str, folder: Path | None = None, *, dry_run: bool = False) -> list[Migration]:
    """Applies what is missing, in order, and gives it; with `dry_run` applies nothing.

    The database is made when it is missing. Raises ConfigError, UnavailableError and, naming the
    file, ClickHouseError.
    """
    migrations = read_migrations(folder or schemas_root() / "clickhouse")
    clickhouse = ClickHouse(url)
    try:
        left = missing(migrations, applied_migrations(clickhouse))
        if not left or dry_run:
            return left
        _make_database(url, clickhouse)
        clickhouse.execute(_TABLE)
        for migration in left:
            _apply(clickhouse, migration)
    finally:
        clickhouse.close()
    return left


def _make_database(url: str, clickhouse: ClickHouse) -> None:
    try:
        clickhouse.query("SELECT 1")
    except ClickHouseError as error:
        if error.code != _UNKNOWN_DATABASE:
            raise
        server = ClickHouse(url, database="default")
        try:
            server.execute(f"CREATE DATABASE IF NOT EXISTS {identifier(clickhouse.database)}")
        finally:
            server.close()


def _apply(clickhouse: ClickHouse, migration: Migration) -> None:
    for number, statement in enumerate(migration.statements, 1):
        try:
            clickhouse.execute(statement)
        except ClickHouseError as error:
            told = f"{error.text} (in statement {number} of {migration}.sql)"
            raise ClickHouseError(error.code, told) from None
    clickhouse.execute(
        "INSERT INTO migrations SELECT %(number)s, %(name)s, %(sha256)s, now64(3, 'UTC')",
        {"number": migration.number, "name": migration.name, "sha256": migration.sha256},
    )


def migrate_command(argv: Sequence[str]) -> int:
    """`mailwake migrate [--dry-run]`: prints a line for each file; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="mailwake migrate", description="Brings ClickHouse's tables up to date."
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is missing, apply nothing")
    arguments = parser.parse_args(argv)
    settings = read_settings()
    done = migrate(secured_url(settings), dry_run=arguments.dry_run)
    for migration in done:
        print(f"{'would apply' if arguments.dry_run else 'applied'} {migration}")
    if not done:
        print("nothing to do: ClickHouse's tables are up to date")
    return 0
