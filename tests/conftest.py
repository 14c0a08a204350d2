"""Fixtures that all tests share: the real parts, one of each for the whole run.

Property tests draw the same values in every run, so that what was green stays green;
`--hypothesis-profile=search` draws others each time.
"""

from hypothesis import settings

from tests.backends import kafka
from tests.clickhouse_backend import clickhouse

__all__ = ["clickhouse", "kafka"]

settings.register_profile("search", print_blob=True)
settings.register_profile("same", derandomize=True)
settings.load_profile("same")
