"""The loader's entry: `mailwake loader`."""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Sequence

from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake_enricher.loader import Loader


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Loads until told to stop."""
    gc.set_threshold(100_000, 20, 20)  # many values, no cycles: looking for them costs 2 µs a row
    await Loader(settings, status).run(stop)


def main(argv: Sequence[str]) -> int:
    """Runs the loader; gives the exit status."""
    argparse.ArgumentParser(
        prog="mailwake loader", description="Loads Kafka's topics into ClickHouse."
    ).parse_args(argv)
    return run_service("loader", work)
