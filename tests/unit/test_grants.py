"""Least privilege in ClickHouse: what a service's SQL names is granted, and no more is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mailwake.errors import ConfigError
from mailwake.grants import ERASED, NEEDS, Need, grants_command, render, statements
from mailwake.schemas import schemas_root
from mailwake_api.kept import TABLES
from mailwake_enricher.loader_sources import SOURCES
from tests.unit.test_rights import files_of

BY_SERVICE = {need.service: need for need in NEEDS}
KNOWN = {
    name
    for file in sorted((schemas_root() / "clickhouse").glob("*.sql"))
    for name in re.findall(
        r"(?m)^CREATE (?:OR REPLACE )?(?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)", file.read_text()
    )
}
NAMED = re.compile(r"\b(FROM|JOIN|INTO|TABLE)\s+(?:system\.)?(\w+)\b")
SYSTEM = {"parts", "mutations"}


def sql_of(service: str) -> set[tuple[str, str]]:
    """(FROM, JOIN, INTO or TABLE; a table) for all that a service's texts name."""
    return {
        (how, name)
        for file in files_of(service)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for how, name in NAMED.findall(node.value)
        if name in KNOWN | SYSTEM
    }


def test_tables_are_found_in_the_schema() -> None:
    assert {"sends", "sent_days", "consents", "v_messages"} <= KNOWN


@pytest.mark.parametrize("service", ["loader", "api", "digest", "reclassify", "retention"])
def test_what_sql_names_is_granted(service: str) -> None:
    need, named = BY_SERVICE[service], sql_of(service)
    assert {name for how, name in named if how in ("FROM", "JOIN")} <= {
        *need.selects,
        *need.system,
    }
    assert {name for how, name in named if how == "INTO"} <= {*need.inserts}
    assert named, "nothing was found, so nothing was tested"


def test_the_loader_may_write_its_tables_and_read_none() -> None:
    need = BY_SERVICE["loader"]
    assert {*need.inserts} == {source.name for source in SOURCES}
    assert {*need.deletes} == {source.name for source in SOURCES if source.key is not None}
    assert not need.selects


def test_the_api_may_erase_and_not_insert() -> None:
    need = BY_SERVICE["api"]
    assert need.deletes == ERASED == TABLES
    assert not need.inserts


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.service)
def test_only_what_is_there_is_granted(need: Need) -> None:
    assert {*need.selects, *need.inserts, *need.deletes, *need.updates} <= KNOWN
    assert {*need.system} <= SYSTEM


def test_without_a_password_nobody_signs_in() -> None:
    made = list(statements("db", BY_SERVICE["loader"]))
    assert "CREATE USER IF NOT EXISTS `mailwake_loader` HOST NONE" in made
    assert "GRANT INSERT ON `db`.`sends` TO `mailwake_loader_role`" in made


def test_a_password_is_printed_as_its_hash_alone(tmp_path: Path) -> None:
    for need in NEEDS:
        (tmp_path / need.service).write_text(f"secret of {need.service}\n")
    printed = render("db", passwords=tmp_path)
    assert printed.count("sha256_hash BY") == 2 * len(NEEDS)
    assert "secret of" not in printed
    (tmp_path / "api").unlink()
    with pytest.raises(ConfigError, match="cannot read the password of the user of api"):
        render("db", passwords=tmp_path)


def test_a_name_cannot_end_its_quotes() -> None:
    with pytest.raises(ConfigError, match="cannot be a name"):
        render("db` TO x; --")


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert grants_command(["render", "--prefix", "acme_"]) == 0
    printed = capsys.readouterr().out
    assert "GRANT ALTER DELETE ON `default`.`hits` TO `acme_api_role`;" in printed
