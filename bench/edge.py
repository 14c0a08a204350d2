"""The edge's requests a second, beside a bare uvicorn ASGI function that gives the same answer.

The edge runs twice, strict (answers when the hit is on the disk) and relaxed. Each runs as one
process with the same uvicorn settings (uvloop, httptools) as the bare one and is asked by wrk over
64 kept connections with 20,000 different tokens; the edge opens them and publishes every hit to
real Kafka. The servers have one core to themselves, wrk and Kafka the other. They take turns;
medians. Where nginx is installed, its empty_gif takes turns with them: what a server in C does that
opens no token and keeps no hit.
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
from dataclasses import dataclass
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

AIMS = {"strict": 0.65, "relaxed": 0.85}
"""Of the bare function's pixels a second."""
P99_MS = 15.0
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

NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  server {{ listen {host}:{port}; location / {{ empty_gif; }} }}
}}
"""


@dataclass(frozen=True)
class Asked:
    """What wrk says of a server: requests a second, and how long 99% took at the most."""

    rate: float
    p99_ms: float


def measure() -> list[Row]:
    """Rows for pixels and clicks, strict and relaxed. Takes two minutes. Raises UnavailableError
    without wrk."""
    if not shutil.which("wrk"):
        raise UnavailableError("wrk is not installed; `apt-get install -y wrk` does it")
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailwake-bench-")))
        (folder / "wrk.lua").write_text(SCRIPT.replace("AGENT", AGENT))
        stack.enter_context(pinned(cores[1:] or cores))
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        edges = {
            durability: read_settings(
                {},
                kafka_bootstrap=kafka.bootstrap,
                keyring=folder / "keys.json",
                edge_port=free_port(),
                ops_port=free_port(),
                edge_durability=durability,
                state=folder / durability,
            )
            for durability in AIMS
        }
        settings = edges["strict"]
        keyring = new_keyring()
        keyring.write(settings.keyring)
        asyncio.run(apply_topics(settings))
        ports = {"bare": free_port()} | {name: each.edge_port for name, each in edges.items()}
        with pinned(cores[:1]):
            for each in edges.values():
                stack.enter_context(server(each, "-m", "mailwake.cli", "edge"))
            stack.enter_context(server(settings, "-m", "bench.edge", "bare", str(ports["bare"])))
            if shutil.which("nginx"):
                ports["nginx"] = free_port()
                stack.enter_context(nginx(folder, ports["nginx"]))
        for each in edges.values():
            await_answer(each.ops_port, "/ready")
        for name in ports.keys() - edges.keys():
            await_answer(ports[name], "/")
        rows = [row for kind in ("pixel", "click") for row in compare(folder, keyring, kind, ports)]
        for each in edges.values():
            check_published(each)
    return rows


def compare(
    folder: Path, keyring: Keyring, kind: Literal["pixel", "click"], ports: dict[str, int]
) -> list[Row]:
    """Rows of one kind: the edges' requests a second and the bare function's, in turns."""
    paths = folder / f"{kind}.txt"
    paths.write_text("".join(f"{path(keyring, kind, number)}\n" for number in range(TOKENS)))
    asked: dict[str, list[Asked]] = {name: [] for name in ports}
    for port in ports.values():
        ask(folder, port, paths, 1)  # warm
    for turn in range(ROUNDS):
        for name, port in ports.items():
            asked[name].append(ask(folder, port, paths, SECONDS))
        rates = ", ".join(f"{name} {each[-1].rate:,.0f}/s" for name, each in asked.items())
        say(f"{kind}, round {turn + 1} of {ROUNDS}: {rates}")
    rows = [
        Row(
            stage=f"edge: {kind}, {durability}",
            figure=statistics.median(each.rate for each in asked[durability]),
            beside=statistics.median(each.rate for each in asked["bare"]),
            unit="requests/s",
            beside_what="a bare uvicorn ASGI function that answers with the pixel",
            aim=aim if kind == "pixel" else None,  # a click opens its token before it is answered
        )
        for durability, aim in AIMS.items()
    ]
    if kind == "pixel" and "nginx" in ports:
        rows.append(
            Row(
                stage="nginx: empty_gif",
                figure=statistics.median(each.rate for each in asked["nginx"]),
                beside=statistics.median(each.rate for each in asked["bare"]),
                unit="requests/s",
                beside_what="the same bare function; no part of ours",
            )
        )
    return rows + [
        Row(
            stage=f"edge: {kind}, {durability}, p99",
            figure=statistics.median(each.p99_ms for each in asked[durability]),
            beside=P99_MS,
            unit="ms",
            beside_what="the aim",
            aim=1.0,
            less=True,
        )
        for durability in AIMS
    ]


def path(keyring: Keyring, kind: str, number: int) -> str:
    """The path of a pixel or of a link, of another mail each."""
    if kind == "pixel":
        return "/o/" + keyring.seal(Token("open", "acme", new_message_id(), 1, "identified"))
    token = Token("click", "acme", new_message_id(), 1, "identified", number % 20, TARGET)
    return "/c/" + keyring.seal(token)


def ask(folder: Path, port: int, paths: Path, seconds: int) -> Asked:
    """What wrk measures; every answer must be the expected one."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(folder / "wrk.lua"), f"http://{HOST}:{port}", "--", str(paths)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise UnavailableError(f"wrk met errors: {' '.join(said.split())}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)", said)
    assert rate is not None, said
    assert p99 is not None, said
    return Asked(float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]])


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
def nginx(folder: Path, port: int) -> Iterator[None]:
    """An nginx with one worker that answers everything with its empty GIF; gone afterwards."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, host=HOST, port=port))
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", str(folder / "nginx.log")])
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


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

    start, body = PIXEL.messages

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
