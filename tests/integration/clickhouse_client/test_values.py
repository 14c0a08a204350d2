"""Types, blocks, statements and inserts of clickhouse-driver work alike against the local
ClickHouse and a server."""

import datetime as dt
import uuid
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ErrorCodes, ServerException

TYPES: dict[str, list[Any]] = {
    "UInt8": [0, 255],
    "Int64": [-(2**63), 2**63 - 1],
    "UInt64": [0, 2**64 - 1],
    "UInt128": [1, 2**128 - 1],
    "Int256": [-(2**255), 1],
    "Float64": [0.5, -1e300],
    "Bool": [True, False],
    "String": ["", "ä" * 200, "x" * 100_000],
    "FixedString(4)": ["abcd", "äö"],
    "Date": [dt.date(1970, 1, 1), dt.date(2149, 6, 6)],
    "Date32": [dt.date(1900, 1, 1), dt.date(2299, 12, 31)],
    "DateTime": [dt.datetime(2026, 3, 4, 5, 6, 7)],
    "DateTime64(3, 'UTC')": [dt.datetime(2026, 3, 4, 5, 6, 7, 891000, tzinfo=dt.UTC)],
    "UUID": [uuid.UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0")],
    "IPv4": [IPv4Address("192.0.2.7")],
    "IPv6": [IPv6Address("2001:db8::7")],
    "Enum8('human' = 1, 'it''s, (a) proxy' = 2)": ["human", "it's, (a) proxy"],
    "Enum16('a' = 1000)": ["a"],
    "Decimal(9, 2)": [Decimal("1.25")],
    "Decimal(38, 10)": [Decimal("-123456789.0123456789")],
    "Nullable(String)": [None, "", "a"],
    "Nullable(DateTime64(6, 'UTC'))": [None],
    "LowCardinality(String)": ["", "a", "b", "a"],
    "LowCardinality(Nullable(String))": [None, "a", "", "a"],
    "LowCardinality(FixedString(2))": ["ab", "cd"],
    "Array(UInt16)": [[], [1, 2, 3]],
    "Array(Array(String))": [[], [[], ["a", "b"]]],
    "Array(LowCardinality(String))": [["a", "b"], [], ["b"]],
    "Array(Nullable(Int32))": [[None, 1], []],
    "Tuple(UInt8, String)": [(1, "a")],
    "Tuple(a UInt8, b Array(String))": [(1, ["x"])],
    "Map(String, UInt64)": [{}, {"a": 1, "b": 2}],
    "Map(LowCardinality(String), Array(UInt8))": [{"k": [1, 2]}],
    "SimpleAggregateFunction(max, UInt32)": [7],
}


@pytest.mark.parametrize("kind", TYPES)
def test_type_travels_both_ways(client: Client, kind: str) -> None:
    values = TYPES[kind]
    client.execute(f"CREATE TABLE t (n UInt32, v {kind}, s String) ENGINE = MergeTree ORDER BY n")
    rows = [(n, value, "end") for n, value in enumerate(values)]
    assert client.execute("INSERT INTO t (n, v, s) VALUES", rows) == len(rows)
    read, columns = client.execute("SELECT * FROM t ORDER BY n", with_column_types=True)
    if kind.startswith("Map"):
        read = [(n, dict(value), s) for n, value, s in read]
    assert read == rows
    assert [name for name, _ in columns] == ["n", "v", "s"]


def test_a_block_longer_than_a_compressed_frame(client: Client) -> None:
    client.execute("CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
    texts = [f"{n}" * 300 for n in range(5000)]
    client.execute("INSERT INTO t (n, s) VALUES", [list(range(5000)), texts], columnar=True)
    (read,) = client.execute("SELECT s FROM t ORDER BY n", columnar=True)
    assert list(read) == texts


def test_hundred_thousand_rows_in_columns_and_out(client: Client) -> None:
    client.execute(
        "CREATE TABLE t (n UInt64, s String, c LowCardinality(String), a Array(String),"
        " o Nullable(Int32), d UInt8 DEFAULT 7, m UInt64 MATERIALIZED n * 2)"
        " ENGINE = MergeTree ORDER BY n"
    )
    count = 100_000
    columns = [
        list(range(count)),
        [f"text {n}" for n in range(count)],
        [f"kind {n % 300}" for n in range(count)],
        [["a"] * (n % 4) for n in range(count)],
        [n if n % 3 else None for n in range(count)],
    ]
    # Several blocks: only the columns named, the others take their defaults.
    inserted = client.execute(
        "INSERT INTO t (n, s, c, a, o) VALUES",
        columns,
        columnar=True,
        settings={"insert_block_size": 30_000},
    )
    assert inserted == count
    read = client.execute("SELECT * FROM t ORDER BY n", columnar=True)
    assert [list(column) for column in read] == [*columns, [7] * count]
    assert client.execute("SELECT sum(m) FROM t") == [(count * (count - 1),)]


def test_iterating_over_a_large_result(client: Client) -> None:
    rows = client.execute_iter(
        "SELECT number, toString(number) FROM numbers(300000)",
        with_column_types=True,
        settings={"max_block_size": 10_000},
    )
    assert next(rows) == [("number", "UInt64"), ("toString(number)", "String")]
    total = 0
    for n, (number, text) in enumerate(rows):
        assert (number, text) == (n, str(n))
        total += 1
    assert total == 300_000


def test_an_empty_result_has_its_columns(client: Client) -> None:
    result = client.execute(
        "SELECT 1 AS a, [toDate(0)] AS b WHERE 0 -- none", with_column_types=True
    )
    assert result == ([], [("a", "UInt8"), ("b", "Array(Date)")])


def test_a_result_of_json_values(client: Client) -> None:
    """A type whose length nothing here knows passes through in one piece."""
    sql = """SELECT '{"a": 1, "b": ["x"]}'::JSON AS j, 5 AS n"""
    assert client.execute(sql, with_column_types=True) == (
        [({"a": 1, "b": ["x"]}, 5)],
        [("j", "JSON"), ("n", "UInt8")],
    )


def test_a_format_clause_changes_nothing(client: Client) -> None:
    assert client.execute("SELECT 1, 'FORMAT CSV' FORMAT JSON") == [(1, "FORMAT CSV")]


def test_parameters_are_substituted(client: Client) -> None:
    values = {"text": "it's \\ \n ä", "list": ["a", "b"], "none": None}
    assert client.execute("SELECT %(text)s, %(list)s, %(none)s", values) == [
        (values["text"], values["list"], None)
    ]


def test_statements_of_every_kind(client: Client) -> None:
    client.execute("CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
    assert client.execute("SHOW TABLES") == [("t",)]
    assert client.execute("EXISTS TABLE t") == [(1,)]
    assert [row[:2] for row in client.execute("DESCRIBE TABLE t")] == [
        ("n", "UInt32"),
        ("s", "String"),
    ]
    client.execute("INSERT INTO t VALUES (1, 'a;b'), (2, 'b')")
    client.execute("INSERT INTO t SELECT number, 'many' FROM numbers(3, 10)")
    client.execute("ALTER TABLE t ADD COLUMN x UInt8 DEFAULT 9")
    client.execute("ALTER TABLE t DELETE WHERE n > 10", settings={"mutations_sync": 2})
    client.execute("OPTIMIZE TABLE t FINAL")
    assert client.execute("SELECT count(), sum(n), any(x) FROM t") == [(10, 55, 9)]
    assert "MergeTree" in client.execute("SHOW CREATE TABLE t")[0][0]
    assert client.execute("EXPLAIN SELECT 1")
    client.execute("TRUNCATE TABLE t")
    client.execute("DROP TABLE t")
    assert client.execute("SHOW TABLES") == []


def test_progress_and_profile(client: Client) -> None:
    progress = client.execute_with_progress("SELECT number FROM numbers(1000)")
    assert sum(1 for _ in progress) >= 1
    assert len(progress.get_result()) == 1000
    assert client.last_query.profile_info.rows == 1000


def test_two_statements_at_once_are_refused(client: Client) -> None:
    with pytest.raises(ServerException) as caught:
        client.execute("SELECT 1; SELECT 2")
    assert caught.value.code == ErrorCodes.SYNTAX_ERROR


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM missing", ErrorCodes.UNKNOWN_TABLE),
        ("SELECT missing FROM system.one", ErrorCodes.UNKNOWN_IDENTIFIER),
        ("SELEC 1", ErrorCodes.SYNTAX_ERROR),
        ("1 + 1", ErrorCodes.SYNTAX_ERROR),
        ("", ErrorCodes.SYNTAX_ERROR),
        ("SELECT throwIf(number = 150000) FROM numbers(200000)", 395),
        ("USE missing", ErrorCodes.UNKNOWN_DATABASE),
    ],
)
def test_an_exception_has_its_code_and_the_client_goes_on(
    client: Client, sql: str, code: int
) -> None:
    with pytest.raises(ServerException) as caught:
        client.execute(sql)
    assert caught.value.code == code
    assert "DB::Exception: " in str(caught.value)
    assert client.execute("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO missing (n) VALUES", ErrorCodes.UNKNOWN_TABLE),
        ("INSERT INTO t (n, missing) VALUES", ErrorCodes.NO_SUCH_COLUMN_IN_TABLE),
        ("INSERT INTO t (n) VALUES", 469),
    ],
)
def test_an_insert_that_is_refused_inserts_nothing(client: Client, sql: str, code: int) -> None:
    client.execute(
        "CREATE TABLE t (n UInt32, CONSTRAINT small CHECK n < 5) ENGINE = MergeTree ORDER BY n"
    )
    with pytest.raises(ServerException) as caught:
        client.execute(sql, [(n,) for n in range(10)])
    assert caught.value.code == code
    assert client.execute("SELECT count() FROM t") == [(0,)]


