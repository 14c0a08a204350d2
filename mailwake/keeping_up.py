"""Waits until the enricher and the loader have taken what stands in Kafka now.

It lets a command know that ClickHouse tells all that happened up to a moment, and that the enricher
knows it too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from mailwake.errors import UnavailableError
from mailwake.kafka import partitions_of_topic, start_admin, start_consumer, stop_client
from mailwake.settings import Settings

PATIENCE_S = 60.0

_POLL_S = 0.1

Ends = dict[TopicPartition, int]


class KeepingUp:
    """Asks Kafka where topics end and how far the groups are; use as an async context manager.

    All calls raise UnavailableError when Kafka does not answer.

    Args:
        say: called with a sentence when something is waited for that takes long.
        patience_s: without any progress for so long, a service is taken to stand still.
    """

    def __init__(
        self, settings: Settings, say: Callable[[str], None], patience_s: float = PATIENCE_S
    ) -> None:
        self._settings = settings
        self._say = say
        self._patience_s = patience_s
        self._partitions: dict[str, list[TopicPartition]] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> KeepingUp:
        self._admin = await start_admin(self._settings)
        try:
            self._consumer = await start_consumer(self._settings, client_id="mailwake-keeping-up")
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._consumer  # noqa: S101
        assert self._admin  # noqa: S101
        await stop_client(self._consumer)
        await self._admin.close()

    async def ends(self, *topics: str) -> Ends:
        """Where topics (names without the prefix) end now; empty partitions are left out."""
        assert self._consumer  # noqa: S101
        for topic in topics:
            if topic not in self._partitions:
                self._partitions[topic] = await partitions_of_topic(self._settings, topic)
        wanted = [each for topic in topics for each in self._partitions[topic]]
        ends: Ends = await self._consumer.end_offsets(wanted)
        starts: Ends = await self._consumer.beginning_offsets(wanted)
        return {each: end for each, end in ends.items() if end > starts[each]}

    async def wait(self, group: str, ends: Ends) -> None:
        """Returns when a group (without the prefix) has committed up to the given ends.

        Raises UnavailableError, which tells what to do, when it makes no progress.
        """
        began = moved = time.monotonic()
        before, told = -1, False
        while True:
            committed = await self._committed(group)
            behind = sum(
                max(0, end - max(0, committed[each].offset if each in committed else 0))
                for each, end in ends.items()
            )
            if not behind:
                return
            now = time.monotonic()
            if behind != before:
                before, moved = behind, now
            if now - moved > self._patience_s:
                raise UnavailableError(
                    f"the {group} has {behind:,} records left to read and does not read them; "
                    f"start it (`mailwake {group}`), then start this again"
                )
            if now - began > 5 and not told:
                self._say(f"waiting for the {group}, which has {behind:,} records left to read")
                told = True
            await asyncio.sleep(_POLL_S)

    async def _committed(self, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
        """How far a group is; empty of one that was never there."""
        assert self._admin  # noqa: S101
        try:
            found: dict[
                TopicPartition, OffsetAndMetadata
            ] = await self._admin.list_consumer_group_offsets(self._settings.topic(group))
        except GroupCoordinatorNotAvailableError:  # nor any other group as yet
            return {}
        except KafkaError as error:
            raise UnavailableError(f"Kafka does not tell how far the {group} is: {error}") from None
        return found
