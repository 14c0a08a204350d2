"""The operator's port of every service, over a real socket, and how a service ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from mailwake import metrics
from mailwake.errors import ConfigError, UnavailableError
from mailwake.logs import set_up_logs
from mailwake.service import Status, run_service, serve_ops
from mailwake.settings import Settings, read_settings


@pytest.fixture
def status() -> Status:
    return Status()


@pytest.fixture
def port(status: Status) -> int:
    return serve_ops(read_settings({}), status)


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_ready_when_it_takes_work(port: int, status: Status) -> None:
    assert get(port, "/ready") == (503, "no\n")
    status.ready = True
    assert get(port, "/ready") == (200, "yes\n")


def test_healthy_while_it_makes_progress(port: int, status: Status) -> None:
    assert get(port, "/health") == (200, "yes\n")
    status.ready = True
    status.stall_s = 60
    assert get(port, "/health") == (200, "yes\n")
    status.progress_at = time.monotonic() - 61
    assert get(port, "/health") == (503, "no\n")
    assert get(port, "/ready") == (503, "no\n")
    status.progressed()
    assert get(port, "/health") == (200, "yes\n")


def test_metrics_are_shown(port: int) -> None:
    metrics.NOTIFIER_EVENTS.inc(0)
    code, shown = get(port, "/metrics")
    assert code == 200
    assert "# TYPE mailwake_notifier_events_total counter" in shown


def test_a_port_that_is_taken_is_one_line(port: int) -> None:
    settings = read_settings({"MAILWAKE_OPS_PORT": str(port)})
    with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 cannot be listened on"):
        serve_ops(settings, Status())


def test_a_host_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigError, match="cannot be listened on"):
        serve_ops(read_settings({"MAILWAKE_OPS_HOST": "192.0.2.1"}), Status())


def test_a_client_that_sends_nothing_holds_nobody_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert get(port, "/health") == (200, "yes\n")


def test_logs_do_not_flood_while_kafka_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(read_settings({}))
    for number in range(100):
        logging.getLogger("aiokafka").error("Unable to connect to node %s", number)
        logging.getLogger("mailwake.test").info("ours")
    shown = capsys.readouterr().err
    assert shown.count("Unable to connect") == 1
    assert shown.count("ours") == 100


@pytest.mark.usefixtures("signals_as_before")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(signum: signal.Signals) -> None:
    done = []

    async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signum)
        await stop.wait()
        done.append("drained")

    assert run_service("test", work) == 0
    assert done == ["drained"]


@pytest.mark.usefixtures("signals_as_before")
@pytest.mark.parametrize(("drain_s", "signals"), [("0.3", 1), ("300", 2)])
def test_it_says_that_it_goes_and_takes_work_meanwhile(
    monkeypatch: pytest.MonkeyPatch, drain_s: str, signals: int
) -> None:
    """Until the time is over, or it is told again."""
    seen = []

    async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
        status.ready = True
        assert status.takes_work
        for _ in range(signals):
            seen.append(stop.is_set())
            os.kill(os.getpid(), signal.SIGTERM)
            while not status.leaving:  # noqa: ASYNC110 - until the signal is handled
                await asyncio.sleep(0.01)
            seen.append(status.takes_work)
        await stop.wait()

    monkeypatch.setenv("MAILWAKE_DRAIN_S", drain_s)
    assert run_service("test", work) == 0
    assert not any(seen)


@pytest.mark.usefixtures("signals_as_before")
def test_what_a_user_can_put_right_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
        raise UnavailableError("Kafka does not answer")

    assert run_service("test", work) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "mailwake test: Kafka does not answer"


@pytest.mark.usefixtures("signals_as_before")
def test_a_fault_of_ours_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
        raise RuntimeError("a fault")

    assert run_service("test", work) == 70
    assert "RuntimeError: a fault" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
        raise AssertionError("not reached")

    monkeypatch.setenv("MAILWAKE_OPS_PORT", "many")
    assert run_service("test", work) == 2
    assert capsys.readouterr().err == (
        "mailwake test: MAILWAKE_OPS_PORT must be a whole number from 0 to 65535, but is 'many'\n"
    )