def test_settings_hold_for_one_query(client: Client) -> None:
    sql = "SELECT getSetting('max_block_size'), getSetting('async_insert')"
    before = client.execute(sql)
    options = {"max_block_size": 777, "async_insert": False}
    assert client.execute(sql, settings=options) == [(777, False)]
    assert client.execute(sql) == before


def test_settings_of_a_session_last(client: Client) -> None:
    sql = "SELECT getSetting('max_block_size')"
    client.execute("SET max_block_size = 555")
    assert client.execute(sql, settings={"max_block_size": 777}) == [(777,)]
    assert client.execute(sql) == [(555,)]


def test_a_setting_cuts_off_a_long_query(client: Client) -> None:
    with pytest.raises(ServerException) as caught:
        client.execute(
            "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1",
            settings={"max_execution_time": 0.5},
        )
    assert caught.value.code == ErrorCodes.TIMEOUT_EXCEEDED


def test_an_unknown_setting(client: Client) -> None:
    """A server skips it, unless the client says that its settings are important."""
    assert client.execute("SELECT 1", settings={"no_such_setting": 1}) == [(1,)]
    client.connection.settings_is_important = True
    with pytest.raises(ServerException) as caught:
        client.execute("SELECT 1", settings={"no_such_setting": 1})
    assert caught.value.code == ErrorCodes.UNKNOWN_SETTING
    with pytest.raises(ServerException):
        client.execute("SELECT 1", settings={"max_block_size": "many"})
    assert client.execute("SELECT 1") == [(1,)]


