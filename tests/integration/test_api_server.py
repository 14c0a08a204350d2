"""The API's port faces the world: slow, large and broken requests, keys that change, the end."""

from __future__ import annotations

import json as json_module
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mailwake.cli import main
from mailwake.settings import Settings
from mailwake_api.commands import keys_command
from tests.api import Api, api_settings, json
from tests.running import wait_until


@pytest.fixture
async def settings(kafka: str, tmp_path: Path) -> Settings:
    return await api_settings(kafka, tmp_path, partitions=1, api_max_bytes=2_000_000)


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[Api]:
    api = Api(settings, tmp_path)
    with api:
        yield api


def raw(api: Api, data: bytes, within: float = 20) -> bytes:
    """What the API answers to bytes, up to when it closes the connection."""
    with socket.create_connection(("127.0.0.1", api.settings.api_port), within) as sock:
        sock.settimeout(within)
        answer = b""
        try:
            sock.sendall(data)
            while piece := sock.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


def test_hostile_requests(api: Api) -> None:
    before = api.memory()
    # A head without end, and one that does not come.
    assert raw(api, b"GET /health HTTP/1.1\r\nX: " + b"x" * 3_000_000) == b""
    assert raw(api, b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")[:12] in (
        b"",
        b"HTTP/1.1 404",
    )
    at = time.monotonic()
    assert raw(api, b"GET /health HTTP/1.1\r\nX") == b""
    assert time.monotonic() - at > 8
    assert raw(api, b"\x00\x01\x02\r\n\r\n").startswith(b"HTTP/1.1 400")
    # A body that says that it is large, one that is, and one in pieces that never end.
    authorization = f"Authorization: Bearer {api.token('ben')}\r\n".encode()
    head = b"POST /v1/sends HTTP/1.1\r\nHost: a\r\nContent-Type: message/rfc822\r\n" + authorization
    assert b" 413 " in raw(api, head + b"Content-Length: 100000000\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = raw(api, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 1600)
    assert answer == b"" or b" 413 " in answer
    assert api.memory() - before < 60_000
    # Two requests in one connection, the first of which was refused before its body was read.
    smuggled = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    refused = (
        b"POST /v1/sends HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    ) + smuggled
    answer = raw(api, refused)
    assert answer.count(b"HTTP/1.1") == 1
    assert b" 401 " in answer
    assert httpx.get(f"{api.url}/health").status_code == 200


def test_keys_change_while_it_runs(api: Api, settings: Settings) -> None:
    old = api.token("ben")
    keys_command(["add", str(settings.api_keys), "--type", "OKP"])
    new = api.token("ben")  # of the key that stands last

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{api.url}/v1/preferences", headers=headers).status_code

    wait_until("the new key is taken up", lambda: status(new) == 200, 10)
    assert status(old) == 200
    keys = json_module.loads(settings.api_keys.read_bytes())["keys"]
    settings.api_keys.write_text(json_module.dumps({"keys": keys[1:]}))
    wait_until("the old key is gone", lambda: status(old) == 401, 10)
    assert status(new) == 200
    settings.api_keys.write_text("half a fi")
    time.sleep(1.5)
    assert status(new) == 200


def test_at_the_end_it_answers_what_is_under_way(api: Api) -> None:
    assert api.process is not None
    wish = {"opens": False, "clicks": True, "notifications": True}
    answers: list[int] = []
    failures: list[str] = []
    ended = threading.Event()

    def ask(number: int) -> None:
        with api.client(f"user-{number}") as client:
            while not ended.is_set():
                try:
                    answers.append(client.put("/v1/preferences", json=wish).status_code)
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:  # it may close a connection that rests
                    failures.append(type(error).__name__)
                    return

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    os.kill(api.process.pid, signal.SIGTERM)
    assert api.process.wait(30) == 0
    ended.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {200}
    assert "ReadTimeout" not in failures
    assert "Traceback" not in api.log.read_text()


def test_what_cannot_be_used_is_said_in_one_line(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        none, used = tmp_path / "none.json", taken.getsockname()[1]
        for api, said in (
            (Api(replace(settings, api_keys=none), tmp_path, "a"), "mailwake api-keys new"),
            (Api(replace(settings, keyring=none), tmp_path, "b"), "mailwake keys new"),
            (Api(settings, tmp_path, "c", port=used), "MAILWAKE_API_PORT"),
        ):
            api.start(wait=False)
            assert api.process is not None
            assert api.process.wait(30) in (2, 3)
            lines = [line for line in api.log.read_text().splitlines() if " INFO " not in line]
            assert len(lines) == 1
            assert lines[0].startswith("mailwake api: ")
            assert said in lines[0]


def test_a_token_of_the_command_opens_the_api(
    api: Api,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MAILWAKE_API_KEYS", str(settings.api_keys))
    assert main(["token", "--tenant", "acme", "--user", "ada", "--role", "admin"]) == 0
    headers = {"Authorization": f"Bearer {capsys.readouterr().out.splitlines()[-1]}"}
    wish = {"ceiling": "identified", "basis": "contract"}
    told = json(httpx.put(f"{api.url}/v1/policy", json=wish, headers=headers))
    assert told["basis"] == "contract"
