"""The notifier: reads `events`, writes `alerts`, and commits what is settled and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from mailwake import metrics
from mailwake.contracts import ALERT, Alert, user_key
from mailwake.errors import ConfigError
from mailwake.ids import now_ms
from mailwake.kafka import require_topics, start_consumer, start_producer, stop_client
from mailwake.lag import Lag
from mailwake.logs import about
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake.tracing import OFF, Tracing, start_tracing
from mailwake_notifier.decide import times_of
from mailwake_notifier.settling import Partition
from mailwake_notifier.taking_up import TakingUp
from mailwake_notifier.traced import Traced
from mailwake_notifier.wishes import Followed

GROUP = "notifier"
STALL_S = 60
"""Without a commit for so long, though there are events to read, it is unhealthy."""

DRAIN_S = 10
"""How long the alerts on their way may take at the end; what is late is read again by the next."""

SESSION_MS = 6_000
"""How long the events of a killed notifier wait for another: the least that brokers allow
(`group.min.session.timeout.ms`)."""

_POLL_MS = 500
_LEAST_MS = 2
_MOST_RECORDS = 200
_MOST_WAITING = 100_000
_AGAIN_S = 1.0
_COMMIT_EVERY_S = 0.2

log = logging.getLogger("mailwake.notifier")


def main(argv: list[str]) -> int:
    """`mailwake notifier`: runs until it is told to stop; gives the exit status."""
    if argv:
        raise ConfigError("mailwake notifier takes no arguments; it is set by the environment")
    return run_service("notifier", work)


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Notifies until `stop` is set; then finishes what is on its way, for at most `DRAIN_S`.

    Raises UnavailableError when Kafka or a topic is not there at the start.
    """
    await require_topics(settings, "events", "alerts", "preferences", "mutes")
    async with contextlib.AsyncExitStack() as closing:
        producer = await start_producer(settings, client_id="mailwake-notifier", linger_ms=0)
        closing.push_async_callback(stop_client, producer)
        consumer = await start_consumer(
            settings,
            client_id="mailwake-notifier",
            group=GROUP,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
        )
        closing.push_async_callback(stop_client, consumer)
        wishes = Followed(settings)
        wishes.start()
        closing.push_async_callback(wishes.stop)
        tracing = start_tracing(settings, "notifier")
        closing.callback(tracing.stop)
        notifier = Notifier(consumer, producer, wishes, settings, status, tracing)
        consumer.subscribe([settings.topic("events")], listener=notifier)
        status.stall_s = STALL_S
        running = asyncio.create_task(notifier.run(stop))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        try:
            await asyncio.wait_for(running, DRAIN_S)
        except TimeoutError:
            log.warning("ended with alerts on their way; their events will be read again")


