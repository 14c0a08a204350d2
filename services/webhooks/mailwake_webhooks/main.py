"""`mailwake webhooks`: posts alerts to the webhooks that want them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

from mailwake.errors import UnavailableError
from mailwake.kafka import require_topics, start_consumer, start_producer, stop_client
from mailwake.keyring import read_keyring
from mailwake.register import FOLLOWED, Register
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake.webhook import LANES, lane_topic
from mailwake.webhooks import Webhooks
from mailwake_webhooks.courier import Courier
from mailwake_webhooks.pace import MOST
from mailwake_webhooks.post import Poster
from mailwake_webhooks.resolve import Resolver
from mailwake_webhooks.successes import Successes

GROUP = "webhooks"
STALL_S = 120
"""Without a commit for so long, though there is something to do, it is unhealthy."""

SESSION_MS = 6_000
"""How long what a killed process had read waits for another: the least that brokers allow."""


def main(argv: list[str]) -> int:
    """Runs the service; gives the exit status."""
    argparse.ArgumentParser(prog="mailwake webhooks", description=__doc__).parse_args(argv)
    return run_service("webhooks", work)


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Delivers until `stop` is set.

    Raises ConfigError for a key file that cannot be used, UnavailableError when Kafka or a topic is
    not there at the start.
    """
    # At level debug it writes the headers of answers, which are nobody's to read here.
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    keyring = read_keyring(settings.keyring)
    lanes = map(lane_topic, LANES)
    await require_topics(settings, "alerts", "webhooks", "webhook_deliveries", *lanes, *FOLLOWED)
    async with contextlib.AsyncExitStack() as stack:
        poster = Poster(
            Resolver(settings.webhook_networks),
            timeout_s=settings.webhook_timeout_s,
            most_connections=MOST,
        )
        stack.push_async_callback(poster.stop)
        producer = await start_producer(settings, client_id="mailwake-webhooks")
        stack.push_async_callback(stop_client, producer)
        webhooks, register, successes = Webhooks(settings), Register(settings), Successes(settings)
        for part in (webhooks, register, successes):
            part.start()
            stack.push_async_callback(part.stop)
        if not await _known(webhooks, register, stop):
            return
        consumer = await start_consumer(
            settings,
            client_id="mailwake-webhooks",
            group=GROUP,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
        )
        stack.push_async_callback(stop_client, consumer)
        courier = Courier(
            settings, status, consumer, producer, keyring, webhooks, register, successes, poster
        )
        consumer.subscribe(courier.topics, listener=courier)
        status.stall_s = STALL_S
        await courier.run(stop)


async def _known(webhooks: Webhooks, register: Register, stop: asyncio.Event) -> bool:
    """Waits until webhooks and consents are known; gives whether it was not stopped before."""
    while not stop.is_set():
        with contextlib.suppress(UnavailableError):
            await asyncio.gather(webhooks.current(), register.current())
            return True
    return False
