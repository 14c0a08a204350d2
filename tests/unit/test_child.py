"""One supervised process."""

import os
import sys
from pathlib import Path

import pytest

from mailwake.errors import UnavailableError
from mailwake_local.child import Child, Ended, has_done_its_work, has_said_ready


def child(tmp_path: Path, code: str) -> Child:
    return Child("test", [sys.executable, "-uc", code], os.environ, tmp_path / "test.log")


async def test_a_job_is_ready_when_it_has_ended_well(tmp_path: Path) -> None:
    job = child(tmp_path, "print('made 3 topics')")
    job.start()
    assert await job.until_ready(has_done_its_work, 30) is None
    assert job.said() == ["made 3 topics"]


async def test_what_failed_leaves_its_status_and_its_last_lines(tmp_path: Path) -> None:
    job = child(tmp_path, "print('\\n\\n'.join(map(str, range(50)))); raise SystemExit(7)")
    job.start()
    ended = await job.until_ready(has_done_its_work, 30)
    assert ended == Ended(7, ["44", "45", "46", "47", "48", "49"])
    assert str(ended) == "ended with status 7"


async def test_ready_is_said_after_this_start_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "test.log").write_text("ready 127.0.0.1:1\n")
    server = child(tmp_path, "import time; time.sleep(0.3); print('ready a:2'); time.sleep(60)")
    server.start()
    assert not await has_said_ready(server)
    assert await server.until_ready(has_said_ready, 30) is None
    assert (tmp_path / "test.log").read_text() == "ready 127.0.0.1:1\nready a:2\n"
    assert await server.stop(30)
    assert str(server.ended()) == "was ended by SIGTERM"


async def test_one_that_is_never_ready_is_an_error_in_time(tmp_path: Path) -> None:
    server = child(tmp_path, "import time; time.sleep(60)")
    server.start()
    with pytest.raises(UnavailableError, match="not ready within 0 s"):
        await server.until_ready(has_said_ready, 0.2)
    server.kill()
    assert (await server.until_ended()).status == -9


async def test_one_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready now'); time.sleep(60)"
    )
    server = child(tmp_path, code)
    server.start()
    assert await server.until_ready(has_said_ready, 30) is None
    assert not await server.stop(0.3)
    assert server.status == -9
    assert await server.stop(0.3)  # already gone: nothing to do


async def test_its_log_is_its_owners_alone_and_moves_away_when_it_is_long(tmp_path: Path) -> None:
    log = tmp_path / "test.log"
    log.write_bytes(b"x" * 10_000_001)
    job = child(tmp_path, "print('fresh')")
    job.start()
    await job.until_ended()
    assert log.read_text() == "fresh\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "test.log.1").stat().st_size == 10_000_001
