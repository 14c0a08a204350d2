"""Fixtures of the integration tests: the real parts, one of each for the whole run."""

from tests.integration.backends import kafka
from tests.integration.clickhouse_backend import clickhouse

__all__ = ["clickhouse", "kafka"]
