"""The ClickHouse that tests run against: ours, a given one, or a container.

A given address (`CLICKHOUSE_URL`) is used as it is. With `MAILWAKE_TEST_BACKEND=docker` the image
of deploy/compose.yaml runs; without Docker the tests are skipped and say so.
"""

import os
import time
from collections.abc import Iterator

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import Error

from mailwake_local.clickhouse import LocalClickHouse
from tests.backends import container, wants_docker


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ClickHouse that all tests share; databases are each test's own."""
    given = os.environ.get("CLICKHOUSE_URL")
    if given:
        yield given
    elif wants_docker():
        yield from _clickhouse_in_docker()
    else:
        with LocalClickHouse(tmp_path_factory.mktemp("clickhouse")) as local:
            yield local.url


def _clickhouse_in_docker() -> Iterator[str]:
    described = container("clickhouse").with_exposed_ports(9000)
    for name, value in (("DB", "default"), ("USER", "default"), ("PASSWORD", "mailwake")):
        described.with_env(f"CLICKHOUSE_{name}", value)
    with described:
        host, port = described.get_container_host_ip(), described.get_exposed_port(9000)
        url = f"clickhouse://default:mailwake@{host}:{port}/default"
        deadline = time.monotonic() + 60
        while True:
            try:
                with Client.from_url(url) as client:
                    client.execute("SELECT 1")
                break
            except (Error, EOFError, OSError) as error:
                if time.monotonic() > deadline:
                    pytest.fail(f"the ClickHouse container does not answer: {error}", pytrace=False)
                time.sleep(0.2)
        yield url
