"""The one ClickHouse client, on the real engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest

from mailwake.clickhouse import BadDataError, ClickHouse, ClickHouseError
from mailwake.errors import UnavailableError
from mailwake_local.ports import free_port


@pytest.fixture
def client(clickhouse: str) -> Iterator[ClickHouse]:
    """A client whose database is its own."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    server = ClickHouse(clickhouse)
    server.execute(f"CREATE DATABASE {name}")
    server.close()
    made = ClickHouse(clickhouse, database=name)
    made.execute(
        "CREATE TABLE t (a UInt8, b String, CONSTRAINT c CHECK b != 'no') ENGINE = MergeTree "
        "ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    yield made
    made.close()


def test_queries_take_parameters_and_settings(client: ClickHouse) -> None:
    rows, types = client.query_with_types(
        "SELECT %(text)s AS text, getSetting('max_threads') AS threads",
        {"text": "it's 100 %"},
        {"max_threads": 1},
    )
    assert (rows, types) == ([("it's 100 %", 1)], [("text", "String"), ("threads", "UInt8")])
    assert client.query("SELECT 1 WHERE 0") == []


def test_rows_with_the_same_token_are_stored_once(client: ClickHouse) -> None:
    for token, stands in (("one", 2), ("one", 2), ("two", 4)):
        assert client.insert("t", ["a", "b"], [[1, 2], ["x", "y"]], token=token) == 2
        assert client.query("SELECT count() FROM t") == [(stands,)]
    assert client.insert("t", ["a", "b"], [[], []], token="none") == 0


@pytest.mark.parametrize(
    "columns",
    [
        [[1, 2], ["x", "no"]],  # refused by the server
        [[1, 256], ["x", "y"]],  # does not fit its type: refused by the driver
        [[1, 2], ["x", "\ud800"]],  # no UTF-8
        [[1, 2], ["x"]],
    ],
)
def test_a_bad_value_stores_nothing_and_harms_no_one_after(
    client: ClickHouse, columns: list[list[object]]
) -> None:
    with pytest.raises(BadDataError):
        client.insert("t", ["a", "b"], columns, token="t")
    assert client.query("SELECT count() FROM t") == [(0,)]
    assert client.insert("t", ["a", "b"], [[1], ["x"]], token="t") == 1


def test_an_error_is_one_line_with_its_code(client: ClickHouse) -> None:
    with pytest.raises(ClickHouseError, match="mailwake migrate") as caught:
        client.query("SELECT * FROM nothing")
    assert caught.value.code == 60
    assert "\n" not in str(caught.value)
    assert client.query("SELECT 1") == [(1,)]


def test_no_answer_is_told_with_the_address_and_without_the_password() -> None:
    port = free_port()
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}") as caught:
        ClickHouse(f"clickhouse://u:hunter2@127.0.0.1:{port}/d").query("SELECT 1")
    assert "hunter2" not in str(caught.value)


def test_what_is_no_clickhouse_is_told(kafka: str) -> None:
    url = f"clickhouse://u:hunter2@{kafka}/d?send_receive_timeout=1"
    with pytest.raises(UnavailableError, match=kafka):
        ClickHouse(url).query("SELECT 1")


def test_a_wrong_password_is_told(clickhouse: str) -> None:
    parts = urlsplit(clickhouse)
    url = clickhouse.replace(f":{parts.password}@", ":wrong-password@")
    with pytest.raises(ClickHouseError, match="put right the user in CLICKHOUSE_URL") as caught:
        ClickHouse(url).query("SELECT 1")
    assert caught.value.code == 516
    assert unquote(parts.password or "none") not in str(caught.value)
    assert "wrong-password" not in str(caught.value)
