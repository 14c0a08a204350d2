"""Several clients of clickhouse-driver at a time, and those that leave: alike against the local
ClickHouse and a server."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ErrorCodes, ServerException

Connect = Callable[..., Client]


def test_an_insert_that_its_client_breaks_off_inserts_nothing(connect: Connect) -> None:
    leaving, staying = connect(), connect()
    staying.execute("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")

    def rows() -> Iterator[tuple[int]]:
        for n in range(5000):
            yield (n,)
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        leaving.execute("INSERT INTO t (n) VALUES", rows(), settings={"insert_block_size": 1000})
    time.sleep(0.3)
    assert staying.execute("SELECT count() FROM t") == [(0,)]


def test_each_client_has_its_database_and_temporary_tables(connect: Connect) -> None:
    one, other = connect(), connect("default")
    one.execute("CREATE TABLE here (n UInt8) ENGINE = MergeTree ORDER BY n")
    assert one.execute("SELECT currentDatabase() != 'default'") == [(1,)]
    assert other.execute("SELECT currentDatabase()") == [("default",)]
    assert one.execute("SELECT count() FROM here") == [(0,)]
    with pytest.raises(ServerException):
        other.execute("SELECT count() FROM here")
    one.execute("CREATE TEMPORARY TABLE mine (n UInt8)")
    with pytest.raises(ServerException):
        other.execute("SELECT count() FROM mine")
    assert one.execute("SELECT count() FROM mine") == [(0,)]


def test_an_unknown_database(connect: Connect) -> None:
    client = connect("no_such_database")
    with pytest.raises(ServerException) as caught:
        client.execute("SELECT 1")
    assert caught.value.code == ErrorCodes.UNKNOWN_DATABASE


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"user": "nobody"}])
def test_a_wrong_password_or_user(connect: Connect, change: dict[str, str]) -> None:
    client = connect()
    for name, value in change.items():
        setattr(client.connection, name, value)
    with pytest.raises(ServerException) as caught:
        client.execute("SELECT 1")
    assert caught.value.code == 516


def test_a_long_query_keeps_nobody_waiting(connect: Connect) -> None:
    busy, other = connect(), connect()
    done = threading.Event()

    def scan() -> None:
        busy.execute("SELECT sleepEachRow(0.5) FROM numbers(8)", settings={"max_block_size": 1})
        done.set()

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(scan)
        time.sleep(0.2)
        other.execute("SELECT 1")
        assert other.connection.ping()
        connect().execute("CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n")
        assert not done.is_set()
        running.result()


def test_an_iterator_left_alone_keeps_nobody_waiting(connect: Connect) -> None:
    reading, other = connect(), connect()
    rows = reading.execute_iter("SELECT number FROM numbers(100000000)")
    next(rows)
    assert other.execute("SELECT count() FROM numbers(1000000)") == [(1_000_000,)]
    reading.disconnect()
    assert reading.execute("SELECT 1") == [(1,)]


def test_a_query_ends_when_its_client_cancels(connect: Connect) -> None:
    client, other = connect(), connect()
    rows = client.execute_iter(
        "SELECT number FROM numbers(100000000)", settings={"max_block_size": 1000}
    )
    next(rows)
    assert _running(other, "numbers(100000000)") == 1
    client.cancel()
    _until(lambda: _running(other, "numbers(100000000)") == 0)
    client.disconnect()


def test_a_query_ends_when_its_client_leaves(connect: Connect) -> None:
    client, other = connect(), connect()
    # Nothing comes back for minutes: only the closed connection tells that nobody waits.
    client.connection.force_connect()
    client.connection.send_query(
        "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1"
    )
    client.connection.send_external_tables([])
    _until(lambda: _running(other, "numbers(1000000000000)") == 1)
    client.disconnect()
    _until(lambda: _running(other, "numbers(1000000000000)") == 0)


def test_many_clients_at_once(connect: Connect) -> None:
    connect().execute("CREATE TABLE t (n UInt32, c UInt32) ENGINE = MergeTree ORDER BY n")
    clients = [connect() for _ in range(12)]

    def work(index: int) -> None:
        client = clients[index]
        for _ in range(5):
            numbers = range(index * 1000, index * 1000 + 100)
            client.execute(
                "INSERT INTO t (n, c) VALUES", [list(numbers), [index] * 100], columnar=True
            )
            assert client.execute(f"SELECT count() % 100 FROM t WHERE c = {index}") == [(0,)]

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))
    assert clients[0].execute("SELECT count(), uniqExact(n) FROM t") == [(6000, 1200)]


def _running(client: Client, part: str) -> int:
    sql = "SELECT count() FROM system.processes WHERE position(query, %(part)s) > 0"
    found: int = client.execute(sql + " AND position(query, 'processes') = 0", {"part": part})[0][0]
    return found


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 10 s"
        time.sleep(0.05)
