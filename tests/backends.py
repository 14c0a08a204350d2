"""The real parts that tests run against: ours, given ones, or containers.

A given address (`KAFKA_BOOTSTRAP`) is used as it is. With `MAILWAKE_TEST_BACKEND=docker` the
services of deploy/compose.yaml run in containers; without Docker the tests are skipped and say so.
"""

import gc
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailwake_local import jars
from mailwake_local.kafka import LocalKafka, answers
from mailwake_local.ports import HOST, free_port

COMPOSE = Path(__file__).parents[1] / "deploy" / "compose.yaml"


def wants_docker() -> bool:
    """Whether the tests are to run against containers; an unknown word is an error."""
    backend = os.environ.get("MAILWAKE_TEST_BACKEND", "local")
    if backend not in ("local", "docker"):
        pytest.fail(f"MAILWAKE_TEST_BACKEND={backend}: must be local or docker", pytrace=False)
    return backend == "docker"


def container(service: str) -> Any:
    """A container, not yet started, with the image and environment of a service in compose.yaml.

    Skips the test when there is no Docker engine.
    """
    missing = _docker_missing()
    if missing:
        pytest.skip(f"no Docker engine: {missing}")
    from testcontainers.core.container import DockerContainer

    described = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"][service]
    return DockerContainer(described["image"]).with_envs(**described["environment"])


def _docker_missing() -> str | None:
    docker = pytest.importorskip("docker")
    with warnings.catch_warnings():
        # The library leaves its socket open when nobody answers; collected here, it is no failure.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env()
            client.ping()
            client.close()
            return None
        except docker.errors.DockerException as error:
            reason = str(error)
        gc.collect()
    return reason


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a Kafka that all tests share; topics are each test's own."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
    elif wants_docker():
        yield from _kafka_in_docker()
    else:
        with LocalKafka(tmp_path_factory.mktemp("kafka"), progress=jars.show()) as local:
            yield local.bootstrap


def _kafka_in_docker() -> Iterator[str]:
    port = free_port()
    described = container("kafka").with_bind_ports(9092, port)
    described.with_env("KAFKA_ADVERTISED_LISTENERS", f"PLAINTEXT://{HOST}:{port}")
    with described:
        deadline = time.monotonic() + 60
        while not answers(HOST, port):
            if time.monotonic() > deadline:
                pytest.fail(f"the Kafka container does not answer on port {port}", pytrace=False)
            time.sleep(0.2)
        yield f"{HOST}:{port}"
