"""The spool on real files: order, damage, a second process, a disk that fails."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from mailwake.errors import ConfigError
from mailwake_edge import jobs, syncs
from mailwake_edge import spool as spool_module
from mailwake_edge.jobs import Batch
from mailwake_edge.segments import HEAD, Folder, frame, parse
from mailwake_edge.spool import Spool
from mailwake_edge.syncs import Done, Syncs

VALUES = st.binary(min_size=0, max_size=60).map(lambda data: data.replace(b"\xf5", b"\0"))


@pytest.fixture(params=["kernel", "thread"])
def syncing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who syncs: the kernel by itself, or a thread, as where the kernel does not."""
    if request.param == "thread":
        monkeypatch.setattr(syncs, "_kernel", lambda: None)
    elif syncs._kernel() is None:
        pytest.skip("this system has no asynchronous fdatasync")
    return str(request.param)


def values(count: int, start: int = 0) -> list[bytes]:
    return [b'{"hit":%d}' % number for number in range(start, start + count)]


@asynccontextmanager
async def spooling(
    folder: Path, *, strict: bool = True, most: int = 1 << 30
) -> AsyncIterator[Spool]:
    spool = Spool(Folder(folder), most_bytes=most, strict=strict)
    yield spool
    await spool.close()


async def takes(spool: Spool) -> None:
    """Waits until it refuses nothing."""
    async with asyncio.timeout(10):
        while spool.refuses() is not None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


async def noted(spool: Spool) -> None:
    """Waits until it is written down what Kafka has, and deleted."""
    async with asyncio.timeout(10):
        while spool._folder.position() != spool._acknowledged:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


async def safe(spool: Spool) -> None:
    done = asyncio.Event()
    spool.when_safe(done.set)
    await asyncio.wait_for(done.wait(), 10)


