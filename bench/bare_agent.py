"""A bare Faust agent that does nothing with a record; the counterpart of bench/enricher.py.

`python -m bench.bare_agent BOOTSTRAP TOPIC RECORDS WARM` reads a topic from its start and prints
the seconds from record WARM to record RECORDS.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from typing import Any

import faust


async def read(bootstrap: str, topic: str, records: int, warm: int, folder: str) -> float:
    """Seconds that the agent took for the records after the first `warm`.

    `folder` is where Faust keeps its data.
    """
    app = faust.App(
        f"bare-{time.time_ns()}",
        broker=f"kafka://{bootstrap}",
        datadir=folder,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
    )
    done = asyncio.Event()
    begun = ended = 0.0

    @app.agent(app.topic(topic, key_type=bytes, value_type=bytes))
    async def nothing(stream: Any) -> None:
        nonlocal begun, ended
        count = 0
        async for _ in stream:
            count += 1
            if count == warm:
                begun = time.perf_counter()
            elif count == records:
                ended = time.perf_counter()
                done.set()

    starting = asyncio.create_task(app.start())
    await done.wait()
    await starting
    await app.stop()
    return ended - begun


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="mailwake-bare-") as data:
        print(asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), data)))
