"""deploy/compose.yaml: well-formed, pinned, and the same Kafka as the local one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mailwake_local import jars, kafka_settings

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return read["services"]  # type: ignore[no-any-return]


def test_has_both_parts_with_a_check_each(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "clickhouse"}
    for service in services.values():
        assert service["healthcheck"]["test"]


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for service in services.values():
        _, _, tag = service["image"].partition(":")
        assert tag.count(".") >= 2, f"{service['image']}: pin a full version"
        assert tag.replace(".", "").isdecimal()


def test_listens_on_this_machine_only(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items()}
    assert ports == {"kafka": ["127.0.0.1:9092:9092"], "clickhouse": ["127.0.0.1:9000:9000"]}


def test_clickhouse_has_a_password(services: dict[str, Any]) -> None:
    assert services["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]


def test_kafka_is_the_local_one(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{jars.KAFKA_VERSION}"
    differ = {
        "listeners",
        "advertised.listeners",
        "controller.quorum.bootstrap.servers",
        "log.dirs",
    }
    for line in kafka_settings.SERVER_PROPERTIES.splitlines():
        name, _, value = line.partition("=")
        if name not in differ:
            variable = "KAFKA_" + name.upper().replace(".", "_")
            assert services["kafka"]["environment"][variable] == value, variable
