"""The notifier: reads `events`, writes `alerts`, and commits what is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import CommitFailedError, IllegalStateError

from mailwake import metrics
from mailwake.contracts import ALERT, EVENT, Alert, user_key
from mailwake.errors import ConfigError
from mailwake.ids import now_ms
from mailwake.kafka import require_topics, start_consumer, start_producer, stop_client
from mailwake.lag import Lag
from mailwake.logs import about
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake.tracing import OFF, Tracing, start_tracing
from mailwake_notifier.decide import Drop, alert_of, wanted
from mailwake_notifier.preferences import Preferences
from mailwake_notifier.traced import Traced

GROUP = "notifier"
STALL_S = 60
"""Without a commit for so long, though there are events to read, it is unhealthy."""

DRAIN_S = 10
"""How long the alerts on their way may take at the end; what is late is read again by the next."""

SESSION_MS = 6_000
"""How long the events of a killed notifier wait for another: the least that brokers allow
(`group.min.session.timeout.ms`)."""

_POLL_MS = 500
_MOST_RECORDS = 200

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
    await require_topics(settings, "events", "alerts", "preferences")
    async with contextlib.AsyncExitStack() as closing:
        producer = await start_producer(settings, client_id="mailwake-notifier")
        closing.push_async_callback(stop_client, producer)
        consumer = await start_consumer(
            settings,
            client_id="mailwake-notifier",
            group=GROUP,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
        )
        closing.push_async_callback(stop_client, consumer)
        preferences = Preferences(settings)
        preferences.start()
        closing.push_async_callback(preferences.stop)
        tracing = start_tracing(settings, "notifier")
        closing.callback(tracing.stop)
        notifier = Notifier(consumer, producer, preferences, settings, status, tracing)
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
    """One member of the group: takes records, sends their alerts, commits them.

    An offset is committed only when the alerts of its record, and of all before it, are
    acknowledged. At a rebalance the batch at hand is finished and committed first; a batch that
    came too late for that is read again by another member and gives the same alerts.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        preferences: Preferences,
        settings: Settings,
        status: Status,
        tracing: Tracing = OFF,
    ) -> None:
        self._consumer = consumer
        self._tracing = tracing
        self._traced = Traced(tracing)
        self._producer = producer
        self._preferences = preferences
        self._alerts = settings.topic("alerts")
        self._max_age_ms = settings.alert_age_s * 1000
        self._status = status
        self._batch = asyncio.Lock()
        self._lag: Lag[TopicPartition] = Lag(
            settings.topic_prefix, lambda part: consumer.highwater(part)
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Takes batch after batch until `stop` is set. Raises what Kafka does not recover from."""
        while not stop.is_set():
            records = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
            for part, taken in records.items():
                self._lag.begins(part, taken[0].offset)
            self._lag.measure(self._consumer.assignment())
            if records:
                # No await stands between the records and the lock: a rebalance waits for it.
                async with self._batch:
                    await self._notify(records)
            elif await self._caught_up():
                self._status.progressed()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Waits until the batch at hand is committed; its partitions may then go to others."""
        self._status.ready = False
        async with self._batch:
            pass

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """It takes work from now on; with more members than partitions, it may have none."""
        log.info("reads partitions %s", sorted(each.partition for each in assigned) or "none")
        self._status.progressed()
        self._status.ready = True

    async def _notify(self, records: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        # Switched off means off from then on: what was set before these records is known first.
        await self._preferences.current()
        acknowledgements, acts = [], []
        read = [record for part in records.values() for record in part]
        self._traced.read(read)
        for alert in _alerts_of(read, self._max_age_ms, self._preferences):
            key = user_key(alert.tenant, alert.user)
            with self._traced.alert(alert):
                sent = await self._producer.send(
                    self._alerts, ALERT.encode(alert), key=key, headers=self._tracing.headers()
                )
            acknowledgements.append(sent)
            acts.append(alert.at)
            if log.isEnabledFor(logging.DEBUG):
                fields = about(event_id=alert.event_id, alert_id=alert.alert_id)
                log.debug("an alert", extra=fields)
            metrics.NOTIFIER_ALERTS.labels(alert.kind).inc()
        await asyncio.gather(*acknowledgements)
        for at in acts:
            metrics.DELAY_SECONDS.labels("alerted").observe(max(0, now_ms() - at) / 1000)
        offsets = {partition: part[-1].offset + 1 for partition, part in records.items()}
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            log.info("the group was shared out anew; a batch will be read again")
            return
        metrics.COMMITTED_AT.set_to_current_time()
        self._lag.committed(offsets)
        self._status.progressed()

    async def _caught_up(self) -> bool:
        """Whether every partition has been read to its end, as Kafka last told it."""
        ends = {each: self._consumer.highwater(each) for each in self._consumer.assignment()}
        try:
            for partition, end in ends.items():
                if end is None or await self._consumer.position(partition) < end:
                    return False
        except IllegalStateError:  # taken away meanwhile
            return False
        return True


def _alerts_of(
    records: Iterable[ConsumerRecord], max_age_ms: int, preferences: Preferences
) -> Iterable[Alert]:
    """The alerts of records in their order; counts what was read and what gave none."""
    for record in records:
        events, bad = EVENT.read(record.value or b"")
        metrics.NOTIFIER_EVENTS.inc(len(events))
        if bad:
            metrics.NOTIFIER_DROPPED.labels(Drop.UNREADABLE).inc(len(bad))
        for event in events:
            match alert_of(event, record.timestamp, max_age_ms):
                case Drop() as reason:
                    metrics.NOTIFIER_DROPPED.labels(reason).inc()
                case alert if wanted(preferences.of(alert.tenant, alert.user), record.timestamp):
                    yield alert
                case _:
                    metrics.NOTIFIER_DROPPED.labels(Drop.NOT_WANTED).inc()