def test_a_token_makes_a_repeated_insert_void(client: Client) -> None:
    client.execute(
        "CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n"
        " SETTINGS non_replicated_deduplication_window = 100"
    )

    def insert(numbers: range, token: str = "") -> int:
        settings = {"insert_deduplication_token": token} if token else {}
        sql = "INSERT INTO t (n) VALUES"
        client.execute(
            sql, [list(numbers)], columnar=True, settings={**settings, "async_insert": 0}
        )
        count: int = client.execute("SELECT count() FROM t")[0][0]
        return count

    assert insert(range(1000), "a") == 1000
    assert insert(range(1000), "a") == 1000
    assert insert(range(1000), "b") == 2000
    # Without a token the content decides.
    assert insert(range(500)) == 2500
    assert insert(range(500)) == 2500
    assert insert(range(501)) == 3001


def test_settings_inside_the_insert(client: Client) -> None:
    client.execute(
        "CREATE TABLE t (n UInt32, s String DEFAULT '-') ENGINE = MergeTree ORDER BY n"
        " SETTINGS non_replicated_deduplication_window = 100"
    )
    sql = "INSERT INTO TABLE t (* EXCEPT s) SETTINGS insert_deduplication_token = 'x' FORMAT Native"
    for _ in range(2):
        client.execute(sql, [(1,)])
    assert client.execute("SELECT * FROM t") == [(1, "-")]


def test_an_insert_feeds_materialized_views(client: Client) -> None:
    client.execute("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
    client.execute("CREATE TABLE total (s UInt64) ENGINE = MergeTree ORDER BY s")
    client.execute("CREATE MATERIALIZED VIEW v TO total AS SELECT sum(n) AS s FROM t")
    client.execute("INSERT INTO t VALUES", [list(range(10))], columnar=True)
    assert client.execute("SELECT s FROM total") == [(45,)]


def test_an_insert_of_nothing(client: Client) -> None:
    client.execute("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
    assert client.execute("INSERT INTO t (n) VALUES", []) == 0
    assert client.execute("SELECT count() FROM t") == [(0,)]
