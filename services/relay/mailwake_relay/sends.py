"""Publishes sends before their mails go out, while Kafka may be away at any time.

A mail does not wait long: what Kafka has not acknowledged within `PUBLISH_S` counts as not
published, though it may yet be (aiokafka takes nothing back). Its mail then goes out untracked or
not at all, and a second record, behind the first, says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec.structs import replace

from mailwake.contracts import Display, Send
from mailwake.errors import MailwakeError
from mailwake.kafka import require_topics, start_producer, stop_client
from mailwake.publish import publish
from mailwake.register import Register
from mailwake.settings import Settings

log = logging.getLogger("mailwake.relay")

PUBLISH_S = 5.0
"""So long a mail waits for Kafka."""
_AGAIN_S = 1.0
_LAST_S = 2.0


class Sends:
    """Holds the producer, which the register gets too; `start`, then `publish`, then `stop`."""

    def __init__(self, settings: Settings, register: Register) -> None:
        self._settings = settings
        self._register = register
        self._producer: AIOKafkaProducer | None = None
        self._away = asyncio.Event()
        self._waiting = 0
        self._owed: list[Send] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def ready(self) -> bool:
        """Whether Kafka takes sends, as far as we know."""
        return self._producer is not None and not self._waiting

    def start(self) -> None:
        """Begins to connect; returns at once."""
        self._spawn(self._connect())

    async def stop(self) -> None:
        """Ends it. What Kafka does not take soon is given up; no mail rests on it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._producer is not None:
            await stop_client(self._producer, within_s=_LAST_S)

    async def publish(self, sends: Sequence[Send], displays: Sequence[Display]) -> bool:
        """Whether Kafka has acknowledged all of them; if not, their mails must not be tracked."""
        producer = self._producer
        if producer is None or self._waiting:
            return False
        untracked = [replace(send, opens=False, clicks=False, links=[]) for send in sends]
        first = self._spawn(publish(producer, self._settings, sends, displays))
        done, _ = await asyncio.wait({first}, timeout=PUBLISH_S)
        if done:
            try:
                first.result()
            except Exception as error:  # whatever it is, the mail can go on without
                log.warning("sends were not published: %r", error)
                self._owed += untracked  # some may have been all the same
                self._renew(producer)
                return False
            return True
        self._waiting += 1
        log.warning("Kafka has not acknowledged a send for %g s; mail goes on without", PUBLISH_S)
        self._spawn(self._correct(producer, first, untracked))
        return False

    async def _correct(
        self, producer: AIOKafkaProducer, first: asyncio.Task[None], untracked: list[Send]
    ) -> None:
        """When Kafka is back, says of mails that went out untracked that they are."""
        try:
            await first
            await publish(producer, self._settings, untracked)
            log.info("Kafka acknowledges sends again")
        except Exception as error:
            log.warning("mail that was not tracked may be shown as tracked until then: %r", error)
            self._owed += untracked
            self._renew(producer)
        finally:
            self._waiting -= 1

    async def _connect(self) -> None:
        told = False
        while True:
            try:
                await require_topics(self._settings, "sends", "displays")
                # Nobody else's records are worth waiting for: a mail waits for this one.
                producer = await start_producer(
                    self._settings, client_id="mailwake-relay", linger_ms=0
                )
                await self._settle(producer)
            except (MailwakeError, KafkaError, OSError) as error:
                if not told:
                    log.warning("mail is not tracked now: %s", error)
                told = True
                await asyncio.sleep(_AGAIN_S)
                continue
            told = False
            self._producer = self._register.producer = producer
            log.info("Kafka takes sends at %s", self._settings.kafka_bootstrap)
            self._away.clear()
            await self._away.wait()

    async def _settle(self, producer: AIOKafkaProducer) -> None:
        """Says what is owed before the producer takes anything else; stops it when it cannot."""
        try:
            if self._owed:
                await publish(producer, self._settings, self._owed)
                self._owed.clear()
        except BaseException:
            await stop_client(producer, within_s=_LAST_S)
            raise

    def _renew(self, producer: AIOKafkaProducer) -> None:
        """Lets go of a producer that failed: an idempotent one may never recover."""
        if self._producer is producer:
            self._producer = self._register.producer = None
            self._away.set()
            self._spawn(stop_client(producer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
