"""One supervised process: started, probed until it is ready, stopped, with its words in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailwake.errors import UnavailableError
from mailwake_local.process import start_bound

POLL_S = 0.05
PROBE_TIMEOUT_S = 2.0
MAX_LOG_BYTES = 10_000_000
_LAST_LINES = 6

Probe = Callable[["Child"], Awaitable[bool]]
"""Whether a child is ready now; called again and again from its start on."""


@dataclass(frozen=True)
class Ended:
    """What is left of a process: its status (negative: the signal's number) and last lines."""

    status: int
    lines: list[str]

    def __str__(self) -> str:
        if self.status >= 0:
            return f"ended with status {self.status}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-self.status).name}"
        return f"was ended by signal {-self.status}"


class Child:
    """A process in a group of its own that cannot outlive this one (`mailwake_local.process`)."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        inherited: Sequence[int] = (),
    ) -> None:
        """Nothing is started yet.

        Args:
            name: what people call it.
            argv: the program and its arguments.
            environ: its whole environment.
            log: what it says on standard output and error is appended here.
            inherited: file descriptors it shall hold as long as it lives.
        """
        self.name = name
        self.log = log
        self._argv = argv
        self._environ = environ
        self._inherited = inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self._asked = False

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.poll()

    def start(self) -> None:
        """Starts it (again). Raises UnavailableError when the program cannot be started."""
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        with self.log.open("ab") as log:
            os.chmod(self.log, 0o600)  # noqa: PTH101 (by its own words, before any is said)
            self._log_from = log.tell()
            self._asked = False
            try:
                self._process = start_bound(
                    self._argv,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environ,
                    pass_fds=self._inherited,
                )
            except OSError as error:
                raise UnavailableError(f"{self.name} cannot be started: {error}") from None

    async def until_ready(self, probe: Probe, deadline_s: float) -> Ended | None:
        """Waits until `probe` says yes; gives None then, or what is left of it when it ended.

        Raises UnavailableError after `deadline_s` seconds; it still runs then.
        """
        deadline = time.monotonic() + deadline_s
        while True:
            # Looked at first: a process that did its work and ended is probed once more.
            ended = self.status is not None
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(probe(self), PROBE_TIMEOUT_S):
                    return None
            if ended:
                return self.ended()
            if time.monotonic() > deadline:
                raise UnavailableError(f"{self.name} was not ready within {deadline_s:.0f} s")
            await asyncio.sleep(POLL_S)

    async def until_ended(self) -> Ended:
        """Waits until it ends, by itself or told to."""
        while self.status is None:  # noqa: ASYNC110 (the thread that waits has no loop)
            await asyncio.sleep(4 * POLL_S)
        return self.ended()

    def ended(self) -> Ended:
        """What is left of it, once it has ended."""
        return Ended(self.status if self.status is not None else 0, self.said()[-_LAST_LINES:])

    def said(self) -> list[str]:
        """The lines it has said since its start that are not empty."""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            text = log.read(MAX_LOG_BYTES).decode("utf-8", "replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    async def stop(self, deadline_s: float) -> bool:
        """Asks it to end (SIGTERM), kills it after `deadline_s` seconds; gives whether it obeyed.

        When this returns it is gone. Nothing happens when it does not run.
        """
        if self._process is None or self._process.poll() is not None:
            return True
        self.ask()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.until_ended(), deadline_s)
            return True
        self.kill()
        await self.until_ended()
        return False

    def ask(self) -> None:
        """Asks it to end (SIGTERM), once: a second signal could disturb it in ending well."""
        if self._process is not None and not self._asked:
            self._asked = True
            self._process.terminate()

    def kill(self) -> None:
        """Ends it and its process group at once (SIGKILL)."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


async def has_said_ready(child: Child) -> bool:
    """It has said a line `ready ADDRESS`, as Kafka's and ClickHouse's processes do."""
    return any(line.startswith("ready ") for line in child.said())


async def has_done_its_work(child: Child) -> bool:
    """It has ended well, as a job does."""
    return child.status == 0


def answers_ready(host: str, port: int) -> Probe:
    """Its /ready answers yes on that address, as every service's does."""

    async def probe(child: Child) -> bool:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        try:
            writer.write(b"GET /ready HTTP/1.0\r\n\r\n")
            return b" 200 " in await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()

    return probe
