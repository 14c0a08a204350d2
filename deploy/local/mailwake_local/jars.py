"""The jars of the local Kafka: fetched once by pip-installed `jgo`, pinned, then used offline.

`kafka-jars.lock` beside this file pins every jar, one a line: SHA-256, size in bytes, Maven
coordinate (`group:artifact:version`). A start with a verified cache touches no network.

To move to another Kafka: change `KAFKA_VERSION`, then `python -m mailwake_local.jars --relock`,
and read the difference before you commit it.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mailwake.errors import MailwakeError, UnavailableError
from mailwake_local.process import is_alive

KAFKA_VERSION = "4.4.0"
LOCK = Path(__file__).with_name("kafka-jars.lock")

ROOT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka logs through slf4j 1.7 and brings log4j 2; this binds them, in Kafka's version of log4j. It
# is added by itself, not resolved beside ROOT: jgo takes every root for a bill of materials, and
# log4j's would move Kafka's own clients back to 3.9.
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
# Kafka's own commands, such as kafka-acls.sh; all they need Kafka has.
TOOLS = f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
_FETCHERS = 4
_TIMEOUT_S = 30
_TELL_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: its digest (hex), its size in bytes and its Maven coordinate."""

    sha256: str
    size: int
    coordinate: str

    @property
    def file_name(self) -> str:
        """The name it has in the cache folder and on the class path."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is: jars verified and bytes received, of how many.

    `ended` is set once, the last time, whether all came or not.
    """

    jars: int
    jars_total: int
    bytes: int
    bytes_total: int
    ended: bool = False

    def __str__(self) -> str:
        return (
            f"Fetching Kafka {KAFKA_VERSION}: {self.jars} of {self.jars_total} jars, "
            f"{self.bytes / 1e6:.0f} of {self.bytes_total / 1e6:.0f} MB"
        )


def default_cache() -> Path:
    """The folder fetched things are kept in: `$XDG_CACHE_HOME/mailwake` or `~/.cache/mailwake`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mailwake"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """The pinned jars in the order of the class path.

    Raises:
        UnavailableError: the file cannot be read or a line of it is not `sha256 size coordinate`.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}; reinstall mailwake") from error
    jars = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        match line.split():
            case [sha256, size, coordinate] if (
                len(sha256) == 64 and size.isdecimal() and coordinate.count(":") == 2
            ):
                jars.append(Jar(sha256, int(size), coordinate))
            case _:
                raise UnavailableError(
                    f"{path}, line {number}: not 'sha256 size group:artifact:version'; "
                    "reinstall mailwake"
                )
    return jars


def fetch(
    cache: Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    lock: Path = LOCK,
) -> list[Path]:
    """The class path of Kafka: every pinned jar, verified, in `cache`.

    Jars that are missing or wrong are fetched again; each stands in its place only once its digest
    is right, so an interrupted fetch goes on where it stopped and several may run at a time. With
    all jars there it costs one hashing of 50 MB (under 0.1 s) and no network.

    Args:
        cache: folder that fetched things are kept in; made when missing.
        progress: called from this thread while something is fetched; see `Progress`.
        lock: the file that pins the jars.

    Raises:
        UnavailableError: no network, a jar is not what the lock says, or the cache cannot be
            written.
    """
    jars = read_lock(lock)
    folder = cache / f"kafka-{KAFKA_VERSION}"
    try:
        missing = [jar for jar in jars if not is_right(folder / jar.file_name, jar)]
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(missing, folder, progress)
    except OSError as error:
        raise UnavailableError(
            f"cannot keep Kafka's jars in {folder}: {error.strerror or error}; set XDG_CACHE_HOME "
            "to a folder that can be written"
        ) from error
    return [folder / jar.file_name for jar in jars]


