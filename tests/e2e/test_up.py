"""`mailwake up`, `demo` and `doctor` as a person runs them: real processes, real signals."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.up import Up, assert_gone, mailwake
from tests.running import wait_until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "home"


@pytest.fixture(scope="module")
def systems(home: Path) -> Iterator[list[Up]]:
    """The running system, as the last of a list; a test that ends it puts its successor there."""
    systems = [Up(home, "--workers", "2")]
    try:
        systems[0].wait_ready()
        yield systems
    finally:
        if systems[-1].process.poll() is None:
            systems[-1].end(signal.SIGTERM)


def start_again(systems: list[Up], *arguments: str) -> Up:
    systems.append(Up(systems[-1].home, *arguments))
    systems[-1].wait_ready()
    return systems[-1]


def test_it_says_where_everything_is_and_keeps_secrets_to_its_owner(
    systems: list[Up], home: Path
) -> None:
    said = systems[-1].said
    told = systems[-1].run_json()
    for shown in (told["settings"]["MAILWAKE_TRACKING_URL"], told["settings"]["KAFKA_BOOTSTRAP"]):
        assert shown in said
    names = {"edge", "enricher-0", "enricher-1", "loader", "notifier", "webhooks"}
    names |= {"relay", "api", "digest"}
    assert told["services"].keys() == names
    for address in told["services"].values():
        assert f"http://{address}/metrics" in said
    password = (home / "clickhouse-password").read_text("ascii").strip()
    assert password not in said
    assert (home / "dana-password").read_text("ascii").strip() not in said
    assert "\x1b" not in said  # no terminal, no colours
    secret = ("clickhouse-password", "dana-password", "keys.json", "users.json", "api-keys.json")
    for name in ("run.json", *secret):
        assert (home / name).stat().st_mode & 0o777 == 0o600


def test_demo_shows_both_events_and_both_alerts(systems: list[Up], home: Path) -> None:
    done = mailwake(home, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for wanted in (
        "open alert for",
        "click alert for",
        "open in ClickHouse",
        "click in ClickHouse",
    ):
        assert wanted in done.stdout
    assert len(systems[-1].events()) == 2


def test_no_log_holds_a_token_or_the_password(systems: list[Up], home: Path) -> None:
    files = [home / "clickhouse-password", *(home / "kafka-users").glob("*.password")]
    passwords = [file.read_text("ascii").strip() for file in files]
    for log in [*(home / "logs").iterdir(), *(home / "kafka").glob("kafka.*")]:
        text = log.read_text("utf-8", "replace")
        assert not any(password in text for password in passwords), log
        assert not re.search(r"/[ocw]/[A-Za-z0-9_-]{20}", text), log


def test_doctor_finds_it_running(systems: list[Up], home: Path) -> None:
    done = mailwake(home, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"process {systems[-1].process.pid}" in done.stdout


def test_a_second_one_on_the_same_folder_is_refused(systems: list[Up], home: Path) -> None:
    done = mailwake(home, "up", "--any-ports")
    assert done.returncode == 3
    assert done.stderr == (
        f"mailwake: mailwake runs already on {home} (process {systems[-1].process.pid}); stop that "
        "one with Ctrl-C, or set MAILWAKE_HOME to another folder\n"
    )
    assert systems[-1].run_json()  # untouched


def test_whatever_is_killed_comes_back(systems: list[Up], home: Path) -> None:
    up = systems[-1]
    parts = {
        "edge": up.part("mailwake.cli", "edge"),
        "enricher-1": next(
            worker
            for worker in up.parts("mailwake.cli", "enricher")
            if worker.environ()["MAILWAKE_WORKER"] == "1"
        ),
        "clickhouse": up.part("mailwake_local.clickhouse"),
        "kafka": up.part("mailwake_local.kafka"),
    }
    for killed in parts.values():
        killed.kill()
    for name in parts:
        wait_until(f"{name} is back", lambda: f"{name:12} ready again" in up.said, 90)  # noqa: B023
        assert f"{name:12} was ended by SIGKILL; starting it again in 0.5 s" in up.said
    done = mailwake(home, "demo")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ctrl_c_leaves_nothing_and_a_second_start_continues(systems: list[Up], home: Path) -> None:
    up = systems[-1]
    before = up.events()
    assert up.end(signal.SIGINT) == 0
    assert not (home / "run.json").exists()
    stopped = [line.split()[1] for line in up.said.partition("Stopping")[2].splitlines()
               if line.endswith(" s") and "stopped" in line]  # fmt: skip
    assert stopped[0] == "edge"
    services = {"enricher-0", "enricher-1", "loader", "notifier", "webhooks"}
    services |= {"relay", "api", "digest"}
    assert set(stopped[1:-3]) == services
    assert set(stopped[-3:]) == {"clickhouse", "kafka", "sink"}

    up = start_again(systems, "--workers", "2")
    assert up.events() == before
    assert re.search(r"topics +up to date", up.said)
    done = mailwake(home, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(up.events()) == len(before) + 2


def test_kill_9_leaves_nothing_and_the_next_start_waits_for_what_is_going_down(
    systems: list[Up], home: Path
) -> None:
    before = systems[-1].events()
    children = systems[-1].descendants()
    systems[-1].process.kill()
    systems[-1].process.wait()
    assert mailwake(home, "demo").returncode != 0  # run.json stands, but nobody is there
    up = start_again(systems)
    assert_gone(children, 0)
    assert up.events() == before
    assert up.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("MAILWAKE_EDGE_PORT", "many", "MAILWAKE_EDGE_PORT must be a whole number"),
        ("MAILWAKE_EGDE_PORT", "8025", "did you mean MAILWAKE_EDGE_PORT?"),
        ("MAILWAKE_KEYRING", "{home}/none.json", "none.json: there is no key file"),
        ("MAILWAKE_KEYRING", "{home}/up-test-keys.json", "up-test-keys.json: not a key file"),
        ("MAILWAKE_HOME", "/proc/none", "set MAILWAKE_HOME to a folder that can be written"),
        ("KAFKA_BOOTSTRAP", "127.0.0.1:1", "Kafka does not answer at 127.0.0.1:1"),
        ("CLICKHOUSE_URL", "clickhouse://127.0.0.1:1", "ClickHouse does not answer at"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    setting: str, value: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "up-test-keys.json").write_text("{}")
    done = mailwake(tmp_path, "up", "--any-ports", **{setting: value.format(home=tmp_path)})
    assert done.returncode in (2, 3)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_taken_port_is_told_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = mailwake(tmp_path, "up", MAILWAKE_LOCAL_KAFKA_PORT=port)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert f"port {port} of 127.0.0.1" in done.stderr
    assert "set MAILWAKE_LOCAL_KAFKA_PORT" in done.stderr


def test_demo_without_a_system_says_what_to_do(tmp_path: Path) -> None:
    away = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "CLICKHOUSE_URL": "clickhouse://127.0.0.1:1"}
    done = mailwake(tmp_path, "demo", **away)
    assert done.returncode == 3
    assert "does `mailwake up` run?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_asked_twice_it_hurries_and_still_leaves_nothing(tmp_path: Path) -> None:
    up = Up(tmp_path / "home")
    up.wait_ready()
    children = up.descendants()
    up.process.send_signal(signal.SIGINT)
    wait_until("it stops", lambda: "Stopping" in up.said)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert_gone(children, 0)


def test_stopped_on_its_way_up_it_leaves_nothing(tmp_path: Path) -> None:
    up = Up(tmp_path / "home")
    wait_until("the first part is ready", lambda: "✓" in up.said or "ok" in up.said)
    assert up.end(signal.SIGINT) == 0
    assert "Ready in" not in up.said
