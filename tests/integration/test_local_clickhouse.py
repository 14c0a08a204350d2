"""The local ClickHouse as a process: what it keeps, how it stops, what it refuses."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ServerException

from mailwake.errors import ConfigError, UnavailableError
from mailwake_local.clickhouse import LocalClickHouse
from mailwake_local.clickhouse.framing import string, varint
from mailwake_local.clickhouse.local import HOST

TABLE = "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalClickHouse]:
    with LocalClickHouse(tmp_path / "data", password="it's a+/secret") as started:
        yield started


def connect(local: LocalClickHouse) -> Client:
    return Client.from_url(local.url)


def count(local: LocalClickHouse) -> int:
    with connect(local) as client:
        found: int = client.execute("SELECT count() FROM t")[0][0]
        return found


def insert(client: Client, rows: int) -> None:
    client.execute("INSERT INTO t (n) VALUES", [list(range(rows))], columnar=True)


def until_incoming(local: LocalClickHouse, files: int) -> None:
    deadline = time.monotonic() + 5
    while len(list((local.data / "incoming").iterdir())) != files:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_data_stay_over_a_stop(local: LocalClickHouse) -> None:
    with connect(local) as client:
        client.execute(TABLE)
        insert(client, 1000)
    port = local.port
    local.stop()
    assert local.pid is None
    local.start()
    assert local.port == port
    assert count(local) == 1000


def test_what_was_acknowledged_stays_over_a_kill(local: LocalClickHouse) -> None:
    with connect(local) as client:
        client.execute(TABLE)
        acknowledged = 0
        killer = threading.Timer(0.5, local.kill)
        killer.start()
        try:
            while True:
                insert(client, 1000)
                acknowledged += 1
        except (Error, EOFError, OSError):
            pass  # as it must, sooner or later
        killer.join()
    (local.data / "incoming" / "left").write_bytes(b"half an insert")
    local.start()
    assert acknowledged > 1
    # The last insert may have been done before its acknowledgement could be sent.
    assert count(local) in (acknowledged * 1000, acknowledged * 1000 + 1000)
    assert list((local.data / "incoming").iterdir()) == []


def test_a_query_may_finish_before_it_stops(local: LocalClickHouse) -> None:
    sql = "SELECT sum(sleepEachRow(0.5)) FROM numbers(3)"
    with ThreadPoolExecutor(1) as threads, connect(local) as client, connect(local) as idle:
        idle.execute("SELECT 1")
        answer = threads.submit(client.execute, sql, settings={"max_block_size": 1})
        time.sleep(0.3)
        local.stop()
        assert answer.result() == [(0,)]
    assert "still running" not in local.log.read_text()


def test_an_endless_query_does_not_keep_it_from_stopping(local: LocalClickHouse) -> None:
    sql = "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1"
    with ThreadPoolExecutor(1) as threads, connect(local) as client:
        answer = threads.submit(client.execute, sql)
        time.sleep(0.3)
        started = time.monotonic()
        local.stop()
        assert time.monotonic() - started < 10
        with pytest.raises((ServerException, EOFError, OSError)):
            answer.result()
    assert "ending 1 queries" in local.log.read_text()


def test_a_query_that_cannot_be_ended_does_not_keep_it_from_stopping(
    local: LocalClickHouse,
) -> None:
    """The engine looks between blocks whether a query is to end; this one sleeps in one."""
    settings = {"function_sleep_max_microseconds_per_block": 60_000_000}
    with ThreadPoolExecutor(1) as threads, connect(local) as client:
        answer = threads.submit(client.execute, "SELECT sleep(60)", settings=settings)
        time.sleep(0.3)
        started = time.monotonic()
        local.stop()
        assert time.monotonic() - started < 15
        with pytest.raises((ServerException, EOFError, OSError)):
            answer.result()
    local.start()


def test_an_insert_broken_off_leaves_no_file(local: LocalClickHouse) -> None:
    with connect(local) as client:
        client.execute(TABLE)
        client.connection.force_connect()
        client.connection.send_query("INSERT INTO t (n) VALUES")
        client.connection.send_external_tables([])
        client.receive_sample_block()
        until_incoming(local, 1)
    until_incoming(local, 0)
    assert count(local) == 0


def test_a_folder_has_one_process(local: LocalClickHouse) -> None:
    second = LocalClickHouse(local.data)
    with pytest.raises(UnavailableError, match=rf"in use by another process \(pid {local.pid}\)"):
        second.start()
    assert second.pid is None
    with connect(local) as client:
        assert client.execute("SELECT 1") == [(1,)]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen on {HOST}:{port}"):
            LocalClickHouse(tmp_path, port=port).start()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be started"):
        LocalClickHouse(tmp_path / "file").start()
    with pytest.raises(UnavailableError, match="has a '\\?' in its path"):
        LocalClickHouse(tmp_path / "what?").start()


def test_a_port_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        LocalClickHouse(tmp_path, port=70_000)


def test_one_that_does_not_start_in_time_is_gone(tmp_path: Path) -> None:
    late = LocalClickHouse(tmp_path)
    with pytest.raises(UnavailableError, match=r"did not answer within 0\.05 s"):
        late.start(deadline_s=0.05)
    assert late.pid is None


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from mailwake_local.clickhouse import LocalClickHouse;"
        "local = LocalClickHouse(Path(sys.argv[1])); local.start();"
        "print(local.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(10)


def test_the_time_zone_is_not_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    # And a folder's name may be what it likes, but for a question mark.
    with LocalClickHouse(tmp_path / "it's 100% ä #1 &=") as local, connect(local) as client:
        assert client.execute("SELECT timezone(), toHour(toDateTime(0))") == [("UTC", 0)]
        client.execute(TABLE)
        insert(client, 10)
        assert client.connection.server_info.timezone == "UTC"


def test_run_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mailwake_local.clickhouse", "--data", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--port", "0", "--die-with-parent"],
        stdout=subprocess.PIPE,
        env={**os.environ, "CLICKHOUSE_PASSWORD": "secret"},
    ) as process:
        assert process.stdout is not None
        word, _, address = process.stdout.readline().decode().strip().partition(" ")
        assert word == "ready"
        with Client.from_url(f"clickhouse://default:secret@{address}/default") as client:
            assert client.execute("SELECT 1") == [(1,)]
        refused = subprocess.run([*command, "--port", "0"], capture_output=True, text=True)
        assert refused.returncode == UnavailableError.exit_code
        assert "in use by another process" in refused.stderr
        assert "Traceback" not in refused.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 100,
        varint(0) + string("old client") + varint(1) + varint(1) + varint(54000) + string("") * 3,
        varint(4),
        b"",
    ],
    ids=["http", "noise", "old", "ping first", "nothing"],
)
def test_a_peer_that_speaks_something_else(local: LocalClickHouse, sent: bytes) -> None:
    with socket.create_connection((HOST, local.port)) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        peer.settimeout(5)
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert not sent or b"UNEXPECTED_PACKET_FROM_CLIENT" in answer
    with connect(local) as client:
        assert client.execute("SELECT 1") == [(1,)]


def test_a_large_result_does_not_gather_in_memory(local: LocalClickHouse) -> None:
    with connect(local) as client:
        rows = client.execute_iter("SELECT toString(number) FROM numbers(200000000)")
        next(rows)
        assert local.pid is not None
        process = psutil.Process(local.pid)
        before = process.memory_info().rss
        for _ in range(500_000):
            next(rows)
        assert process.memory_info().rss - before < 200_000_000
