"""Faust's transport: how it proves who it is, and a consumer that asks Kafka again soon.

Faust has a broker hold a request for records for 1.5 s when it has none of those partitions that
are asked for. While hits lie in the consumer's buffers their partitions are not asked for, so under
load a request often names nothing but the quiet partitions of other topics; and until it comes back
no further hit is fetched. With Faust's wait a hit took 1.5 s to its event at 1,000 hits a second.

Records of changelogs leave here for the table (mailwake_enricher.recovery), those of all other
topics for Faust's streams.
"""

from __future__ import annotations

from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.auth import CredentialsT

from mailwake.kafka import FETCH_WAIT_MS
from mailwake.kafka_security import client_arguments
from mailwake.settings import Settings
from mailwake_enricher.recovery import Tables


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        """What was fetched for the streams; what was fetched of changelogs is recovered at once.

        As in Faust's `getmany`, nothing is taken that was fetched before the group was shared out
        anew, or while the flow stood still: Faust then seeks back to what is stored.
        """
        generation = self.app.consumer_generation_id
        fetched, active = await super()._wait_next_records(timeout)
        recovery = cast(Tables, self.app.tables).recovery
        rest: dict[TP, list[Any]] = {}
        for tp, records in (fetched or {}).items():
            if not recovery.takes(tp.topic):
                rest[tp] = records
            elif self.flow_active and self.app.consumer_generation_id == generation:
                recovery.take(TP(tp.topic, tp.partition), records)
        return rest, active


class Transport(driver.Transport):
    """The transport of an app's consumer."""

    Consumer = _Consumer


def set_transport(app: faust.App) -> None:
    """Has an app that is not started read through it."""
    app.transport = Transport(app.conf.broker_consumer, app)


def credentials(settings: Settings) -> CredentialsT | None:
    """How Faust's own clients prove who they are: just as all others (`client_arguments`)."""
    known = client_arguments(settings)
    context = known.get("ssl_context")
    if "sasl_mechanism" in known:
        return faust.SASLCredentials(
            username=known["sasl_plain_username"],
            password=known["sasl_plain_password"],
            mechanism=known["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None