async def read_all(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while (chunk := await spool.read()) is not None:
        found += chunk[0]
        spool.acknowledge([chunk[1]] * len(chunk[0]))
    return found


async def left_behind(folder: Path, kept: Sequence[bytes], *, at_once: int = 7) -> Path:
    """The folder that a killed process leaves which had taken these values."""
    left = folder.with_name(f"{folder.name}-left")
    async with spooling(folder) as spool:
        for at in range(0, len(kept), at_once):
            spool.append(kept[at : at + at_once])
            await asyncio.sleep(0)
        await safe(spool)
        shutil.copytree(folder, left)
        spool.acknowledge([batch for batch in [*spool._open] for _ in range(batch.left)])
    return left


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@given(st.lists(VALUES, max_size=20), st.integers(0, 200))
def test_records_are_read_as_they_were_written_in_any_pieces(kept: list[bytes], cut: int) -> None:
    data = b"".join(map(frame, kept))
    first = parse(data[:cut], last=False)
    rest = parse(data[first.used :], last=True)
    assert first.values + rest.values == kept
    assert (first.damaged, rest.damaged) == (0, 0)


@pytest.mark.fault(4)
@given(st.lists(VALUES, min_size=1, max_size=12), st.data())
def test_a_flipped_bit_costs_the_record_it_is_in(kept: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(frame, kept)))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    ends, at = [], 0
    for value in kept:
        at += HEAD.size + len(value)
        ends.append(at)
    hit = next(number for number, end in enumerate(ends) if bit // 8 < end)
    found = parse(bytes(whole), last=True)
    assert found.values == kept[:hit] + kept[hit + 1 :]
    assert found.damaged == 1


@pytest.mark.fault(4)
@given(st.lists(VALUES, min_size=1, max_size=12), st.integers(1, 80))
def test_a_torn_end_costs_what_was_torn(kept: list[bytes], cut: int) -> None:
    whole = b"".join(map(frame, kept))
    torn = whole[: max(0, len(whole) - cut)]
    left = parse(torn, last=True).values
    assert left == kept[: len(left)]
    assert sum(HEAD.size + len(value) for value in kept[: len(left) + 1]) > len(torn)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.usefixtures("syncing")
async def test_what_is_safe_outlives_the_process(tmp_path: Path, strict: bool) -> None:
    kept = values(3)
    async with spooling(tmp_path / "one", strict=strict) as spool:
        batch = spool.append(kept)
        await safe(spool)
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        assert batch.left == 3
    async with spooling(tmp_path / "two") as spool:
        assert spool.has_backlog
        assert await read_all(spool) == kept
        assert await spool.read() is None


async def test_what_kafka_has_is_deleted_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 200)
    monkeypatch.setattr(spool_module, "NOTE_S", 0.001)
    folder = tmp_path / "spool"
    async with spooling(folder) as spool:
        batches: list[Batch] = []
        for number in range(40):
            batches.append(spool.append(values(1, number)))
            await safe(spool)
        assert len(list(folder.glob("*.hits"))) > 3
        spool.acknowledge([*batches[1:30]])
        await asyncio.sleep(0.05)
        assert (folder / "0000000000000001.hits").exists(), "its first record is not acknowledged"
        spool.acknowledge([batches[0]])
        await noted(spool)
        assert not (folder / "0000000000000001.hits").exists()
        shutil.copytree(folder, tmp_path / "left")
    async with spooling(tmp_path / "left") as spool:
        assert await read_all(spool) == values(10, 30)
    assert not list((tmp_path / "left").glob("*.hits"))
    # And a note from before does not hide what comes after.
    left = await left_behind(tmp_path / "left", values(5))
    async with spooling(left) as spool:
        assert await read_all(spool) == values(5)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from("apr"), st.integers(1, 9)), max_size=30),
    strict=st.booleans(),
)
def test_what_is_put_aside_is_read_back_once_and_in_order(
    steps: list[tuple[str, int]], strict: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Values with a batch, put aside, and read back, in any order of these."""

    async def scenario() -> None:
        aside: list[bytes] = []
        found: list[bytes] = []
        number = 0
        async with spooling(tmp_path_factory.mktemp("spool") / "s", strict=strict) as spool:
            for step, count in steps:
                some = values(count, number)
                number += count
                if step == "r":
                    found += await read_all(spool)
                elif step == "a" and not spool.has_backlog:
                    # As the publisher does: what stands on the disk alone goes first.
                    batch = spool.append(some)
                    spool.acknowledge([batch] * count)
                else:
                    spool.put_aside(some)
                    aside += some
                if count % 2:
                    await asyncio.sleep(0)
            found += await read_all(spool)
        assert found == aside

    asyncio.run(scenario())


@pytest.mark.fault(4)
async def test_damage_is_passed_over_and_counted(tmp_path: Path) -> None:
    left = await left_behind(tmp_path / "spool", values(50))
    (segment,) = left.glob("*.hits")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x10
    segment.write_bytes(data[:-4])
    before = counted("mailwake_edge_spool_damaged_total")
    async with spooling(left) as spool:
        found = await read_all(spool)
    assert len(found) == 48
    assert set(found) < set(values(50))
    assert counted("mailwake_edge_spool_damaged_total") - before == 2


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mailwake_edge.segments import Folder\n"
        "Folder(Path(sys.argv[1]))"
    )
    async with spooling(tmp_path / "spool"):
        second = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, str(tmp_path / "spool")],
            capture_output=True,
            text=True,
        )
        assert "another edge uses the spool" in second.stderr
        with pytest.raises(ConfigError, match="another edge uses the spool"):
            Folder(tmp_path / "spool")
    Folder(tmp_path / "spool").close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot keep its spool in .*file/spool"):
        Folder(tmp_path / "file" / "spool")


@pytest.mark.fault(5)
@pytest.mark.parametrize("strict", [True, False])
async def test_a_disk_that_fails_for_a_while(
    tmp_path: Path, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is answered; what was told to be lost is lost, and all else is read back."""
    monkeypatch.setattr(spool_module, "RETRY_S", 0.01)
    before = counted("mailwake_edge_not_kept_total", reason="spool_failed")
    write = Folder.write
    broken = True

    def fail(self: Folder, number: int, at: int, data: bytes) -> None:
        if not broken:
            write(self, number, at, data)
            return
        descriptor = self._descriptor(number)
        os.write(descriptor, data[: len(data) // 2])
        os.ftruncate(descriptor, at)
        raise OSError(errno.ENOSPC, "no space")

    async with spooling(tmp_path / "spool", strict=strict) as spool:
        spool.put_aside(values(5))
        await safe(spool)
        monkeypatch.setattr(Folder, "write", fail)
        spool.put_aside(values(5, 5))
        await safe(spool)
        assert counted("mailwake_edge_not_kept_total", reason="spool_failed") == before + 5
        assert spool.put_aside(values(1)) == "spool_failed"
        broken = False
        await takes(spool)
        spool.put_aside(values(5, 10))
        await safe(spool)
        assert await read_all(spool) == values(5) + values(5, 10)
        # Without a backlog, what it refuses is on its way to Kafka, and in memory alone.
        broken = True
        lost = spool.append(values(1))
        await safe(spool)
        refused = spool.append(values(2))
        assert spool.failed == 3
        spool.acknowledge([lost, refused, refused])
        assert spool.failed == 0
        broken = False


@pytest.mark.parametrize("first", [True, False])
async def test_a_disk_that_hangs_holds_up_no_answer_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Neither the one that opens a segment, nor one behind it."""
    monkeypatch.setattr(spool_module, "WAIT_S", 0.05)
    monkeypatch.setattr(jobs, "WAIT_S", 0.05)
    sync, begin, go_on = Folder.sync, Syncs.begin, threading.Event()

    def hang(self: Folder) -> None:
        go_on.wait(20)
        sync(self)

    def hang_on(self: Syncs, descriptor: int, done: Done) -> None:
        waiting = asyncio.get_running_loop().run_in_executor(None, go_on.wait, 20)
        waiting.add_done_callback(lambda _: begin(self, descriptor, done))

    before = counted("mailwake_edge_unsafe_total", reason="spool_slow")
    async with spooling(tmp_path / "spool") as spool:
        if not first:
            opening = spool.append(values(1))
            await safe(spool)
            spool.acknowledge([opening])
        monkeypatch.setattr(Folder, "sync", hang)
        monkeypatch.setattr(Syncs, "begin", hang_on)
        batch = spool.append(values(2))
        await safe(spool)  # though it still hangs
        assert counted("mailwake_edge_unsafe_total", reason="spool_slow") == before + 2
        assert spool.refuses() == "spool_failed", "what comes meanwhile is not piled up"
        go_on.set()
        await takes(spool)
        spool.acknowledge([batch, batch])


@pytest.mark.fault(5)
@pytest.mark.parametrize("strict", [True, False])
async def test_a_sync_that_fails_is_told(
    tmp_path: Path, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands there is not trusted: the next record begins a segment of its own."""
    monkeypatch.setattr(spool_module, "RETRY_S", 0.01)
    monkeypatch.setattr(spool_module, "SYNC_S", 0.001)
    begin = Syncs.begin
    failed = asyncio.Event()

    def fail(self: Syncs, descriptor: int, done: Done) -> None:
        failed.set()
        done(OSError(errno.EIO, "broken"))

    async with spooling(tmp_path / "spool", strict=strict) as spool:
        first = spool.append(values(2))
        await safe(spool)
        monkeypatch.setattr(Syncs, "begin", fail)
        second = spool.append(values(2, 2))
        await safe(spool)
        await failed.wait()
        assert spool.refuses() == "spool_failed"
        assert spool.failed == (2 if strict else 0), "relaxed has told already that it is kept"
        monkeypatch.setattr(Syncs, "begin", begin)
        await takes(spool)
        third = spool.append(values(2, 4))
        await safe(spool)
        assert third.end is not None
        assert third.end[0] > (first.end or (0, 0))[0]
        spool.acknowledge([first, first, second, second, third, third])


async def test_syncs_tell_what_came_of_them(tmp_path: Path, syncing: str) -> None:
    """Each once, in any number, also when the file is closed at once; an error by its number."""
    ended: list[BaseException | None] = []
    all_ended = asyncio.Event()

    def done(error: BaseException | None) -> None:
        ended.append(error)
        if len(ended) == 9:
            all_ended.set()

    thread = ThreadPoolExecutor(1)
    begun = Syncs(thread)
    for number in range(8):
        file = os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY)
        os.write(file, b"a hit")
        begun.begin(file, done)
        os.close(file)
    pipe = os.pipe()
    begun.begin(pipe[1], done)  # which cannot be synced
    await asyncio.wait_for(all_ended.wait(), 10)
    begun.close()
    thread.shutdown()
    assert ended.count(None) == 8
    (error,) = (each for each in ended if each)
    assert syncing == "kernel" or (isinstance(error, OSError) and error.errno == errno.EINVAL)
    for each in pipe:
        os.close(each)


@pytest.mark.parametrize("result", [-errno.EIO, (1 << 64) - errno.EIO])
def test_an_error_of_the_kernel_is_told_by_its_name(result: int) -> None:
    error = syncs._error(result)
    assert error is not None
    assert error.errno == errno.EIO
    assert syncs._error(0) is None


def test_where_the_kernel_syncs_nothing_a_thread_does(monkeypatch: pytest.MonkeyPatch) -> None:
    linux_aio = pytest.importorskip("caio.linux_aio")

    def forbidden(requests: int) -> None:
        raise SystemError("io_setup is forbidden")

    monkeypatch.setattr(linux_aio, "Context", forbidden)
    assert syncs._kernel() is None


async def test_it_has_a_bound(tmp_path: Path) -> None:
    async with spooling(tmp_path / "spool", most=1000) as spool:
        taken = 0
        while spool.refuses() is None:
            spool.put_aside(values(5))
            taken += 5
        assert spool.refuses() == "spool_full"
        assert 1000 <= spool.size < 1200
        assert len(await read_all(spool)) == taken
        await safe(spool)
