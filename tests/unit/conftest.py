"""Unit tests reach no network: a test that opens a socket fails."""

from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Refuses sockets; those of the machine itself (Unix) are what event loops wake up with."""
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
