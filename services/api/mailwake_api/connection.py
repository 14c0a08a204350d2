"""The producer of the API: made when Kafka answers, and made anew when it failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from mailwake.contracts import Display, Send
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.kafka import require_topics, start_producer, stop_client, write
from mailwake.publish import publish
from mailwake.register import TOPICS, Register
from mailwake.settings import Settings
from mailwake.webhook import lane_topic

log = logging.getLogger("mailwake.api.connection")

PUBLISHED = (
    *("sends", "displays", "alert_reads", "mutes", "removals", "erasures"),
    *("webhooks", lane_topic("now")),
)
"""What the API writes, beside the register's topics."""

PUBLISH_S = 10.0
CONNECT_S = 3.0
_AGAIN_S = 1.0


class Connection:
    """Keeps the register able to write, and publishes.

    While Kafka is away there is no producer, so that whoever wants to write is told soon.
    """

    def __init__(self, settings: Settings, register: Register) -> None:
        self._settings = settings
        self._register = register
        self._failed = asyncio.Event()
        self._stopping: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def start(self) -> None:
        """Begins to connect; returns at once."""
        self._task = asyncio.create_task(self._run(), name="connection")

    async def stop(self) -> None:
        """Sends what is held, and ends."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._let_go()
        await asyncio.gather(*self._stopping)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Within it something is written; when that fails, the producer is made anew.

        Raises UnavailableError, with nothing written, when there is no producer for `CONNECT_S`.
        """
        await self.possible()
        try:
            yield
        except UnavailableError:
            self._failed.set()
            raise

    async def possible(self) -> None:
        """Returns when something can be written. Raises UnavailableError after `CONNECT_S`."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self.connected.wait()
        except TimeoutError:
            raise UnavailableError(
                f"nothing can be written while Kafka at {self._settings.kafka_bootstrap} is away"
            ) from None

    async def write(self, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """As `mailwake.kafka.write`. Raises UnavailableError."""
        async with self.writing():
            await write(self._register.producer, self._settings, topic, records)

    async def publish(self, sends: Sequence[Send], displays: Sequence[Display]) -> None:
        """As `mailwake.publish.publish`, within `PUBLISH_S`. Raises UnavailableError too when it
        takes longer; whether they are published is then unknown."""
        async with self.writing():
            producer = self._register.producer
            if producer is None:
                raise UnavailableError("Kafka went away just now")
            try:
                async with asyncio.timeout(PUBLISH_S):
                    await publish(producer, self._settings, sends, displays)
            except TimeoutError:
                raise UnavailableError(
                    f"Kafka at {self._settings.kafka_bootstrap} did not acknowledge in time"
                ) from None

    async def _run(self) -> None:
        told = False
        while True:
            try:
                await require_topics(self._settings, *TOPICS, *PUBLISHED)
                producer = await start_producer(self._settings, client_id="mailwake-api")
            except (MailwakeError, KafkaError) as error:
                if not told:
                    log.warning("nothing can be written now: %s", error)
                told = True
                await asyncio.sleep(_AGAIN_S)
                continue
            log.info("Kafka answers; what is told can be written")
            told = False
            self._failed.clear()
            self._register.producer = producer
            self.connected.set()
            await self._failed.wait()
            self._let_go()

    def _let_go(self) -> None:
        producer: AIOKafkaProducer | None = self._register.producer
        self._register.producer = None
        self.connected.clear()
        if producer is not None:
            task = asyncio.create_task(stop_client(producer))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
