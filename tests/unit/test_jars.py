"""The pinned jars: the lock is read strictly, wrong files never count, a full cache is enough."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from jgo.maven import MavenContext

from mailwake.errors import UnavailableError
from mailwake_local import jars

CONTENT = {"one": b"the first jar", "two": b"the second, a longer jar"}

Maven = Callable[..., MavenContext]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock of two jars."""
    path = tmp_path / "jars.lock"
    path.write_text(
        "# a comment\n"
        + "".join(
            f"{hashlib.sha256(content).hexdigest()} {len(content)} org.example:{name}:1.0\n"
            for name, content in CONTENT.items()
        )
    )
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository on disk that jgo resolves from, in place of the network."""
    root = tmp_path / "repository"
    for name, content in CONTENT.items():
        folder = root / "org" / "example" / name / "1.0"
        folder.mkdir(parents=True)
        (folder / f"{name}-1.0.jar").write_bytes(content)

    def maven(staging: Path, received: Callable[[int], None] | None = None) -> MavenContext:
        return MavenContext(repo_cache=root, offline=True)

    monkeypatch.setattr(jars, "_maven", maven)
    return root


def test_the_lock_in_the_package_is_whole() -> None:
    pinned = jars.read_lock()
    names = [jar.file_name for jar in pinned]
    assert len(set(names)) == len(names)
    assert {f"kafka_2.13-{jars.KAFKA_VERSION}.jar", f"kafka-clients-{jars.KAFKA_VERSION}.jar"} <= (
        set(names)
    )
    # The binding must be of the very log4j that Kafka brings.
    versions = {jar.coordinate.split(":")[2] for jar in pinned if ":log4j-" in jar.coordinate}
    assert len(versions) == 1


@pytest.mark.parametrize(
    "line",
    ["abc 5 org.example:one:1.0", f"{'0' * 64} many org.example:one:1.0", f"{'0' * 64} 5 one-1.0"],
)
def test_a_wrong_line_is_named(lock: Path, line: str) -> None:
    lock.write_text(lock.read_text() + line + "\n")
    with pytest.raises(UnavailableError, match="line 4"):
        jars.read_lock(lock)


def test_a_missing_lock_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        jars.read_lock(tmp_path / "none")


def test_fetches_what_is_missing_and_shows_how_far(
    tmp_path: Path, lock: Path, repository: Path
) -> None:
    seen: list[jars.Progress] = []
    paths = jars.fetch(tmp_path / "cache", progress=seen.append, lock=lock)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert (seen[0].jars, seen[-1].jars, seen[-1].jars_total) == (0, 2, 2)
    assert [progress.ended for progress in seen] == [False] * (len(seen) - 1) + [True]
    assert {progress.bytes_total for progress in seen} == {37}
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["one-1.0.jar", "two-1.0.jar"]


def test_a_verified_cache_needs_no_network(
    tmp_path: Path,
    lock: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    socket_disabled: None,
) -> None:
    first = jars.fetch(tmp_path / "cache", lock=lock)

    def refuse(*_: object) -> None:
        raise AssertionError("the resolver was asked")

    monkeypatch.setattr(jars, "_maven", refuse)
    seen: list[jars.Progress] = []
    assert jars.fetch(tmp_path / "cache", progress=seen.append, lock=lock) == first
    assert seen == []


def test_a_wrong_file_in_the_cache_is_fetched_again(
    tmp_path: Path, lock: Path, repository: Path
) -> None:
    folder = tmp_path / "cache" / f"kafka-{jars.KAFKA_VERSION}"
    (folder / "fetching-0x-killed").mkdir(parents=True)  # left by a fetch that was killed
    (folder / "one-1.0.jar").write_bytes(CONTENT["one"][:5])  # cut off
    (folder / "two-1.0.jar").write_bytes(CONTENT["two"].upper())  # same size, other bytes
    paths = jars.fetch(tmp_path / "cache", lock=lock)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert sorted(folder.iterdir()) == sorted(paths)


def test_a_mismatch_is_refused_and_thrown_away(
    tmp_path: Path, lock: Path, repository: Path
) -> None:
    fetched = repository / "org" / "example" / "two" / "1.0" / "two-1.0.jar"
    fetched.write_bytes(b"something else altogether")
    seen: list[jars.Progress] = []
    with pytest.raises(UnavailableError, match=r"two-1\.0\.jar.*SHA-256"):
        jars.fetch(tmp_path / "cache", progress=seen.append, lock=lock)
    assert seen[-1].ended
    assert seen[-1].jars < 2
    assert not fetched.exists()
    assert "two-1.0.jar" not in {path.name for path in (tmp_path / "cache").rglob("*")}


def test_without_a_network_it_says_what_to_do(
    tmp_path: Path, lock: Path, socket_disabled: None
) -> None:
    with pytest.raises(UnavailableError, match=r"cannot fetch org\.example:.*KAFKA_HOME") as caught:
        jars.fetch(tmp_path / "cache", lock=lock)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").rglob("fetching-*")) == []


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, lock: Path, repository: Path
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(UnavailableError, match="XDG_CACHE_HOME"):
        jars.fetch(tmp_path / "cache", lock=lock)


def test_progress_is_one_line_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    show = jars.show(out)
    for done in range(3):
        show(jars.Progress(done, 2, done * 10_000_000, 20_000_000, ended=done == 2))
    assert out.getvalue().splitlines() == [
        f"Fetching Kafka {jars.KAFKA_VERSION}: 0 of 2 jars, 0 of 20 MB",
        f"Fetching Kafka {jars.KAFKA_VERSION}: 2 of 2 jars, 20 of 20 MB",
    ]


def test_the_cache_is_where_the_desktop_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert jars.default_cache() == Path("/elsewhere/mailwake")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jars.default_cache() == Path.home() / ".cache" / "mailwake"
