"""How a service runs: settings, logs, signals, and where an operator looks.

Every service is one process that serves /health, /ready and /metrics beside its work, ends cleanly
on SIGTERM and SIGINT, and says in one line why it could not start.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import uvloop
from prometheus_client import make_wsgi_app

from mailwake.errors import ConfigError, MailwakeError
from mailwake.kafka_security import client_arguments, denied
from mailwake.logs import set_up_logs
from mailwake.settings import Settings, read_settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


@dataclass
class Status:
    """What a service says of itself; written by its work, read by the operator's port.

    Attributes:
        ready: it takes work now.
        leaving: it was told to end; for `MAILWAKE_DRAIN_S` it goes on, for who has not heard.
        progress_at: monotonic time of the last progress (a commit, or nothing left to do).
        stall_s: without progress for so many seconds it is unhealthy; 0 means never.
    """

    ready: bool = False
    leaving: bool = False
    stall_s: float = 0.0
    progress_at: float = field(default_factory=time.monotonic)

    def progressed(self) -> None:
        """Notes progress: something was committed, or there was nothing to do."""
        self.progress_at = time.monotonic()

    @property
    def healthy(self) -> bool:
        """Whether progress was made within `stall_s`."""
        return not self.stall_s or time.monotonic() - self.progress_at < self.stall_s

    @property
    def takes_work(self) -> bool:
        """What /ready answers: whether work is to be sent here."""
        return self.ready and self.healthy and not self.leaving


def serve_ops(settings: Settings, status: Status) -> int:
    """Serves /health, /ready and /metrics in a thread of its own; gives the port.

    Raises ConfigError when the port is taken.
    """
    metrics = make_wsgi_app()

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        answers = {"/health": status.healthy, "/ready": status.takes_work}
        answer = answers.get(environ["PATH_INFO"])
        if answer is None:
            pages: Iterable[bytes] = metrics(environ, start)
            return pages
        start("200 OK" if answer else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"yes\n" if answer else b"no\n"]

    try:
        server = make_server(settings.ops_host, settings.ops_port, app, _OpsServer, _QuietHandler)
    except OSError as error:
        raise ConfigError(
            f"Port {settings.ops_port} of {settings.ops_host} cannot be listened on "
            f"({error.strerror}); free it or set MAILWAKE_OPS_PORT"
        ) from None
    threading.Thread(target=server.serve_forever, name="ops", daemon=True).start()
    return server.server_port


class _OpsServer(ThreadingMixIn, WSGIServer):
    """A thread a connection: a client that sends nothing must not keep probes from an answer."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that went away or was too slow is not worth a traceback."""


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # seconds until a silent client is hung up on

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: probes are not worth a line each."""


Work = Callable[[Settings, Status, asyncio.Event], Awaitable[None]]
"""A service's work: `(settings, status, stop)`; it returns soon after `stop` is set."""


def run_service(name: str, work: Work) -> int:
    """Runs a service until it is told to stop, on uvloop's event loop; gives the exit status.

    A MailwakeError ends it with one line on stderr and the error's `exit_code`, and so does a right
    in Kafka that is missing or was taken away (`mailwake.kafka_security.denied`). Any other
    exception is a fault of ours: it is logged with its traceback and ends the process with 70, so
    that the orchestrator starts it again and Kafka redelivers.
    """
    log = logging.getLogger(f"mailwake.{name}")
    settings = Settings()
    try:
        settings = read_settings()
        set_up_logs(settings, name)
        client_arguments(settings)  # a file that cannot be used is told at once
        status = Status()
        port = serve_ops(settings, status)
        log.info("health, readiness and metrics on http://%s:%s", settings.ops_host, port)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_stopped(settings, status, work))
    except MailwakeError as error:
        print(f"mailwake {name}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        told = denied(settings, error)
        if told is None:
            log.exception("ended by an unexpected error")
            return 70
        print(f"mailwake {name}: {told}", file=sys.stderr)
        return told.exit_code
    return 0


async def _until_stopped(settings: Settings, status: Status, work: Work) -> None:
    """Works until a signal; then /ready says no first, and the end begins `drain_s` later, or when
    a second signal comes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if status.leaving or not settings.drain_s:
            stop.set()
        else:
            loop.call_later(settings.drain_s, stop.set)
        status.leaving = True

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, told)
    await work(settings, status, stop)
