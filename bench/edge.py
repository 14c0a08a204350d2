"""The edge's requests a second, beside a bare uvicorn ASGI function that gives the same answer.

Both run as one process with the same uvicorn settings (uvloop, httptools) and are asked by wrk over
64 kept connections with 20,000 different tokens; the edge opens them and publishes every hit to
real Kafka. The servers have one core to themselves, wrk and Kafka the other. They take turns;
medians.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from bench.row import Row
from mailwake.errors import UnavailableError
from mailwake.http_server import configure, listen
from mailwake.ids import new_message_id
from mailwake.keyring import Keyring, new_keyring
from mailwake.settings import Settings, read_settings, to_environ
from mailwake.tokens import Token
from mailwake.topics_apply import apply_topics
from mailwake_edge.answers import PIXEL
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import HOST, free_port

AIM = 0.75
CONNECTIONS = 64
TOKENS = 20_000
ROUNDS = 5
SECONDS = 3
DEADLINE_S = 30.0

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.1"
TARGET = (
    "https://shop.example.com/offers/autumn/42"
    "?utm_source=mail&utm_medium=email&utm_campaign=autumn-2026&ref=header"
)

# The requests are made once: wrk shall measure the server, not its own script.
SCRIPT = """\
local requests, at = {}, 0
function init(args)
  wrk.headers["User-Agent"] = "AGENT"
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


def measure() -> list[Row]:
    """Two rows, pixels and clicks. Takes 90 seconds. Raises UnavailableError without wrk."""
    if not shutil.which("wrk"):
        raise UnavailableError("wrk is not installed; `apt-get install -y wrk` does it")
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        (folder / "wrk.lua").write_text(SCRIPT.replace("AGENT", AGENT))
        stack.enter_context(pinned(cores[1:] or cores))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        settings = read_settings(
            {},
            kafka_bootstrap=kafka.bootstrap,
            keyring=folder / "keys.json",
            edge_port=free_port(),
            ops_port=free_port(),
        )
        keyring = new_keyring()
        keyring.write(settings.keyring)
        asyncio.run(apply_topics(settings))
        bare_port = free_port()
        with pinned(cores[:1]):
            stack.enter_context(server(settings, "-m", "mailwake.cli", "edge"))
            stack.enter_context(server(settings, "-m", "bench.edge", "bare", str(bare_port)))
        await_answer(settings.ops_port, "/ready")
        await_answer(bare_port, "/")
        rows = [
            compare(folder, keyring, kind, settings.edge_port, bare_port)
            for kind in ("pixel", "click")
        ]
        check_published(settings)
    return rows


def compare(
    folder: Path, keyring: Keyring, kind: Literal["pixel", "click"], port: int, bare_port: int
) -> Row:
    """One row: the edge's requests a second and the bare function's, in turns."""
    paths = folder / f"{kind}.txt"
    paths.write_text("".join(f"{path(keyring, kind, number)}\n" for number in range(TOKENS)))
    ours, bare = [], []
    for one in (port, bare_port):
        requests_a_second(folder, one, paths, 1)  # warm
    for turn in range(ROUNDS):
        ours.append(requests_a_second(folder, port, paths, SECONDS))
        bare.append(requests_a_second(folder, bare_port, paths, SECONDS))
        say(f"{kind}, round {turn + 1} of {ROUNDS}: {ours[-1]:,.0f}/s, bare {bare[-1]:,.0f}/s")
    return Row(
        stage=f"edge: {kind}",
        figure=statistics.median(ours),
        beside=statistics.median(bare),
        unit="requests/s",
        beside_what="a bare uvicorn ASGI function that answers with the pixel",
        aim=AIM if kind == "pixel" else None,  # a click opens its token before it is answered
    )


def path(keyring: Keyring, kind: str, number: int) -> str:
    """The path of a pixel or of a link, of another mail each."""
    if kind == "pixel":
        return "/o/" + keyring.seal(Token("open", "acme", new_message_id(), 1, "identified"))
    token = Token("click", "acme", new_message_id(), 1, "identified", number % 20, TARGET)
    return "/c/" + keyring.seal(token)


def requests_a_second(folder: Path, port: int, paths: Path, seconds: int) -> float:
    """What wrk measures; every answer must be the expected one."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(folder / "wrk.lua")]
    command += [f"http://{HOST}:{port}", "--", str(paths)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise UnavailableError(f"wrk met errors: {' '.join(said.split())}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    assert found is not None, said
    return float(found[1])


def check_published(settings: Settings) -> None:
    """Every hit that was answered must come to Kafka, or the figures are of something else."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with urllib.request.urlopen(f"http://{HOST}:{settings.ops_port}/metrics") as answer:
            told = answer.read().decode()
        answered, produced, lost = (
            sum(
                map(float, re.findall(rf"^mailwake_edge_{name}_total\S* (\S+)", told, re.MULTILINE))
            )
            for name in ("hits", "produced", "not_kept")
        )
        if lost or time.monotonic() > deadline:
            raise UnavailableError(
                f"of {answered:,.0f} hits {produced:,.0f} came to Kafka, {lost:,.0f} were not kept"
            )
        if answered == produced:
            say(f"all {produced:,.0f} hits came to Kafka")
            return
        time.sleep(0.2)


@contextlib.contextmanager
def pinned(cores: list[int]) -> Iterator[None]:
    """What is started inside runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def server(settings: Settings, *arguments: str) -> Iterator[None]:
    """A Python process that is gone afterwards."""
    environ = os.environ | to_environ(settings)
    process = subprocess.Popen([sys.executable, *arguments], env=environ)
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def await_answer(port: int, path: str) -> None:
    """Waits until a server answers. Raises UnavailableError."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2).close()
            return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise UnavailableError(f"port {port} does not answer: {error}") from None
            time.sleep(0.1)


def bare(port: int) -> None:
    """The counterpart: answers everything with the pixel and does nothing else."""
    import uvicorn
    import uvloop
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    start, body = PIXEL

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(body)

    serving = uvicorn.Server(configure(app, HttpToolsProtocol, answer_deadline_s=5)).serve(
        [listen("edge", HOST, port)]
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


def say(text: str) -> None:
    """Progress, beside the table."""
    print(f"edge: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(int(sys.argv[2]))
    else:
        from bench.__main__ import table

        print(table(measure()))
