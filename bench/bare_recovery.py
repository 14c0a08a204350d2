"""Faust's own recovery of a table; the counterpart of bench/recovery.py.

`python -m bench.bare_recovery BOOTSTRAP TOPIC CHANGELOG FOLDER` starts a Faust app as Faust's
documentation has it, with one table in RocksDB and its settings left alone, and prints the seconds
from the start of the process to the end of recovery. TOPIC has as many partitions as CHANGELOG.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import faust

BEGAN = time.perf_counter()


async def recover(bootstrap: str, topic: str, changelog: str, folder: str) -> float:
    """Seconds until the table was recovered into `folder`."""
    done = asyncio.Event()

    class Table(faust.Table[bytes, bytes]):
        async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
            await super().on_recovery_completed(active_tps, standby_tps)
            if active_tps:
                done.set()

    app = faust.App(
        f"bare-{time.time_ns()}",
        broker=f"kafka://{bootstrap}",
        datadir=folder,
        store="rocksdb://",
        Table=Table,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
    )
    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw"}
    app.Table(
        "tracks",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.topic(changelog, value_serializer="raw", internal=True, **raw),
        options={"driver": "rocksdict"},
    )

    @app.agent(app.topic(topic, value_serializer="raw", **raw))
    async def nothing(stream: Any) -> None:
        async for _ in stream:
            pass

    starting = asyncio.create_task(app.start())
    await done.wait()
    took = time.perf_counter() - BEGAN
    await app.stop()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return took


if __name__ == "__main__":
    print(asyncio.run(recover(*sys.argv[1:5])))
