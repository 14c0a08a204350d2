"""`mailwake digest`: sends each user who wants one a mail a day about what was opened and clicked.

Any number of processes may run: they share the users as members of a group share the partitions of
the topic `digests`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from mailwake.clickhouse import secured_url
from mailwake.errors import UnavailableError
from mailwake.ids import partitioner
from mailwake.kafka import (
    partitions_of_topic,
    require_topics,
    start_consumer,
    start_producer,
    stop_client,
)
from mailwake.keyring import read_keyring
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake_api.digest.sending import Digests
from mailwake_api.reading import Reader

GROUP = "digest"
ROUND_S = 15.0
"""So often it is looked who is due."""
STALL_S = 900
SESSION_MS = 6_000
"""How long the users of a killed process wait for another: the least that brokers allow
(`group.min.session.timeout.ms`)."""
_POLL_MS = 500
_LONGEST_MS = 3_600_000
"""So long a round may take: as many digests as are due."""

log = logging.getLogger("mailwake.digest")


def main(argv: list[str]) -> int:
    """Runs the service; gives the exit status."""
    argparse.ArgumentParser(prog="mailwake digest", description=__doc__).parse_args(argv)
    return run_service("digest", work)


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Sends digests until `stop` is set; the one at hand is finished.

    Raises UnavailableError when Kafka or a topic is not there at the start. ClickHouse, the loader
    and the mail host may be away: then digests wait.
    """
    await require_topics(settings, "digests", "preferences", "mutes", "sends", "events")
    keyring = read_keyring(settings.keyring)
    partition_of = partitioner(len(await partitions_of_topic(settings, "digests")))
    async with contextlib.AsyncExitStack() as closing:
        reader = Reader(secured_url(settings))
        closing.push_async_callback(reader.stop)
        producer = await start_producer(settings, client_id="mailwake-digest", linger_ms=0)
        closing.push_async_callback(stop_client, producer)
        digests = Digests(settings, keyring, producer, reader)
        digests.start()
        closing.push_async_callback(digests.stop)
        consumer = await start_consumer(
            settings,
            client_id="mailwake-digest",
            group=GROUP,
            from_start=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
            max_poll_interval_ms=_LONGEST_MS,
        )
        closing.push_async_callback(stop_client, consumer)
        share = _Share(status)
        consumer.subscribe([settings.topic("digests")], listener=share)
        status.stall_s = STALL_S

        def ours(key: bytes) -> bool:
            return not stop.is_set() and partition_of(key) in share.partitions

        while not stop.is_set():
            try:
                await digests.current()
                async with share.working:
                    keys = digests.due(ours)
                    if keys:
                        await digests.send(keys, ours, status.progressed)
            except (UnavailableError, KafkaError) as error:
                log.warning("digests wait: %s", error)
            status.progressed()
            await _pause(consumer, share, stop)


async def _pause(consumer: AIOKafkaConsumer, share: _Share, stop: asyncio.Event) -> None:
    """Waits for the next round, which comes at once where other users are ours now.

    What the topic says is known from following it; it is fetched here so that the group sees that
    its member lives.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + ROUND_S
    while not stop.is_set() and not share.fresh and loop.time() < ends:
        await consumer.getmany(timeout_ms=_POLL_MS)
    share.fresh = False


class _Share(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """The partitions whose users this process is for.

    Attributes:
        fresh: whether they have just come.
        working: held while digests are sent; a rebalance waits for it.
    """

    def __init__(self, status: Status) -> None:
        self._status = status
        self.partitions: frozenset[int] = frozenset()
        self.fresh = False
        self.working = asyncio.Lock()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Sends no more, and waits for the digest at hand."""
        self.partitions = frozenset()
        async with self.working:
            pass

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Its users are known from now on."""
        self.partitions = frozenset(each.partition for each in assigned)
        self.fresh = True
        log.info("sends to the users of partitions %s", sorted(self.partitions) or "none")
        self._status.ready = True
