"""`mailwake relay`: takes mail over SMTP, tracks it, and hands it to the next SMTP host."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket

from mailwake import metrics
from mailwake.keyring import read_keyring
from mailwake.register import Register
from mailwake.service import Status, run_service
from mailwake.settings import Settings
from mailwake_relay.delivered import Delivered
from mailwake_relay.logins import Logins
from mailwake_relay.next_host import NextHost
from mailwake_relay.relaying import Relaying
from mailwake_relay.sends import Sends
from mailwake_relay.server import Server

log = logging.getLogger("mailwake.relay")

START_S = 5.0


async def work(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    """Serves until `stop` is set; then ends the mails under way.

    Raises ConfigError for a file or port that cannot be used. Kafka and the next host may be away,
    also at the start.
    """
    # It logs each client's address and each command with its addresses.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    keyring = read_keyring(settings.keyring)
    logins = Logins(settings.relay_users)
    delivered = Delivered(settings.state / "relay")
    name = await asyncio.to_thread(socket.getfqdn)
    register = Register(settings)
    sends = Sends(settings, register)
    host = NextHost(settings, name)
    relaying = Relaying(settings, keyring, register, sends, host, delivered, name)
    server = Server(settings, name, relaying, host, logins)
    register.start()
    sends.start()
    metrics.RELAY_TRACKS.set_function(lambda: float(sends.ready and register.known))
    await _until_tracking(sends, register)
    address, port = await server.start()
    shown = f"[{address}]" if ":" in address else address
    log.info("mail on %s:%s%s", shown, port, "" if settings.relay_certificate else ", without TLS")
    status.ready = True
    await stop.wait()
    status.ready = False
    await server.stop()
    host.close()
    await sends.stop()
    await register.stop()
    delivered.close()
    logins.close()


async def _until_tracking(sends: Sends, register: Register) -> None:
    """Lets the first mails of a start be tracked too; Kafka is not waited for long."""
    clock = asyncio.get_running_loop().time
    end = clock() + START_S
    while not (sends.ready and register.known) and clock() < end:  # noqa: ASYNC110 - once
        await asyncio.sleep(0.05)


def main(argv: list[str]) -> int:
    """Runs the service; gives the exit status."""
    argparse.ArgumentParser(prog="mailwake relay", description=__doc__).parse_args(argv)
    return run_service("relay", work)
