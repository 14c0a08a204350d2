"""`mailwake enricher`: one worker of the enricher; more workers share the partitions."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mailwake.errors import ConfigError, UnavailableError
from mailwake.kafka import hidden_topics, hides, require_group, start_admin, start_producer
from mailwake.metrics import ENRICHER_RULES
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake.tracing import start_tracing
from mailwake_enricher.rules import rules_in_force

log = logging.getLogger("mailwake.enricher")

_TOPICS = ("sends", "hits", "reclassified", "removals", "tracks", "events")


def main(argv: list[str]) -> int:
    """Runs one worker until it is told to stop; gives the exit status."""
    argparse.ArgumentParser(prog="mailwake enricher", description=__doc__).parse_args(argv)
    return run_service("enricher", work)


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """The service's work (`mailwake.service.Work`).

    Raises ConfigError and UnavailableError when it cannot start, and anything else when it must not
    go on.
    """
    meaning = rules_in_force(settings)
    ENRICHER_RULES.set(meaning.version)
    log.info("judges by rule set %s of %s", meaning.version, settings.rules or "the package")
    # Faust costs most of a second to import, and a wrong setting should be told at once.
    from mailwake_enricher.worker import Enricher

    for library in ("faust", "mode"):
        logging.getLogger(library).setLevel(logging.WARNING)
    with _state_folder(settings):
        partitions = await count_partitions(settings)
        await require_group(settings, "enricher")  # Faust would wait for ever, and say nothing
        producer = await start_producer(
            settings,
            client_id=f"mailwake-enricher-{settings.worker}",
            compression="zstd",
            linger_ms=0,  # the flusher gathers
        )
        try:
            tracing = start_tracing(settings, "enricher")
            await Enricher(settings, meaning, status, producer, partitions, tracing=tracing).run(
                stop
            )
            tracing.stop()
        finally:
            await asyncio.wait_for(producer.stop(), 10)


async def count_partitions(settings: Settings) -> int:
    """The number of partitions of the co-partitioned topics.

    Raises UnavailableError when one is missing or Kafka is away, ConfigError when they differ.
    """
    admin = await start_admin(settings)
    try:
        names = [settings.topic(name) for name in _TOPICS]
        described = await admin.describe_topics(names)
    finally:
        await admin.close()
    hidden = hidden_topics(described)
    if hidden:
        raise hides(settings, *hidden)
    found = {
        topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]
    }
    missing = [name for name in names if name not in found]
    if missing:
        raise UnavailableError(
            f"Kafka at {settings.kafka_bootstrap} has no topic {', '.join(missing)}; run "
            "`mailwake topics apply`"
        )
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in sorted(found.items()))
        raise ConfigError(f"These topics must have equal partitions, but {told}; recreate them")
    return next(iter(found.values()))


@contextmanager
def _state_folder(settings: Settings) -> Iterator[None]:
    """The folder of the worker's tracks, held by this process alone."""
    folder = settings.state
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise ConfigError(
            f"MAILWAKE_STATE {folder} cannot be written ({error.strerror}); name a folder that can"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"Another worker uses {folder}; give each worker a MAILWAKE_STATE of its own"
            ) from None
        yield
