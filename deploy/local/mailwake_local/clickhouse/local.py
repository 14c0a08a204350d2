"""The local ClickHouse as a process of its own, started and stopped from Python."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from mailwake.errors import ConfigError, UnavailableError
from mailwake_local.process import start_bound

HOST = "127.0.0.1"
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0

_LAST_LINES = 5


class LocalClickHouse:
    """One listener that keeps its data in a folder; start, stop and start again at will.

    All calls block. After `start` returns, clients can use `url`. The process ends with this one,
    however that ends (see `mailwake_local.process`).

    Attributes:
        data: the folder.
        port: where clients connect; 0 until the first start when a free one was asked for.
        password: of the user ``default``; made up when none was given.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        password: str | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """Names the parts; nothing is started or written yet.

        Args:
            data: folder for data and the log; made when missing, kept over restarts.
            port: where clients connect; 0 takes a free one at the first start, then keeps it.
            password: of the user ``default``.
            certificate: chain and key (PEM) for 127.0.0.1; with them it speaks TLS.
        """
        if not 0 <= port <= 65535:
            raise ConfigError(f"ClickHouse port {port}: a port is 1 to 65535, or 0 for a free one")
        self.data = data.absolute()
        self.port = port
        self.password = secrets.token_urlsafe(16) if password is None else password
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """The address for clients, with the password; known once started."""
        scheme = "clickhouses" if self._certificate else "clickhouse"
        return f"{scheme}://default:{quote(self.password, safe='')}@{HOST}:{self.port}/default"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def log(self) -> Path:
        """The file it logs to."""
        return self.data / "clickhouse.log"

    def start(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Starts the listener and waits until it answers clients.

        Raises:
            UnavailableError: the folder or the port is in use, or it ended or did not answer
                within `deadline_s` seconds; nothing is left running.
        """
        if self.pid is not None:
            raise RuntimeError("this ClickHouse runs already")
        command = [sys.executable, "-m", "mailwake_local.clickhouse", "--data", str(self.data)]
        command += ["--port", str(self.port), "--host", HOST]
        if self._certificate:
            chain, key = self._certificate
            command += ["--certificate", str(chain), "--key", str(key)]
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            # Appended to: it may be the log of another process that has the folder.
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = start_bound(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, "CLICKHOUSE_PASSWORD": self.password},
                )
        except OSError as error:
            raise UnavailableError(f"ClickHouse cannot be started: {error}") from error
        line = self._first_line(self._process, deadline_s)
        if not line.startswith("ready "):
            self.kill()
            raise UnavailableError(f"ClickHouse did not start{self._last_words()}")
        self.port = int(line.rpartition(":")[2])

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Asks it to end (SIGTERM; running queries may finish) and kills it after `deadline_s` s.

        Nothing happens when it is not running.
        """
        if self._process:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(deadline_s)
        self.kill()

    def kill(self) -> None:
        """Ends it at once (SIGKILL), as a crash would; what was acknowledged stays."""
        if self._process:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def wait(self) -> None:
        """Blocks until it ends by itself, which it should not.

        Raises:
            UnavailableError: always, with its last words.
        """
        if self._process is None:
            raise RuntimeError("this ClickHouse is not running")
        status = self._process.wait()
        raise UnavailableError(f"ClickHouse ended with status {status}{self._last_words()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _first_line(self, process: subprocess.Popen[bytes], deadline_s: float) -> str:
        """What it says first, or nothing when it ends or is too slow."""
        assert process.stdout is not None  # noqa: S101
        timer = threading.Timer(deadline_s, self._give_up, (process, deadline_s))
        timer.start()
        try:
            return process.stdout.readline().decode(errors="replace").strip()
        finally:
            timer.cancel()

    def _give_up(self, process: subprocess.Popen[bytes], deadline_s: float) -> None:
        with self.log.open("a") as log:
            log.write(f"it did not answer within {deadline_s:g} s\n")
        process.kill()

    def _last_words(self) -> str:
        try:
            lines = self.log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        except OSError:
            return ""
        words = [line for line in lines if line.strip()]
        return ": " + " | ".join(words[-_LAST_LINES:]) if words else ""
