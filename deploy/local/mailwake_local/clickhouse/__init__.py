"""ClickHouse for one machine: chDB, the engine in-process, behind ClickHouse's native protocol.

clickhouse-driver is the one client everywhere: against a cluster in production and against this
here. `python -m mailwake_local.clickhouse` runs it; `LocalClickHouse` starts that as a process.

What it does not do: totals and extremes, external tables, query parameters on the server's side,
users other than ``default``, ZSTD, TLS.
"""

from .local import LocalClickHouse

__all__ = ["LocalClickHouse"]
