"""Requests that are too large, against the edge as a process: refused, with memory flat."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwake.keyring import Keyring
from mailwake_edge.answers import PIXEL_GIF
from mailwake_local.ports import free_port
from tests.edges import edge_settings, pixel
from tests.running import Service

MEBI = 1 << 20


def send(port: int, head: bytes, body_mib: int = 0) -> bytes:
    """Sends as much of a request as is taken; gives the first line of the answer, if any."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as peer:
        try:
            peer.sendall(head)
            for _ in range(body_mib):
                peer.sendall(b"x" * MEBI)
        except ConnectionError:
            pass  # it has closed, as it may
        try:
            return peer.recv(1000).partition(b"\r\n")[0]
        except ConnectionError:
            return b""


@pytest.mark.fault(29)
def test_what_is_too_large_is_refused_and_takes_no_memory(
    tmp_path: Path, keyring: Keyring, long: bool, tally: Callable[..., None]
) -> None:
    settings = edge_settings(f"127.0.0.1:{free_port()}", tmp_path)
    port = settings.edge_port
    times = 50 if long else 5
    good = pixel(keyring, "ab" * 16).encode()
    rest = b" HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n"
    requests = [
        (b"GET " + good + rest + b"X-Large: " + b"a" * 65_536 + b"\r\n\r\n", 0),
        (b"GET /o/" + b"a" * MEBI + rest + b"\r\n", 0),
        (b"GET /c/" + b"a" * MEBI + rest + b"\r\n", 0),
        (b"POST " + good + rest + b"Content-Length: 104857600\r\n\r\n", 100),
        (b"GET " + good + rest + b"Content-Length: 104857600\r\n\r\n", 100),
    ]
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        for head, body in requests:
            send(port, head, body)  # what is made once is made now
        before = edge.memory()
        answers = [send(port, head, body) for _ in range(times) for head, body in requests]
        grown = (edge.memory() - before) // 1024
        with socket.create_connection(("127.0.0.1", port), timeout=15) as peer:
            peer.sendall(b"GET " + good + rest + b"\r\n")
            whole = b"".join(iter(lambda: peer.recv(1000), b""))
        assert edge.stop() == 0
    tally(injected=len(answers), answered=1, note=f"memory grew by {grown} MiB")
    by_request = [set(answers[number :: len(requests)]) for number in range(len(requests))]
    assert by_request[:3] == [{b""}] * 3, "a head that is too large is not answered"
    # Those with a body are answered by their heads; the end of the connection may overtake that.
    assert by_request[3] <= {b"", b"HTTP/1.1 405 Method Not Allowed"}
    assert by_request[4] <= {b"", b"HTTP/1.1 200 OK"}
    assert grown < 16
    assert whole.endswith(PIXEL_GIF)
    assert "Traceback" not in edge.log.read_text()