def is_right(path: Path, jar: Jar) -> bool:
    """Whether the file at `path` is there and is exactly `jar`."""
    try:
        if path.stat().st_size != jar.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def relock(lock: Path = LOCK) -> list[Jar]:
    """Resolves `ROOT` and all it needs at run time, and writes their digests, and those of
    `LOG_BINDING` and `TOOLS`, to `lock`.

    Fetches every jar from the network; what comes is trusted, so read the difference.
    """
    with tempfile.TemporaryDirectory() as staging:
        context = _maven(Path(staging))
        besides = [context.create_dependency(each) for each in (LOG_BINDING, TOOLS)]
        roots, needed = context.resolver.resolve([context.create_dependency(ROOT)])
        needed = [dependency for dependency in needed if dependency.scope in ("compile", "runtime")]
        artifacts = [dependency.artifact for dependency in [*roots, *needed, *besides]]
        jars = []
        for artifact in artifacts:
            content = artifact.resolve().read_bytes()
            coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            jars.append(Jar(hashlib.sha256(content).hexdigest(), len(content), coordinate))
    jars.sort(key=lambda jar: jar.coordinate)
    head = "# Written by `python -m mailwake_local.jars --relock`: sha256, bytes, coordinate.\n"
    lock.write_text(head + "".join(f"{j.sha256} {j.size} {j.coordinate}\n" for j in jars), "utf-8")
    return jars


def _maven(repository: Path, received: Callable[[int], None] | None = None) -> Any:
    """jgo's resolver in pure Python, which needs no Java; `received` hears of each chunk."""
    # Imported here because a start with a full cache needs none of it.
    from contextlib import contextmanager

    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def report(name: str, size: int) -> Any:
        yield received

    return MavenContext(
        resolver=PythonResolver(progress_callback=report if received else None),
        repo_cache=repository,
        timeout=_TIMEOUT_S,
    )


def _fetch(
    missing: Sequence[Jar], folder: Path, progress: Callable[[Progress], None] | None
) -> None:
    received: list[int] = []  # sizes of chunks; a list's append is atomic between threads
    total = sum(jar.size for jar in missing)
    done = 0

    def tell(ended: bool = False) -> None:
        if progress:
            progress(Progress(done, len(missing), sum(received), total, ended))

    for left in folder.glob("fetching-*"):
        if not is_alive(left.name.split("-")[1]):
            shutil.rmtree(left, ignore_errors=True)
    # Inside `folder`, so that the verified jar is moved within one file system.
    staging = Path(tempfile.mkdtemp(prefix=f"fetching-{os.getpid()}-", dir=folder))
    pool = ThreadPoolExecutor(_FETCHERS)
    try:
        tell()
        context = _maven(staging, received.append)
        pending = {pool.submit(_fetch_one, context, jar, folder) for jar in missing}
        while pending:
            ready, pending = wait(pending, timeout=_TELL_EVERY_S, return_when=FIRST_COMPLETED)
            for future in ready:
                future.result()
            done += len(ready)
            tell()
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(staging, ignore_errors=True)
        tell(ended=True)


def _fetch_one(context: Any, jar: Jar, folder: Path) -> None:
    try:
        path: Path = context.create_dependency(jar.coordinate).artifact.resolve()
    except Exception as error:  # jgo and requests raise what they like
        raise UnavailableError(
            f"cannot fetch {jar.coordinate}: {_first_line(error)}; Kafka is fetched once, at the "
            "first start, and needs the network for it; or name an installed Kafka with KAFKA_HOME"
        ) from error
    if not is_right(path, jar):
        path.unlink()
        raise UnavailableError(
            f"{jar.file_name}, as fetched, is not the file that mailwake was built with (its "
            "SHA-256 differs), so it was thrown away; try again, and look at the proxy or mirror "
            "in between if it stays"
        )
    path.replace(folder / jar.file_name)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def show(stream: TextIO | None = None) -> Callable[[Progress], None]:
    """A `progress` that keeps one tidy line on `stream` (standard error).

    On a terminal the line is rewritten in place; elsewhere the first and the last are written, and
    one a second between them (`mailwake up` shows the last line of the log).
    """
    out = stream or sys.stderr
    told_at = float("-inf")

    def on_progress(progress: Progress) -> None:
        nonlocal told_at
        if out.isatty():
            print(f"\r{progress}", end="\n" if progress.ended else "", file=out, flush=True)
        elif progress.ended or time.monotonic() - told_at > 1:
            print(progress, file=out, flush=True)
            told_at = time.monotonic()

    return on_progress


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches the jars ahead of the first start, or pins them anew."""
    parser = argparse.ArgumentParser(prog="python -m mailwake_local.jars", description=main.__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--relock", action="store_true", help="resolve anew and write the lock")
    arguments = parser.parse_args(argv)
    try:
        if arguments.relock:
            print(f"{len(relock())} jars pinned in {LOCK}")
        else:
            paths = fetch(arguments.cache, progress=show())
            print(f"{len(paths)} jars in {paths[0].parent}")
    except MailwakeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
