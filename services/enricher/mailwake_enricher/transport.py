"""Faust's transport: how it proves who it is, and a consumer that asks Kafka again soon.

Faust has a broker hold a request for records for 1.5 s when it has none of those partitions that
are asked for. While hits lie in the consumer's buffers their partitions are not asked for, so under
load a request often names nothing but the quiet partitions of other topics; and until it comes back
no further hit is fetched. With Faust's wait a hit took 1.5 s to its event at 1,000 hits a second.
"""

from __future__ import annotations

from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import CredentialsT

from mailwake.kafka import FETCH_WAIT_MS
from mailwake.kafka_security import client_arguments
from mailwake.settings import Settings


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


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
