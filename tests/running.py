"""Runs the services as the real processes they are, for tests that kill them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from mailwake.rights import USER_PREFIX
from mailwake.settings import Settings, to_environ
from mailwake_local.kafka_users import ADMIN
from mailwake_local.ports import free_port


def without_settings() -> dict[str, str]:
    """The environment of a person who has set nothing of ours."""
    ours = ("MAILWAKE_", "KAFKA_", "CLICKHOUSE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def wait_until(what: str, holds: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until something holds; fails the test, naming it, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def as_user(settings: Settings, name: str) -> Settings:
    """The settings of the user `mailwake-NAME`, where they name the admin of a Kafka that asks who
    comes; the password lies beside the admin's."""
    if settings.kafka_user != ADMIN or settings.kafka_password_file is None:
        return settings
    user = USER_PREFIX + name
    password = settings.kafka_password_file.with_name(f"{user}.password")
    return replace(settings, kafka_user=user, kafka_password_file=password)


class Service:
    """One service process; as a context manager it is ready inside and gone after.

    `settings` is what it is given, save that on a Kafka that asks who comes it comes as itself
    where they name the admin; its ops port is chosen here, and its state folder when they name
    none: the log's name with `.state`. Its log is kept in `log`. `environ` is added to its
    environment.
    """

    def __init__(
        self, name: str, settings: Settings, log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self.ops_port = free_port()
        settings = replace(as_user(settings, name), ops_port=self.ops_port)
        if settings.state == Settings().state:
            settings = replace(settings, state=log.with_suffix(".state"))
        self._environ = os.environ | to_environ(settings) | dict(environ or {})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Starts it, and waits until it says that it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mailwake.cli", self.name],
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Waits until it says that it is ready; fails with its log when it ends instead."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (
                f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
            )
            return self.ask("/ready")

        wait_until(f"{self.name} ready (see {self.log})", ready, 90)

    def ask(self, path: str) -> bool:
        """What /ready or /health answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> list[str]:
        """What it tells Prometheus, by lines."""
        url = f"http://127.0.0.1:{self.ops_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as page:
            lines: list[str] = page.read().decode().splitlines()
        return lines

    def metric(self, name: str) -> float:
        """One of its metrics, with these labels or, when none are named, summed over them."""
        shown = self.metrics()
        kind = f"# TYPE {name.partition('{')[0]} "
        assert any(line.startswith(kind) for line in shown), f"no metric {name}"
        found = [line for line in shown if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def memory(self) -> int:
        """Its resident memory in KiB."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> int:
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signum)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not stop within 30 s") from None
        finally:
            self.process = None

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


@contextlib.contextmanager
def standing_still(pid: int | None) -> Iterator[None]:
    """A process of this one's, Kafka or a service, that does nothing inside and goes on after.

    SIGSTOP returns before the process stands: on a busy machine its threads were seen to run on
    for 18 ms, time enough to answer. The kernel tells its parent when all of them stand.
    """
    assert pid is not None, "it is started"
    os.kill(pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def running(*services: Service) -> Iterator[None]:
    """Several services, started side by side, ready inside, gone after."""
    try:
        for service in services:
            service.start(wait=False)
        for service in services:
            service.wait_ready()
        yield
    finally:
        for service in services:
            service.kill()