class Notifier(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """One member of the group: takes records, tells the alerts that are due, commits.

    An offset is committed only when the windows of its record, and of all before it, are closed,
    and their alerts are acknowledged; a few times a second, so what a notifier told in the moment
    before it is killed is told once more, under the same ids. At a rebalance the batch at hand is
    finished and committed first; what is open then is read again by whoever takes the partition
    over, and gives the same alerts.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        wishes: Followed,
        settings: Settings,
        status: Status,
        tracing: Tracing = OFF,
    ) -> None:
        self._consumer = consumer
        self._tracing = tracing
        self._traced = Traced(tracing)
        self._producer = producer
        self._wishes = wishes
        self._alerts = settings.topic("alerts")
        self._times = times_of(settings)
        self._status = status
        self._batch = asyncio.Lock()
        self._taking_up = TakingUp(consumer, wishes, self._times, 1)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._lag: Lag[TopicPartition] = Lag(
            settings.topic_prefix, lambda part: consumer.highwater(part)
        )
        self._commit_at = 0.0
        self._sharing_out = True

    async def run(self, stop: asyncio.Event) -> None:
        """Takes batch after batch until `stop` is set. Raises what Kafka does not recover from."""
        while not stop.is_set():
            records: Mapping[TopicPartition, list[ConsumerRecord]] = {}
            if self._waiting < _MOST_WAITING:
                records = await self._consumer.getmany(
                    timeout_ms=self._wait_ms(), max_records=_MOST_RECORDS
                )
            else:
                await asyncio.sleep(self._wait_ms() / 1000)
            for part, taken in records.items():
                self._lag.begins(part, taken[0].offset)
            self._lag.measure(self._consumer.assignment())
            # No await stands between the records and the lock: a rebalance waits for it.
            async with self._batch:
                await self._turn(records)
        async with self._batch:
            await self._commit()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits until the batch at hand is committed; its partitions may then go to others."""
        self._status.ready = False
        async with self._batch:
            await self._commit()
            self._sharing_out = True
            self._partitions.clear()
            self._committed.clear()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """It takes work from now on; with more members than partitions, it may have none."""
        log.info("reads partitions %s", sorted(each.partition for each in assigned) or "none")
        self._taking_up.share = max(1, len(assigned))
        self._sharing_out = False
        self._status.progressed()
        self._status.ready = True

    @property
    def _waiting(self) -> int:
        return sum(each.waiting for each in self._partitions.values())

    def _wait_ms(self) -> int:
        """How long to wait for records: until the next window closes."""
        due = min((each.due for each in self._partitions.values() if each.due), default=None)
        if due is None:
            return _POLL_MS
        # Never at once: what is due waits for the records before it, and those for the event loop.
        return max(_LEAST_MS, min(_POLL_MS, due - now_ms()))

    async def _turn(self, records: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """Takes records, tells what is due, and commits.

        Nothing while the group is shared out anew: what was open is known no more, and a commit now
        would pass it over.
        """
        if self._sharing_out:
            for part, taken in records.items():
                with contextlib.suppress(IllegalStateError):
                    self._consumer.seek(part, taken[0].offset)
            return
        if records:
            # Switched off means off from then on: what was set before these records is known first.
            await self._wishes.current()
        alerts: list[Alert] = []
        self._traced.read(record for taken in records.values() for record in taken)
        for part, taken in records.items():
            alerts += await self._take(part, taken)
        alerts += await self._settle()
        metrics.NOTIFIER_WAITING.set(self._waiting)
        await self._tell(alerts)
        if time.monotonic() >= self._commit_at:
            await self._commit()

    async def _take(self, part: TopicPartition, records: list[ConsumerRecord]) -> list[Alert]:
        partition = self._partitions.get(part)
        if partition is None:
            try:
                partition, again = await self._taking_up.begin(part, records[0])
            except IllegalStateError:  # taken away meanwhile
                return []
            except KafkaError as error:
                log.warning("partition %d is not taken up yet: %s", part.partition, error)
                self._consumer.seek(part, records[0].offset)
                await asyncio.sleep(_AGAIN_S)
                return []
            self._partitions[part] = partition
            if again:
                return []
        alerts: list[Alert] = []
        let_go = partition.let_go
        for record in records:
            taken = partition.take(record.offset, record.timestamp, record.value, now_ms())
            alerts += taken.alerts
            metrics.NOTIFIER_EVENTS.inc(taken.read)
            for reason, count in taken.dropped.items():
                metrics.NOTIFIER_DROPPED.labels(reason).inc(count)
            await asyncio.sleep(0)  # a record may hold many events
        metrics.NOTIFIER_LET_GO.inc(partition.let_go - let_go)
        if partition.committable is None:  # reading once more is progress, though none to commit
            self._status.progressed()
        return alerts

    async def _settle(self) -> list[Alert]:
        """The alerts that are due now, of the partitions that are read to their end; where too much
        waits, of all."""
        alerts: list[Alert] = []
        caught_up = True
        full = self._waiting >= _MOST_WAITING
        for part in self._consumer.assignment():
            at_end = await self._at_end(part)
            caught_up = caught_up and at_end
            partition = self._partitions.get(part)
            if partition is not None and (at_end or full):
                alerts += partition.settle(now_ms())
        if caught_up:
            self._status.progressed()
        return alerts

    async def _tell(self, alerts: Iterable[Alert]) -> None:
        """Sends alerts; returns when all are acknowledged."""
        acknowledgements, acts = [], []
        for alert in alerts:
            key = user_key(alert.tenant, alert.user)
            with self._traced.alert(alert):
                sent = await self._producer.send(
                    self._alerts, ALERT.encode(alert), key=key, headers=self._tracing.headers()
                )
            acknowledgements.append(sent)
            acts.append(max(alert.at, alert.last_at))
            if log.isEnabledFor(logging.DEBUG):
                fields = about(event_id=alert.event_id, alert_id=alert.alert_id)
                log.debug("an alert", extra=fields)
            if alert.withdrawn or alert.count > 1:
                what = "withdrawn" if alert.withdrawn else "counted"
                metrics.NOTIFIER_REVISED.labels(what).inc()
            else:
                metrics.NOTIFIER_ALERTS.labels(alert.kind).inc()
        await asyncio.gather(*acknowledgements)
        for at in acts:
            metrics.DELAY_SECONDS.labels("alerted").observe(max(0, now_ms() - at) / 1000)

    async def _commit(self) -> None:
        """Commits what is settled, where it is more than before."""
        self._commit_at = time.monotonic() + _COMMIT_EVERY_S
        offsets = {
            part: offset
            for part, partition in self._partitions.items()
            if (offset := partition.committable) is not None and offset != self._committed.get(part)
        }
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            log.info("the group was shared out anew; a batch will be read again")
            return
        self._committed |= offsets
        metrics.COMMITTED_AT.set_to_current_time()
        self._lag.committed(offsets)
        self._status.progressed()

    async def _at_end(self, part: TopicPartition) -> bool:
        """Whether a partition has been read to its end, as Kafka last told it."""
        end = self._consumer.highwater(part)
        try:
            return end is not None and await self._consumer.position(part) >= end
        except IllegalStateError:  # taken away meanwhile
            return False
