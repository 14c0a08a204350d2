"""The parts of the system on one machine."""

from pathlib import Path

import pytest

from mailwake.errors import ConfigError
from mailwake.rights import rights
from mailwake.settings import Settings, read_settings
from mailwake_local.home import Home
from mailwake_local.kafka_users import KafkaUsers, acls
from mailwake_local.parts import PLATFORM, SETUP, Plan
from mailwake_local.up import kafka_users


def plan(
    *,
    kafka: int | None = 1,
    clickhouse: int | None = 2,
    sink: int | None = 3,
    workers: int = 1,
    users: KafkaUsers | None = None,
) -> Plan:
    names = ["edge", *(f"enricher-{n}" for n in range(workers)), "loader", "notifier", "relay"]
    ops = {name: port for port, name in enumerate(names, 100)}
    return Plan(Settings(), Path("/home/mailwake"), "secret", kafka, clickhouse, sink, ops, users)


def test_each_part_comes_after_those_it_needs() -> None:
    for given in (plan(), plan(kafka=None), plan(clickhouse=None, workers=3), plan(sink=None)):
        before: set[str] = set()
        for part in given.parts():
            assert before.issuperset(part.after), part.name
            before.add(part.name)


def test_what_is_given_is_not_started() -> None:
    names = [part.name for part in plan(kafka=None, clickhouse=None, sink=None).parts()]
    assert names == ["topics", "tables", "edge", "enricher-0", "loader", "notifier", "relay"]


def test_the_edge_stops_first_and_the_stores_last() -> None:
    stops = {part.name: part.stop for part in plan().parts() if not part.job}
    assert [name for name, stop in stops.items() if stop == min(stops.values())] == ["edge"]
    last = {name for name, stop in stops.items() if stop == max(stops.values())}
    assert last == {"kafka", "clickhouse", "sink"}


def test_every_service_gets_settings_that_it_can_read_and_a_port_of_its_own() -> None:
    services = {part.name: part for part in plan(workers=2).parts() if "mailwake.cli" in part.argv}
    given = {name: read_settings(part.environ) for name, part in services.items() if not part.job}
    assert [settings.ops_port for settings in given.values()] == [100, 101, 102, 103, 104, 105]
    workers = [given["enricher-0"], given["enricher-1"]]
    assert [settings.worker for settings in workers] == ["0", "1"]
    stateful = ("edge", "enricher-0", "enricher-1", "relay")
    assert [given[name].state for name in stateful] == [
        Settings().state / each
        for each in ("edge", "enricher/worker-0", "enricher/worker-1", "relay")
    ]


def test_the_password_is_given_in_the_environment_and_on_no_command_line() -> None:
    parts = {part.name: part for part in plan().parts()}
    assert parts["clickhouse"].environ["CLICKHOUSE_PASSWORD"] == "secret"
    assert not any("secret" in argument for part in parts.values() for argument in part.argv)


def test_where_kafka_asks_who_comes_each_part_is_a_user_and_rights_come_before_topics(
    tmp_path: Path,
) -> None:
    parts = {part.name: part for part in plan(workers=2, users=KafkaUsers(tmp_path)).parts()}
    comes = {
        name: read_settings(part.environ).kafka_user
        for name, part in parts.items()
        if "MAILWAKE_HOME" in part.environ
    }
    assert comes == {
        "rights": "admin",
        "topics": "mailwake-setup",
        "tables": "mailwake-setup",
        "edge": "mailwake-edge",
        "enricher-0": "mailwake-enricher",
        "enricher-1": "mailwake-enricher",
        "loader": "mailwake-loader",
        "notifier": "mailwake-notifier",
        "relay": "mailwake-relay",
    }
    assert {SETUP, PLATFORM} <= rights(Settings()).keys()
    assert parts["rights"].after == ("kafka",)
    assert parts["topics"].after == ("rights",)
    assert "--users" in parts["kafka"].argv


def test_passwords_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first, second = (KafkaUsers(tmp_path / "users").security() for _ in range(2))
    assert first == second
    assert len(set(first.passwords.values())) == len(first.passwords)
    assert first.passwords.keys() >= {"admin", "mailwake-edge", "mailwake-sending-platforms"}
    for file in (tmp_path / "users").iterdir():
        assert file.name == "chain.pem" or file.stat().st_mode & 0o777 == 0o600
    for user in {who for _, _, _, who, *_ in acls(Settings())}:
        assert user.removeprefix("User:") in first.passwords


def test_a_folder_that_is_secured_stays_so_and_another_cannot_become_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    home = Home(tmp_path / "new")
    assert kafka_users(home, wanted=False) is None
    assert kafka_users(home, wanted=True) is not None
    assert kafka_users(home, wanted=False) is not None
    plain = Home(tmp_path / "plain")
    plain.kafka.mkdir(parents=True)
    with pytest.raises(ConfigError, match="was made without users"):
        kafka_users(plain, wanted=True)
    home.kafka.mkdir()
    assert kafka_users(home, wanted=False) is not None
    (home.kafka_users / "mailwake-digest.password").unlink()  # made before there was that service
    with pytest.raises(ConfigError, match="without the user mailwake-digest"):
        kafka_users(home, wanted=False)
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka:9092")
    assert kafka_users(Home(tmp_path / "another"), wanted=False) is None
    with pytest.raises(ConfigError, match="KAFKA_SECURITY"):
        kafka_users(home, wanted=True)
