"""The two things the local ClickHouse reads in a statement's text."""

import pytest

from mailwake_local.clickhouse.statements import BlockInsert, block_insert, without_format

FORMATS = frozenset({"JSON", "CSV", "NATIVE"})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO t VALUES", BlockInsert("t", "", "")),
        ("INSERT INTO t (a, b) VALUES", BlockInsert("t", "(a, b)", "")),
        ("insert into table db.`t (x`(a)values ;", BlockInsert("db.`t (x`", "(a)", "")),
        ("INSERT INTO t (* EXCEPT(a)) VALUES", BlockInsert("t", "(* EXCEPT(a))", "")),
        ("INSERT INTO t FORMAT Native", BlockInsert("t", "", "")),
        (
            "/* why */ INSERT INTO t (a) SETTINGS x = 1, y = '(' VALUES",
            BlockInsert("t", "(a)", "x = 1, y = '('"),
        ),
        (
            "INSERT INTO FUNCTION null('a UInt8') (a) VALUES",
            BlockInsert("FUNCTION null('a UInt8')", "(a)", ""),
        ),
        (
            "INSERT INTO FUNCTION null('a UInt8') VALUES",
            BlockInsert("FUNCTION null('a UInt8')", "", ""),
        ),
        ("INSERT INTO t VALUES (1)", None),
        ("INSERT INTO t SELECT 1 FORMAT JSON", None),
        ("INSERT INTO t SELECT * FROM values", None),
        ("INSERT INTO VALUES", None),
        ("SELECT values", None),
        ("VALUES", None),
        ("", None),
    ],
)
def test_an_insert_of_blocks_is_recognised(sql: str, expected: BlockInsert | None) -> None:
    assert block_insert(sql) == expected


def test_what_an_insert_becomes() -> None:
    insert = BlockInsert("FUNCTION f('t')", "(a, b)", "x = 1")
    assert insert.sample == "SELECT a, b FROM f('t')"
    assert insert.reading("file('f', 'Native')", "y = 2") == (
        "INSERT INTO FUNCTION f('t') (a, b) SETTINGS x = 1, y = 2 SELECT * FROM file('f', 'Native')"
    )


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FORMAT JSON", "SELECT 1 "),
        ("SELECT 1 format csv;", "SELECT 1 ;"),
        ("SELECT 1 FORMAT JSON SETTINGS x = 1", "SELECT 1  SETTINGS x = 1"),
        ("SELECT a AS format ORDER BY format DESC", None),
        ("SELECT 'x FORMAT JSON'", None),
        ("SELECT 1 -- FORMAT JSON", None),
        ("SELECT (SELECT 1 FORMAT JSON)", None),
        ("INSERT INTO t FORMAT JSON", None),
        ("SELECT 1", None),
    ],
)
def test_a_format_clause_is_taken_out(sql: str, expected: str | None) -> None:
    assert without_format(sql, FORMATS) == (sql if expected is None else expected)
