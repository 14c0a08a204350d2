"""Fixtures that all tests share: the real parts, one of each for the whole run.

Property tests draw the same values in every run, so that what was green stays green;
`--hypothesis-profile=search` draws others each time.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mailwake.keyring import Keyring, new_keyring
from tests.backends import kafka
from tests.clickhouse_backend import clickhouse
from tests.fault_table import (
    add_options,
    long,
    pytest_runtest_setup,
    pytest_terminal_summary,
    tally,
)

__all__ = [
    "clickhouse",
    "kafka",
    "long",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
    "tally",
]

settings.register_profile("search", print_blob=True)
settings.register_profile("same", derandomize=True, deadline=None)  # no timing decides a test
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Those of the fault tests, and `--secured` of the end-to-end tests."""
    add_options(parser)
    parser.addoption(
        "--secured",
        action="store_true",
        help="end-to-end tests on a Kafka with TLS, a user for each service, and its rights alone",
    )


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Kept in `keys.json` of the test's folder."""
    made = new_keyring()
    made.write(tmp_path / "keys.json")
    return made


@pytest.fixture(autouse=True)
def logging_ends_with_the_test() -> Iterator[None]:
    """A command that runs in the tests' own process sets up logging, to a stderr that is the test's
    alone: later tests would tell of every line that it cannot be written, which makes them slow."""
    yield
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if type(each) is not logging.StreamHandler]
    root.setLevel(logging.WARNING)
