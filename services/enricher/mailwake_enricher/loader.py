"""The loader: sends, displays, hits, events, tracks and consent proofs from Kafka into ClickHouse.

One consumer reads the topics; each goes to its table by a `TableLoader`. Offsets are committed when
the rows up to them are stored, so whatever is killed, rows come again and replace themselves
(ReplacingMergeTree); nothing is lost. Tombstones delete, and what a recipient was erased from is
not stored again, however often its topics are replayed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from mailwake.clickhouse import ClickHouse, secured_url
from mailwake.kafka import require_topics, start_consumer, start_producer, stop_client
from mailwake.lag import Lag
from mailwake.metrics import COMMITTED_AT
from mailwake.rejects import reject
from mailwake.removed import Removed
from mailwake.service import Status
from mailwake.settings import Settings
from mailwake_enricher.loader_batch import Batch, Reject
from mailwake_enricher.loader_sources import SOURCES, Source
from mailwake_enricher.loader_table import TableLoader
from mailwake_enricher.table_sizes import TableSizes

log = logging.getLogger("mailwake.loader")

GROUP = "loader"

RECORDS_AT_ONCE = 100
POLL_MS = 50
FULL_PAUSE_S = 0.01
STALL_S = 180.0
"""An insert that takes longer than its time-out of 120 s is one that hangs."""

SETTLE_S, STOP_S = 20.0, 5.0
"""How long it is waited for rows to be stored when partitions are taken away, and when the service
stops; what is not stored then is dropped, and Kafka gives it again."""

_CONSUMER: dict[str, Any] = {
    "session_timeout_ms": 6000,  # after a kill the partitions are free again so soon
    "heartbeat_interval_ms": 1000,
    # What a rebalance may take: storing what was gathered.
    "rebalance_timeout_ms": int(SETTLE_S * 1000) + 10_000,
    # No records are asked for while ClickHouse is away, however long; the member stays one.
    "max_poll_interval_ms": 7 * 86_400_000,
    "metadata_max_age_ms": 30_000,
}


class Loader(ConsumerRebalanceListener):  # type: ignore[misc]
    """The loader's work; `run` returns when `stop` is set.

    Ready while every table takes its rows; alive also while ClickHouse is away.
    """

    def __init__(
        self,
        settings: Settings,
        status: Status,
        *,
        sources: Sequence[Source[Any]] = SOURCES,
        group: str = GROUP,
    ) -> None:
        self._settings = settings
        self._status = status
        self._shared_out = False
        self._group = group
        self._topics = [source.name for source in sources]
        self._topics += [f"{source.name}.rejected" for source in sources if source.rejects]
        self._topics += ["removals"]
        self._removed = Removed(settings)
        self._tables = {
            settings.topic(source.name): TableLoader(
                source,
                lambda: ClickHouse(secured_url(settings)),
                self._finish,
                settings.loader_rows,
                settings.loader_seconds,
                self._removed if source.rest else None,
            )
            for source in sources
        }
        self._lag: Lag[TopicPartition] = Lag(
            settings.topic_prefix, lambda part: self._consumer.highwater(part)
        )
        self._sizes = TableSizes(lambda: ClickHouse(secured_url(settings)))
        self._consumer: AIOKafkaConsumer
        self._producer: AIOKafkaProducer

    async def run(self, stop: asyncio.Event) -> None:
        """Loads until `stop` is set, then stores and commits what was read and leaves the group.

        Raises UnavailableError when Kafka does not answer at the start or lacks a topic.
        """
        self._status.stall_s = STALL_S
        secured_url(self._settings)  # a file that cannot be used is told at once
        await require_topics(self._settings, *self._topics)
        self._producer = await start_producer(self._settings, client_id="mailwake-loader")
        self._removed.follower.start()
        self._sizes.start()
        try:
            self._consumer = await start_consumer(
                self._settings, client_id="mailwake-loader", group=self._group, **_CONSUMER
            )
            try:
                self._consumer.subscribe(list(self._tables), listener=self)
                while not stop.is_set():
                    await self._step()
                self._status.ready = False
                await self._settle(STOP_S)
            finally:
                await stop_client(self._consumer)
        finally:
            for table in self._tables.values():
                table.forget()
                table.close()
            await self._sizes.stop()
            await self._removed.follower.stop()
            await stop_client(self._producer)

    async def _step(self) -> None:
        for table in self._tables.values():
            table.advance()
        assigned = self._consumer.assignment()
        in_trouble = any(table.in_trouble for table in self._tables.values())
        self._status.ready = self._shared_out and not in_trouble
        self._lag.measure(assigned)
        self._status.progress_at = min(table.moved_at for table in self._tables.values())
        with_room = [tp for tp in assigned if self._tables[tp.topic].has_room]
        if not with_room:
            await asyncio.sleep(FULL_PAUSE_S)
            return
        some_full = len(with_room) < len(assigned)
        taken = await self._consumer.getmany(
            *with_room,
            timeout_ms=int(FULL_PAUSE_S * 1000) if some_full else POLL_MS,
            max_records=RECORDS_AT_ONCE,
        )
        for tp, records in taken.items():
            self._lag.begins(tp, records[0].offset)
            self._tables[tp.topic].take(records)

    async def _finish(self, batch: Batch[Any], rejects: list[Reject]) -> None:
        """Publishes what is rejected, then commits; the rows are stored."""
        if batch.source.rejects:
            sent = []
            for each in rejects:
                record = each.record
                value, headers = reject(
                    each.data, each.error, batch.source.name, record.partition, record.offset
                )
                topic = self._settings.topic(f"{batch.source.name}.rejected")
                sent.append(await self._producer.send(topic, value, record.key, headers=headers))
            await asyncio.gather(*sent)
        try:
            await self._consumer.commit(batch.ends)
            COMMITTED_AT.set_to_current_time()
            self._lag.committed(batch.ends)
        except KafkaError as error:
            log.warning(
                "%s: offsets not committed, rows may come again: %s", batch.source.name, error
            )

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Stores and commits what was read of the partitions before others get them."""
        if revoked:
            await self._settle(SETTLE_S)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Says what is loaded here now; with more members than partitions it may be nothing."""
        self._shared_out = True
        topics = sorted({tp.topic for tp in assigned})
        log.info("loading %d partitions of %s", len(assigned), ", ".join(topics) or "nothing")

    async def _settle(self, seconds: float) -> None:
        """All that was read is stored and committed, or, after a while, forgotten."""
        tables = self._tables.values()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(table.settle() for table in tables))
        except TimeoutError:
            log.warning("not all rows could be stored in %g s; Kafka keeps the rest", seconds)
        finally:
            for table in tables:
                table.forget()
