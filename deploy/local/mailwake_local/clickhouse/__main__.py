"""Runs the listener: ``python -m mailwake_local.clickhouse --data DIR --port 9000``.

The password of user ``default`` comes from the environment variable CLICKHOUSE_PASSWORD. When it
answers, one line ``ready HOST:PORT`` goes to standard output; the log goes to standard error.
SIGTERM and SIGINT stop it.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from mailwake.errors import ConfigError, MailwakeError, UnavailableError

if TYPE_CHECKING:
    from .server import Listener

_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the listener until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mailwake_local.clickhouse")
    parser.add_argument("--data", type=Path, required=True, help="folder that keeps the data")
    parser.add_argument("--port", type=int, default=9000, help="port, 0 for any free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--die-with-parent", action="store_true", help="stop when the starting process ends (Linux)"
    )
    parser.add_argument("--certificate", type=Path, help="chain (PEM): with it TLS is spoken")
    parser.add_argument("--key", type=Path, help="the certificate's key (PEM)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        if options.die_with_parent:
            _die_with_parent()
        password = os.environ.pop("CLICKHOUSE_PASSWORD", "")
        # As a server in a container has it, whatever the machine's zone: DateTime means the same.
        # The engine looks at it once, when it is loaded.
        os.environ["TZ"] = "UTC"
        from .server import Listener

        tls = _tls(options.certificate, options.key) if options.certificate else None
        listener = Listener(options.data, options.host, options.port, password, tls)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(listener))
    except MailwakeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _tls(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # an SSLError is one too
        raise ConfigError(f"{certificate}, {key}: no certificate with its key: {error}") from None
    return context


async def _run(listener: Listener) -> None:
    await listener.start()
    # Set after the engine has started, so that its own handlers do not replace these.
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"ready {listener.host}:{listener.port}", flush=True)
    await stop.wait()
    if not await listener.stop():
        # Threads in the engine would keep Python from ending. What was acknowledged is on disk.
        log.warning("a query cannot be ended; leaving it")
        os._exit(0)


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent ends, however it ends."""
    if not sys.platform.startswith("linux"):
        raise UnavailableError("--die-with-parent works on Linux only: leave it out")
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise UnavailableError("the starting process ended before the listener began")


if __name__ == "__main__":
    sys.exit(main())
