"""`mailwake edge`: answers pixels and links, and publishes the hits to Kafka."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
from functools import partial

from aiokafka import AIOKafkaProducer

from mailwake.http_server import listen
from mailwake.kafka import require_topics, start_producer
from mailwake.keyring import read_keyring
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake.tracing import start_tracing
from mailwake_edge.app import Edge, rest
from mailwake_edge.asn import AsnFile
from mailwake_edge.client import Clients, unknown
from mailwake_edge.publisher import Publisher
from mailwake_edge.segments import Folder
from mailwake_edge.server import Server
from mailwake_edge.spool import Spool
from mailwake_edge.withdrawn import Withdrawn

log = logging.getLogger("mailwake.edge")


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Serves until `stop` is set; then answers what is under way and sends what is held.

    Raises ConfigError for a key file or an ASN file that cannot be used, UnavailableError for a
    port that cannot be had. Kafka may be away, also at the start; it then takes some seconds until
    it is ready, and hits are kept without what identifies anybody until the consents are known.
    """
    keyring = read_keyring(settings.keyring)
    asn_file = AsnFile(settings.asn_file) if settings.asn_file else None
    listener = listen("edge", settings.edge_host, settings.edge_port)
    spool = Spool(
        Folder(settings.state / "spool"),
        most_bytes=settings.edge_spool_mb * 1024 * 1024,
        strict=settings.edge_durability == "strict",
    )
    tracing = start_tracing(settings, "edge")
    publisher = Publisher(settings, partial(connect, settings), spool, tracing)
    withdrawn = Withdrawn(settings)
    clients = Clients(settings.trusted_proxies, asn_file.number if asn_file else unknown)
    domains = {each.host: each.tenant for each in settings.tracking_domains}
    edge = Edge(keyring.open, publisher.put, clients, withdrawn, rest(status), domains=domains)
    # Requests leave nothing for the garbage collector to find, and Python's own threshold, 700, has
    # it look every 30 of them. What stands at the start is never garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    server = Server(edge, status, lambda: withdrawn.settled)
    host, port = listener.getsockname()[:2]
    log.info("pixels and links on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    publisher.start()
    withdrawn.follower.start()
    renewing = asyncio.create_task(asn_file.follow()) if asn_file else None
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    try:
        await serving
    finally:
        if renewing is not None:
            renewing.cancel()
        await asyncio.gather(publisher.stop(), withdrawn.follower.stop())
        tracing.stop()


async def connect(settings: Settings) -> AIOKafkaProducer:
    """A started producer, once the topic is there. Raises UnavailableError."""
    await require_topics(settings, "hits")
    # No linger: the publisher has its own.
    return await start_producer(
        settings, client_id="mailwake-edge", linger_ms=0, compression="zstd"
    )


def main(argv: list[str]) -> int:
    """Runs the service; gives the exit status."""
    argparse.ArgumentParser(prog="mailwake edge", description=__doc__).parse_args(argv)
    return run_service("edge", work)
