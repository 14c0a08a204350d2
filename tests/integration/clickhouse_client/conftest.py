"""Clients of clickhouse-driver, plain and with compression, in a database of the test's own."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clickhouse_driver import Client

Connect = Callable[..., Client]


@pytest.fixture(params=[False, "lz4"], ids=["plain", "lz4"])
def compression(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def connect(clickhouse: str, compression: Any) -> Iterator[Connect]:
    """Makes clients in a database that lives as long as the test."""
    database = f"test_{uuid.uuid4().hex}"
    url = clickhouse.rpartition("/")[0]
    clients: list[Client] = []

    def make(path: str = database, **options: Any) -> Client:
        query = f"?compression={compression}" if compression else ""
        client = Client.from_url(f"{url}/{path}{query}")
        client.settings.update(options)
        clients.append(client)
        return client

    admin = make("default")
    admin.execute(f"CREATE DATABASE {database}")
    yield make
    for client in clients:
        client.disconnect()
    admin.execute(f"DROP DATABASE {database} SYNC")
    admin.disconnect()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()
