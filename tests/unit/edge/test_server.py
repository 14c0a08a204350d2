"""The protocol's limits and its turns, with bytes in and bytes out and no socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailwake.http_server import HEAD_DEADLINE_TICKS, configure
from mailwake_edge.answers import Answer
from mailwake_edge.app import Safe
from mailwake_edge.server import MAX_REQUEST_BYTES, Protocol, Turn


class Wire(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("203.0.113.77", 4711) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Echo:
    """Answers with the path: as ASGI does, and at once where it is asked so."""

    safe: Safe | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self.answer(scope)[0].messages:
            await send(message)

    def answer(self, scope: Any) -> tuple[Answer, Safe | None]:
        body = scope["path"].encode()
        return Answer(200, [(b"content-length", b"%d" % len(body))], body), self.safe


class Broken(Echo):
    def answer(self, scope: Any) -> tuple[Answer, Safe | None]:
        raise RuntimeError("broken")


def connect(turn: Turn | None = None) -> tuple[Protocol, Wire]:
    turn = turn or Turn(Echo())
    config = configure(turn.app, Protocol, answer_deadline_s=1)
    config.load()
    protocol, wire = Protocol(config, turn, {}), Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def request(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: t.example\r\n{more}\r\n".encode()


@pytest.mark.parametrize("path", ["/o/abc", "/c/abc", "/ready"])
async def test_a_request_is_answered_in_the_next_turn(path: str) -> None:
    protocol, wire = connect()
    protocol.data_received(request(path))
    assert not wire.written
    await turns()
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.written.endswith(b"\r\n\r\n" + path.encode())
    assert not wire.closed


async def test_requests_of_one_packet_are_answered_in_their_order() -> None:
    protocol, wire = connect()
    paths = [f"/{'oc'[number % 2]}/{number}" for number in range(20)] + ["/ready", "/o/last"]
    protocol.data_received(b"".join(map(request, paths)))
    await turns(60)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in wire.written.split(b"HTTP/1.1 200 OK")[1:]]
    assert [body.decode() for body in bodies] == paths


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_a_quick_answer_is_the_one_that_uvicorn_gives(
    method: str, version: str, connection: str
) -> None:
    """But for the path, which the other server takes its own way with."""
    said = []
    for path in ("/o/abc", "/r/abc"):
        protocol, wire = connect()
        head = f"{method} {path} HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"
        protocol.data_received(head.encode())
        await turns(10)
        fields, _, body = wire.written.replace(path.encode(), b"").partition(b"\r\n\r\n")
        said.append((sorted(fields.split(b"\r\n")), body, wire.closed))
        assert protocol.cycle.response_complete
    assert said[0] == said[1]


async def test_a_fault_of_the_application_is_a_500_for_that_request_alone() -> None:
    bad, bad_wire = connect(Turn(Broken()))
    good, good_wire = connect()
    bad.data_received(request("/o/a"))
    good.data_received(request("/o/b"))
    await turns(5)
    assert b" 500 " in bad_wire.written
    assert good_wire.written.endswith(b"/o/b")


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    """What waits goes on as a task: answers come when the client reads again."""
    turn = Turn(Echo())
    slow, wire = connect(turn)
    slow.pause_writing()
    slow.data_received(request("/o/slow"))
    await turns()
    assert not wire.written
    assert len(turn.tasks) == 1
    other, other_wire = connect(turn)
    other.data_received(request("/o/other"))
    await turns()
    assert other_wire.written.endswith(b"/o/other")
    slow.resume_writing()
    await turns(10)
    assert wire.written.endswith(b"/o/slow")
    assert not turn.tasks


async def test_answers_that_wait_for_their_hits_go_out_together() -> None:
    app = Echo()
    app.safe = Safe(lambda: None)
    turn = Turn(app)
    wires = []
    for number in range(3):
        protocol, wire = connect(turn)
        protocol.data_received(request(f"/o/{number}"))
        wires.append(wire)
    await turns(10)
    assert not any(wire.written for wire in wires)
    assert not turn.tasks
    app.safe.set_result(None)
    await turns()
    assert [wire.written[-4:] for wire in wires] == [b"/o/0", b"/o/1", b"/o/2"]


async def test_who_left_before_the_hit_was_safe_is_written_nothing() -> None:
    app = Echo()
    app.safe = Safe(lambda: None)
    protocol, wire = connect(Turn(app))
    protocol.data_received(request("/o/a"))
    await turns()
    protocol.connection_lost(None)
    app.safe.set_result(None)
    await turns()
    assert not wire.written


async def test_a_client_that_leaves_while_it_is_waited_for_leaves_nothing() -> None:
    turn = Turn(Echo())
    slow, _ = connect(turn)
    slow.pause_writing()
    slow.data_received(request("/o/slow"))
    await turns()
    slow.connection_lost(None)
    await turns(10)
    assert not turn.tasks
    assert not turn.connections


async def test_the_end_can_break_off_what_waits() -> None:
    turn = Turn(Echo())
    slow, _ = connect(turn)
    slow.pause_writing()
    slow.data_received(request("/o/slow"))
    await turns()
    (task,) = turn.tasks
    task.cancel()
    await turns(10)
    assert not turn.tasks


@pytest.mark.parametrize("step", [100, 5_000, 200_000])
@pytest.mark.parametrize("start", [b"GET /o/", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_request_that_does_not_end_is_cut_off(start: bytes, step: int) -> None:
    protocol, wire = connect()
    protocol.data_received(start)
    given = 0
    while not wire.closed:
        protocol.data_received(b"a" * step)
        given += step
        assert given <= MAX_REQUEST_BYTES + step
    assert given + len(start) > MAX_REQUEST_BYTES


@pytest.mark.parametrize("pieces", [1, 2, 40])
@pytest.mark.parametrize("where", ["path", "query", "header"])
async def test_a_head_that_is_too_large_is_cut_off_unanswered(where: str, pieces: int) -> None:
    """Also when it comes whole in one read, which may be four times as large."""
    protocol, wire = connect()
    protocol.data_received(request("/o/first"))
    await turns()
    long = "a" * MAX_REQUEST_BYTES
    head = {
        "path": request(f"/o/{long}"),
        "query": request(f"/o/a?{long}"),
        "header": request("/o/a", f"X: {long}\r\n"),
    }[where]
    step = len(head) // pieces + 1
    for start in range(0, len(head), step):
        protocol.data_received(head[start : start + step])
    await turns()
    assert wire.closed
    assert wire.written.count(b"HTTP/1.1 200") == 1, "the first alone"


async def test_a_body_that_does_not_end_is_cut_off_and_not_kept() -> None:
    protocol, wire = connect()
    protocol.data_received(b"POST /o/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    await turns()
    for _ in range(MAX_REQUEST_BYTES // 1000 + 1):
        protocol.data_received(b"a" * 1000)
    assert wire.closed
    assert wire.written.count(b"HTTP/1.1") == 1
    assert len(protocol.cycle.body) == 0


async def test_many_requests_on_a_connection_are_not_one_large_one() -> None:
    protocol, wire = connect()
    sent = 0
    while sent < 3 * MAX_REQUEST_BYTES:
        data = request("/o/a", "X: " + "a" * 8000 + "\r\n")
        for part in (data[:3000], data[3000:6000], data[6000:]):
            protocol.data_received(part)
            sent += len(part)
        await turns()
    assert not wire.closed


async def test_a_connection_that_brings_no_request_is_closed_in_time() -> None:
    protocol, wire = connect()
    for _ in range(HEAD_DEADLINE_TICKS):
        protocol.tick()
    protocol.data_received(request("/o/a"))
    await turns()
    protocol.tick()
    protocol.data_received(b"GET /o/b HTT")
    for _ in range(HEAD_DEADLINE_TICKS):
        assert not wire.aborted
        protocol.data_received(b"P")
        protocol.tick()
    assert wire.aborted


async def test_an_unused_connection_is_closed_but_not_with_a_request_that_waits_to_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailwake.http_server.LAST_LOOK_S", 0.05)
    protocol, wire = connect()
    protocol.data_received(request("/o/a"))
    await turns()
    protocol.timeout_keep_alive_handler()  # as after a standstill, before anything is read
    protocol.data_received(request("/o/b"))
    await asyncio.sleep(0.1)
    assert not wire.closed
    assert wire.written.endswith(b"/o/b")
    protocol.timeout_keep_alive_handler()
    assert not wire.closed
    await asyncio.sleep(0.1)
    assert wire.closed
