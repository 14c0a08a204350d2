"""Migrations as files: their order, their names, their statements, and what was applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailwake.errors import ConfigError
from mailwake.migrate import missing, read_migrations, split_statements
from mailwake.schemas import schemas_root

SAFE = ("IF NOT EXISTS", "IF EXISTS", "CREATE OR REPLACE", "MODIFY", "MATERIALIZE COLUMN")
"""What a statement says that may be run again: it asks first, or says how a thing is to be."""

CREATE = "CREATE TABLE IF NOT EXISTS t (a String) ENGINE = Memory;\n"


def folder_with(tmp_path: Path, **files: str) -> Path:
    for name, content in files.items():
        (tmp_path / f"{name}.sql").write_text(content, "utf-8")
    return tmp_path


def test_our_files_are_in_order_and_safe_to_run_twice() -> None:
    migrations = read_migrations(schemas_root() / "clickhouse")
    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    for migration in migrations:
        for statement in migration.statements:
            assert any(words in statement for words in SAFE), statement


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = {"0002_more": CREATE, "0001_tables": CREATE + CREATE}
    first, second = read_migrations(folder_with(tmp_path, **files))
    assert (str(first), len(first.statements)) == ("0001_tables", 2)
    assert (second.number, second.name, len(second.sha256)) == (2, "more", 64)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no migrations"),
        ({"0002_more": CREATE}, "number 0001 is missing"),
        ({"0001_a": CREATE, "0003_c": CREATE}, "number 0002 is missing"),
        ({"0001_a": CREATE, "0001_b": CREATE}, "0001_b.sql: number 0001 is taken by 0001_a.sql"),
        ({"1_a": CREATE}, "is named NNNN_name.sql"),
        ({"0001-a": CREATE}, "is named NNNN_name.sql"),
        ({"0001_a": "-- nothing\n;\n"}, "holds no statement"),
    ],
)
def test_files_that_are_wrong_are_named(tmp_path: Path, files: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_migrations(folder_with(tmp_path, **files))


def test_a_statement_ends_with_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- why; and so\nSELECT ';', 1; -- one\n\nSELECT\n  2 ;  \n-- the end\n\nSELECT 3"
    assert list(split_statements(text)) == [
        "-- why; and so\nSELECT ';', 1",
        "SELECT\n  2",
        "-- the end\n\nSELECT 3",
    ]


def test_what_was_applied_is_left_out(tmp_path: Path) -> None:
    first, second = read_migrations(folder_with(tmp_path, **{"0001_a": CREATE, "0002_b": CREATE}))
    applied = {1: ("a", first.sha256)}
    assert missing([first, second], {}) == [first, second]
    assert missing([first, second], applied) == [second]
    assert missing([first, second], applied | {2: ("b", second.sha256)}) == []


@pytest.mark.parametrize(
    ("applied", "told"),
    [
        ({1: ("a", "0" * 64)}, "0001_a.sql was changed after it was applied"),
        ({3: ("c", "0" * 64)}, "knows migration 0003_c, which this version"),
        ({2: ("b", "")}, "has migrations after 0001_a, but not this one"),
    ],
)
def test_a_database_that_differs_is_an_error(
    tmp_path: Path, applied: dict[int, tuple[str, str]], told: str
) -> None:
    migrations = read_migrations(folder_with(tmp_path, **{"0001_a": CREATE, "0002_b": CREATE}))
    digests = {migration.number: migration.sha256 for migration in migrations}
    known = {number: (name, sha or digests[number]) for number, (name, sha) in applied.items()}
    with pytest.raises(ConfigError, match=told):
        missing(migrations, known)
