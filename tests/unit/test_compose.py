"""deploy/compose.yaml: well-formed, pinned, our Kafka and all our services."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mailwake.cli import COMMANDS
from mailwake.settings import read_settings
from mailwake_local import jars, kafka_settings

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return read["services"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def stores(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if "profiles" not in service}


@pytest.fixture(scope="module")
def ours(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if "profiles" in service}


def test_has_both_stores_with_a_check_each(stores: dict[str, Any]) -> None:
    assert set(stores) == {"kafka", "clickhouse"}
    for service in stores.values():
        assert service["healthcheck"]["test"]


def test_every_service_of_ours_is_there_when_asked_for(ours: dict[str, Any]) -> None:
    services = {each.name for each in COMMANDS if each.about.startswith("service:")}
    assert services <= ours.keys()
    for name, service in ours.items():
        assert service["profiles"] == ["all"]
        assert service["build"]["dockerfile"] == "deploy/Dockerfile"
        if name in services:
            assert service.get("command", [service["build"]["target"]]) == [name]


def test_what_our_services_are_set_to_is_right(ours: dict[str, Any]) -> None:
    for service in ours.values():
        settings = {
            name: value
            for name, value in service.get("environment", {}).items()
            if not str(value).startswith("${")  # which compose fills in
        }
        read_settings({name: str(value) for name, value in settings.items()})


def test_images_are_pinned(stores: dict[str, Any]) -> None:
    for service in stores.values():
        _, _, tag = service["image"].partition(":")
        assert tag.count(".") >= 2, f"{service['image']}: pin a full version"
        assert tag.replace(".", "").isdecimal()


def test_listens_on_this_machine_only(services: dict[str, Any]) -> None:
    ports = {port for service in services.values() for port in service.get("ports", [])}
    assert {port.split(":")[-1] for port in ports} == {"9092", "9000", "8025", "8026", "2525"}
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_clickhouse_has_a_password(services: dict[str, Any]) -> None:
    assert services["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]


def test_kafka_is_the_local_one(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{jars.KAFKA_VERSION}"
    differ = {
        "listeners",
        "advertised.listeners",
        "listener.security.protocol.map",  # it has one more, for the containers
        "controller.quorum.bootstrap.servers",
        "log.dirs",
    }
    for line in kafka_settings.SERVER_PROPERTIES.splitlines():
        name, _, value = line.partition("=")
        if name not in differ:
            variable = "KAFKA_" + name.upper().replace(".", "_")
            assert services["kafka"]["environment"][variable] == value, variable
