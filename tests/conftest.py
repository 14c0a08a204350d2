"""Fixtures that all tests share: the real parts, one of each for the whole run."""

from tests.backends import kafka
from tests.clickhouse_backend import clickhouse

__all__ = ["clickhouse", "kafka"]
