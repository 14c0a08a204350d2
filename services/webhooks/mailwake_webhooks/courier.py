"""The courier: takes alerts and what waits for another attempt, and delivers it or has it wait on.

What is read is done when its messages are delivered, given up, or stand in a retry topic; only then
its offset is committed. So whatever process is killed, each message is in Kafka still.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import get_args

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import CommitFailedError, IllegalStateError
from msgspec.structs import replace

from mailwake import metrics
from mailwake.codec import InvalidError
from mailwake.contracts import ALERT, PURPOSE
from mailwake.errors import UnavailableError
from mailwake.guard import RefusedError, check_url
from mailwake.ids import now_ms
from mailwake.keyring import Keyring
from mailwake.register import Register
from mailwake.service import Status
from mailwake.settings import Settings
from mailwake.tokens import TokenError
from mailwake.webhook import (
    DELIVERY,
    LANES,
    WEBHOOK,
    Attempt,
    Delivery,
    DisabledFor,
    Outcome,
    Webhook,
    delivery_key,
    delivery_of,
    lane_of,
    lane_topic,
    webhook_key,
)
from mailwake.webhooks import Webhooks
from mailwake_webhooks.message import body_of, headers_of
from mailwake_webhooks.offsets import Offsets
from mailwake_webhooks.pace import Pace
from mailwake_webhooks.post import Answer, Poster
from mailwake_webhooks.schedule import MOST_RETRY_AFTER_S, after, began_at, exhausted
from mailwake_webhooks.successes import Successes
from mailwake_webhooks.waiting import Waiting

DRAIN_S = 5
"""How long attempts may still take at the end; what is late is handed to a retry topic."""

_POLL_MS = 200
_MOST_RECORDS = 500
_MOST_TASKS = 6_000
_EARLY_MS = 20
"""What is due so soon is not put into another topic."""

_DISABLED_FOR: dict[Outcome, DisabledFor] = {"gone": "gone", "no_secret": "no_secret"}

log = logging.getLogger("mailwake.webhooks")


class Courier(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """One member of the group: reads `alerts` and the retry topics."""

    def __init__(
        self,
        settings: Settings,
        status: Status,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        keyring: Keyring,
        webhooks: Webhooks,
        register: Register,
        successes: Successes,
        poster: Poster,
    ) -> None:
        self._settings = settings
        self._status = status
        self._consumer = consumer
        self._producer = producer
        self._keyring = keyring
        self._webhooks = webhooks
        self._register = register
        self._successes = successes
        self._poster = poster
        self._pace = Pace(time.monotonic)
        self._offsets = Offsets()
        self._waiting = Waiting()
        self._lanes = {settings.topic(lane_topic(lane)): wait for lane, wait in LANES.items()}
        self._batch = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempting: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._sharing_out = True
        for reason in get_args(DisabledFor):  # from 0 on, so that Prometheus sees the first one
            metrics.WEBHOOK_DISABLED.labels(reason)

    @property
    def topics(self) -> list[str]:
        """What it reads, as Kafka names it."""
        return [self._settings.topic("alerts"), *self._lanes]

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop` is set; then finishes, or hands on, what is under way.

        Raises what Kafka does not recover from.
        """
        while not stop.is_set():
            records = await self._consumer.getmany(
                timeout_ms=self._until_next(), max_records=_MOST_RECORDS
            )
            # No await stands between the records and the lock: a rebalance waits for it.
            async with self._batch:
                if self._sharing_out:
                    self._leave(records)
                else:
                    await self._take(records)
                    await self._commit()
            while len(self._tasks) >= _MOST_TASKS:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._failed is not None:
                raise self._failed
        await self._drain()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Commits what is done; what is under way then comes to others too, as the same message."""
        self._status.ready = False
        async with self._batch:
            await self._commit()
            self._sharing_out = True
            for partition in revoked:
                self._offsets.forget(partition)
            self._waiting.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """It takes work from now on."""
        log.info("reads %s partitions", len(assigned))
        self._sharing_out = False
        self._status.progressed()
        self._status.ready = True

    def _until_next(self) -> int:
        """How long may be waited for records, in milliseconds."""
        next_at = self._waiting.next_at()
        return _POLL_MS if next_at is None else min(max(next_at - now_ms(), 1), _POLL_MS)

    async def _take(self, records: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        for partition, part in records.items():
            for record in part:
                self._offsets.begin(partition, record.offset)
        alerts = [p for p in records if p.topic not in self._lanes]
        if alerts:
            await self._current()
        for partition, part in records.items():
            for record in part:
                if partition in alerts:
                    self._take_alert(partition, record)
                else:
                    self._take_waiting(partition, record)
        for partition, offset, delivery in self._waiting.due(now_ms()):
            early = delivery.due_at - now_ms()
            done = self._done_of(partition, offset)
            if early > _EARLY_MS:
                self._start(self._put(delivery, early), done)
            else:
                self._start(self._deliver(delivery), done)
        full, paused = self._waiting.full(), self._consumer.paused()
        self._consumer.resume(*(paused - full))
        self._consumer.pause(*(full - paused))

    def _leave(self, records: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """Leaves records to whoever has their partitions when the group is shared out: what is
        undone before them is not known any more, and a commit would pass it over."""
        for partition, part in records.items():
            with contextlib.suppress(IllegalStateError):
                self._consumer.seek(partition, part[0].offset)

    async def _current(self) -> None:
        """Waits until all webhooks are known that were there before the alerts at hand."""
        while True:
            try:
                return await self._webhooks.current()
            except UnavailableError as error:
                log.warning("alerts wait for the webhooks: %s", error)

    def _take_alert(self, partition: TopicPartition, record: ConsumerRecord) -> None:
        done = self._done_of(partition, record.offset)
        try:
            alert = ALERT.decode(record.value or b"")
        except InvalidError:
            metrics.WEBHOOK_DROPPED.labels("unreadable").inc()
            return done()
        wanting = [
            webhook
            for webhook in (
                *self._webhooks.of(alert.tenant, alert.user),
                *self._webhooks.of(alert.tenant, None),
            )
            if webhook.disabled is None
            and alert.kind in webhook.kinds
            and record.timestamp >= webhook.created_at
        ]
        left = len(wanting)
        if not left:
            return done()

        def one_done() -> None:
            nonlocal left
            left -= 1
            if not left:
                done()

        for webhook in wanting:
            self._start(self._deliver(delivery_of(alert, webhook, record.timestamp)), one_done)
        return None

    def _take_waiting(self, partition: TopicPartition, record: ConsumerRecord) -> None:
        try:
            delivery = DELIVERY.decode(record.value or b"")
        except InvalidError as error:
            metrics.WEBHOOK_DROPPED.labels("unreadable").inc()
            log.error("a record of %s cannot be read: %s", partition.topic, error)
            return self._offsets.done(partition, record.offset)
        at = min(record.timestamp + self._lanes[partition.topic] * 1000, delivery.due_at)
        return self._waiting.add(partition, record.offset, delivery, at)

    def _done_of(self, partition: TopicPartition, offset: int) -> Callable[[], None]:
        return lambda: self._offsets.done(partition, offset)

    def _start(self, work: object, done: Callable[[], None]) -> None:
        """Does something beside the rest; what it does not raise is done."""
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            if (error := task.exception()) is not None:
                self._failed = self._failed or error
            else:
                done()

        task.add_done_callback(ended)

    async def _deliver(self, delivery: Delivery) -> None:
        """One attempt, or why there is none; returns when Kafka has what comes of it."""
        key = webhook_key(delivery.tenant, delivery.webhook_id)
        if (rest := self._pace.resting_s(key)) and delivery.alert is not None:
            metrics.WEBHOOK_PUT_OFF.labels("rests").inc()
            return await self._put(delivery, round(rest * 1000))
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine runs in one)
        self._attempting.add(task)
        attempted: tuple[Attempt, float] | None = None
        try:
            async with self._pace.place(delivery.tenant, key) as there:
                webhook = self._webhooks.get(delivery.tenant, delivery.webhook_id)
                if webhook is None:
                    metrics.WEBHOOK_DROPPED.labels("deleted").inc()
                    return None
                if there or self._prevented(webhook, delivery) is not None:
                    attempted = await self._attempt(webhook, delivery)
        except asyncio.CancelledError:  # at the end: another process goes on with it
            task.uncancel()
            return await self._put(delivery, 0)
        finally:
            self._attempting.discard(task)
        if attempted is None:
            metrics.WEBHOOK_PUT_OFF.labels("busy").inc()
            return await self._put(delivery, round(self._pace.put_off_s(key) * 1000))
        return await self._settle(webhook, delivery, *attempted)

    async def _attempt(self, webhook: Webhook, delivery: Delivery) -> tuple[Attempt, float]:
        """What came of it, and how long the receiver asks to be left alone, in seconds."""
        at = now_ms()
        if (prevented := self._prevented(webhook, delivery)) is not None:
            return Attempt(at, prevented), 0.0
        key = webhook_key(webhook.tenant, webhook.webhook_id)
        try:
            secrets = [
                self._keyring.open_secret(secret.sealed, key)
                for secret in webhook.secrets
                if not secret.expires_at or secret.expires_at > at
            ]
        except TokenError:
            return Attempt(at, "no_secret"), 0.0
        began = time.monotonic()
        with metrics.WEBHOOK_RUNNING.track_inprogress():
            answer = await self._post(webhook, delivery, secrets, at)
        took = time.monotonic() - began
        metrics.WEBHOOK_SECONDS.observe(took)
        return Attempt(at, answer.outcome, answer.status, round(took * 1000)), answer.retry_after_s

    async def _post(
        self, webhook: Webhook, delivery: Delivery, secrets: list[bytes], at: int
    ) -> Answer:
        try:
            target = check_url(
                webhook.url,
                http=self._settings.webhook_http == "yes",
                networks=self._settings.webhook_networks,
            )
        except RefusedError:
            return Answer("refused")
        body = body_of(delivery)
        return await self._poster.post(target, headers_of(delivery, body, secrets, at), body)

    def _prevented(self, webhook: Webhook, delivery: Delivery) -> Outcome | None:
        """Why nothing is to be posted. A test goes to a disabled webhook too."""
        alert = delivery.alert
        if alert is None:
            return None
        if webhook.disabled is not None:
            return "disabled"
        if alert.recipient_id is not None and self._register.denies(
            alert.tenant, alert.recipient_id, PURPOSE[alert.kind]
        ):
            return "withheld"
        return None

    async def _settle(
        self, webhook: Webhook, delivery: Delivery, attempt: Attempt, retry_after_s: float
    ) -> None:
        """Writes what is known after an attempt."""
        schedule = self._settings.webhook_schedule
        told = after(delivery, attempt, schedule, retry_after_s)
        metrics.WEBHOOK_ATTEMPTS.labels(attempt.outcome).inc()
        key = webhook_key(webhook.tenant, webhook.webhook_id)
        if retry_after_s:
            self._pace.rest(key, min(retry_after_s, MOST_RETRY_AFTER_S))
        if told.state == "pending":
            await self._put(told, told.due_at - now_ms())
        elif told.state == "delivered":
            metrics.WEBHOOK_DELAY_SECONDS.observe(max(attempt.at - told.made_at, 0) / 1000)
        else:
            metrics.WEBHOOK_FAILED.labels(attempt.outcome).inc()
        await self._write("webhook_deliveries", delivery_key(told), DELIVERY.encode(told))
        if (reason := _DISABLED_FOR.get(attempt.outcome)) is not None:
            await self._disable(webhook, reason)
        elif exhausted(told, schedule) and await self._successes.last(key) < began_at(told):
            await self._disable(webhook, "failing")

    async def _disable(self, webhook: Webhook, reason: DisabledFor) -> None:
        """Disables a webhook, unless it is disabled or changed by now."""
        key = webhook_key(webhook.tenant, webhook.webhook_id)
        await self._current()
        known = self._webhooks.get(webhook.tenant, webhook.webhook_id)
        if known is None or known.disabled is not None or known.url != webhook.url:
            return
        log.warning("webhook %s of %s is disabled: %s", webhook.webhook_id, webhook.tenant, reason)
        metrics.WEBHOOK_DISABLED.labels(reason).inc()
        disabled = replace(known, disabled=reason, disabled_at=now_ms())
        await self._write("webhooks", key, WEBHOOK.encode(disabled))
        self._webhooks.take(key, disabled)

    async def _put(self, delivery: Delivery, wait_ms: int) -> None:
        """Puts a delivery into the retry topic of a wait; returns when Kafka has it."""
        waiting = replace(delivery, due_at=now_ms() + max(wait_ms, 0))
        lane = lane_topic(lane_of(wait_ms))
        key = webhook_key(delivery.tenant, delivery.webhook_id)
        await self._write(lane, key, DELIVERY.encode(waiting))

    async def _write(self, topic: str, key: bytes, value: bytes) -> None:
        sent = await self._producer.send(self._settings.topic(topic), value, key=key)
        await sent

    async def _commit(self) -> None:
        offsets = self._offsets.to_commit()
        if offsets:
            try:
                await self._consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                log.info("the group was shared out anew; some messages will be sent again")
                return
            self._offsets.committed(offsets)
            metrics.COMMITTED_AT.set_to_current_time()
        if offsets or not self._tasks:
            self._status.progressed()

    async def _drain(self) -> None:
        self._status.ready = False
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        for task in tuple(self._attempting):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        async with self._batch:
            await self._commit()
