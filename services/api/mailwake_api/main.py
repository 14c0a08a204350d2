"""`mailwake api`: the HTTP API, the web pages, and the page where recipients withdraw."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

from mailwake.clickhouse import secured_url
from mailwake.errors import UnavailableError
from mailwake.http_server import Server, configure, listen
from mailwake.keyring import read_keyring
from mailwake.mutes import Mutes
from mailwake.register import Register
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake.tracker import tracker_of
from mailwake.webhooks import Webhooks
from mailwake_api.app import make_app
from mailwake_api.bearer import Bearer
from mailwake_api.bell import Bell
from mailwake_api.call import Parts
from mailwake_api.connection import Connection
from mailwake_api.deliveries import Deliveries
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.erasing import Erasing
from mailwake_api.keys import KeyFile
from mailwake_api.locks import Locks
from mailwake_api.published import Published
from mailwake_api.reading import Reader
from mailwake_api.server import ANSWER_DEADLINE_S, Protocol
from mailwake_api.web.pages import PAGES
from mailwake_api.web.site import Site
from mailwake_api.withheld import Denials

log = logging.getLogger("mailwake.api")


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Serves until `stop` is set; then answers what is under way.

    Raises ConfigError for a key file that cannot be used, UnavailableError for a port that cannot
    be had. Kafka may be away, also at the start: until it answers, calls get 503. ClickHouse may be
    away too; then those calls get 503 that read from it.
    """
    keyring = read_keyring(settings.keyring)
    keys = KeyFile(settings.api_keys)
    tracker = tracker_of(settings, keyring)
    listener = listen("API", settings.api_host, settings.api_port)
    reader = Reader(secured_url(settings))
    register = Register(settings)
    connection = Connection(settings, register)
    bell = Bell(settings, register, connection)
    erasing = Erasing(settings, keyring, register, connection)
    mutes = Mutes(settings)
    webhooks, deliveries = Webhooks(settings), Deliveries(settings)
    bearer = Bearer(keys.current, audience=settings.api_audience, issuer=settings.api_issuer)
    parts = Parts(
        settings,
        status,
        keyring,
        tracker,
        register,
        connection,
        bearer,
        Locks(),
        Published(),
        reader,
        Denials(reader, register),
        bell,
        erasing,
        mutes,
        webhooks,
        deliveries,
    )
    app = make_app(ENDPOINTS, parts, Site(PAGES, parts).routes())
    server = Server(configure(app, Protocol, answer_deadline_s=ANSWER_DEADLINE_S))
    host, port = listener.getsockname()[:2]
    log.info("the API on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    async with contextlib.AsyncExitStack() as stack:
        # Each after those it works with; they stop in the opposite order, whatever fails.
        stack.push_async_callback(reader.stop)
        for part in (register, connection, erasing, bell, mutes, webhooks, deliveries):
            part.start()
            stack.push_async_callback(part.stop)
        getting_ready = asyncio.create_task(_get_ready(parts))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        getting_ready.cancel()
        status.ready = False
        bell.close()
        server.should_exit = True
        await serving


async def _get_ready(parts: Parts) -> None:
    """Says so when everything is known that may be asked, and can be written."""
    await parts.connection.connected.wait()
    while not parts.status.ready:
        with contextlib.suppress(UnavailableError):
            await parts.bell.current(60)  # which needs the register
            await parts.mutes.current(60)
            await parts.webhooks.current(60)
            parts.status.ready = True


def main(argv: list[str]) -> int:
    """Runs the service; gives the exit status."""
    argparse.ArgumentParser(prog="mailwake api", description=__doc__).parse_args(argv)
    return run_service("api", work)
