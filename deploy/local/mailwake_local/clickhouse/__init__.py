"""ClickHouse for one machine: chDB, the engine in-process, behind ClickHouse's native protocol.

clickhouse-driver is the one client everywhere: against a cluster in production and against this
here. `python -m mailwake_local.clickhouse` runs it; `LocalClickHouse` starts that as a process.

Its time zone is UTC, as a server's in a container. What it does not do: totals and extremes,
external tables, query parameters on the server's side, query ids of the client's choice, users
other than ``default``, ZSTD.
"""

from .local import LocalClickHouse

__all__ = ["LocalClickHouse"]
