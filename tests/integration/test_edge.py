"""The edge as its own process on a real Kafka, asked over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from mailwake.ids import new_message_id, split_hit_id
from mailwake.keyring import Keyring, new_keyring
from mailwake.tokens import Token
from mailwake.topics_apply import apply_topics
from mailwake_edge.answers import PIXEL_GIF
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import all_hits, asking, edge_settings, pixel
from tests.mmdb import write_mmdb
from tests.running import Service, wait_until, without_settings
from tests.topics import read_all

TARGET = "https://example.com/offer?a=1&b=%20"
PRODUCED = "mailwake_edge_produced_total"
"""How many hits Kafka has acknowledged."""


def link(keyring: Keyring, message_id: str) -> str:
    return "/c/" + keyring.seal(Token("click", "acme", message_id, 1, "identified", 3, TARGET))


async def test_requests_become_hits_in_their_partitions(
    kafka: str, tmp_path: Path, keyring: Keyring
) -> None:
    settings = edge_settings(kafka, tmp_path, edge_linger_ms=200, edge_batch_hits=20)
    await apply_topics(settings)
    mails = [new_message_id() for _ in range(100)]
    expected: Counter[tuple[str, str, str]] = Counter()
    log = tmp_path / "edge.log"
    with Service("edge", settings, log) as edge:
        async with asking(settings) as client:

            async def read(first: int) -> None:
                for number in range(first, 1000, 16):
                    await read_one(number)

            async def read_one(number: int) -> None:
                mail = mails[number % 100]
                method = "HEAD" if number % 5 == 0 else "GET"
                if number % 3:
                    answer = await client.request(method, pixel(keyring, mail))
                    assert answer.status_code == 200
                    assert answer.content == (PIXEL_GIF if method == "GET" else b"")
                    expected["open", mail, method] += 1
                else:
                    answer = await client.request(method, link(keyring, mail))
                    assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
                    expected["click", mail, method] += 1
                assert "server" not in answer.headers
                assert "set-cookie" not in answer.headers
                assert "date" in answer.headers

            await asyncio.gather(*map(read, range(16)))
            forged = pixel(new_keyring(), mails[0])
            assert (await client.get(forged)).content == PIXEL_GIF
            assert (await client.get(forged.replace("/o/", "/c/"))).status_code == 404
            assert (await client.post(pixel(keyring, mails[0]))).status_code == 405
            assert (await client.get("/")).status_code == 404
            assert (await client.get("/ready")).status_code == 200
        assert edge.stop() == 0
    hits = await all_hits(settings)
    assert Counter((hit.kind, hit.message_id, hit.method) for hit in hits) == expected
    assert {hit.network for hit in hits} == {"127.0.0.0/24"}
    assert {hit.agent for hit in hits} == {f"python-httpx/{httpx.__version__}"}
    assert {(hit.link, hit.target) for hit in hits} == {(None, None), (3, TARGET)}
    records = await read_all(settings, "hits")
    assert len(records) < len(hits), "hits are gathered"
    said = log.read_text()
    assert "127.0.0.1:" not in said.replace(f"http://127.0.0.1:{settings.edge_port}", "").replace(
        f"http://127.0.0.1:{edge.ops_port}", ""
    ), "no address of a client is logged"
    assert "/o/" not in said
    assert "/c/" not in said


async def test_hits_tell_whose_network_they_come_from(
    kafka: str, tmp_path: Path, keyring: Keyring
) -> None:
    """By the operator's file, also when it is broken for a while and when it is a new one."""
    asn_file = write_mmdb(tmp_path / "asn.mmdb", {"127.0.0.0/8": {"asn": "AS64500"}})
    settings = edge_settings(kafka, tmp_path, asn_file=asn_file)
    await apply_topics(settings)
    log = tmp_path / "edge.log"
    with Service("edge", settings, log) as edge:
        async with asking(settings) as client:
            await client.get(pixel(keyring, new_message_id()))
            asn_file.write_bytes(b"")
            wait_until("the broken file is logged", lambda: "stays in use" in log.read_text(), 30)
            await client.get(pixel(keyring, new_message_id()))
            write_mmdb(asn_file, {"127.0.0.0/8": {"autonomous_system_number": 64501}})
            wait_until(
                "the new file is read", lambda: log.read_text().count("networks are known") == 2, 30
            )
            await client.get(pixel(keyring, new_message_id()))
        assert edge.stop() == 0
    assert sorted(hit.asn for hit in await all_hits(settings)) == [64500, 64500, 64501]


@pytest.mark.fault(1)
async def test_requests_are_answered_while_kafka_is_away_and_hits_come_later(
    tmp_path: Path, keyring: Keyring
) -> None:
    """Away when the edge starts, there without its topics, there, away again, and back."""
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(f"127.0.0.1:{local.port}", tmp_path)
    mails = [new_message_id() for _ in range(30)]
    asked = 0
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        async with asking(settings) as client:

            async def read(times: int) -> None:
                nonlocal asked
                for _ in range(times):
                    answer = await client.get(pixel(keyring, mails[asked % 30]))
                    assert answer.content == PIXEL_GIF
                    asked += 1

            try:
                await read(200)
                await asyncio.to_thread(local.start)
                await read(100)
                await asyncio.to_thread(
                    wait_until,
                    "the topics are missed",
                    lambda: "`mailwake topics apply`" in (tmp_path / "edge.log").read_text(),
                )
                await apply_topics(settings)
                await asyncio.to_thread(
                    wait_until, "the hits came", lambda: edge.metric(PRODUCED) == asked, 60
                )
                await read(100)
                await asyncio.to_thread(local.stop)
                await read(200)
                await asyncio.sleep(1)
                await read(100)
                assert edge.metric(PRODUCED) <= 400
                await asyncio.to_thread(local.start)
                await read(100)
                await asyncio.to_thread(
                    wait_until, "all hits came", lambda: edge.metric(PRODUCED) == asked, 90
                )
                assert edge.stop() == 0
                hits = await all_hits(settings)
            finally:
                local.stop()
    assert len(hits) == asked == 800
    assert [split_hit_id(hit.hit_id)[1] for hit in sorted(hits, key=lambda hit: hit.hit_id)] == [
        *range(1, 801)
    ]
    said = (tmp_path / "edge.log").read_text()
    assert "Requests are answered, hits wait" in said
    assert "Traceback" not in said


@pytest.mark.fault(6)
async def test_what_was_answered_is_not_lost_when_the_edge_is_stopped_under_load(
    kafka: str, tmp_path: Path, keyring: Keyring
) -> None:
    settings = edge_settings(kafka, tmp_path)
    await apply_topics(settings)
    answered: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        assert edge.process is not None
        async with asking(settings) as client:

            async def read(mail: str) -> None:
                path = pixel(keyring, mail)
                while True:
                    asked[mail] += 1
                    try:
                        answer = await client.get(path)
                    except httpx.TransportError:
                        return  # not answered
                    assert answer.content == PIXEL_GIF
                    answered[mail] += 1

            readers = [asyncio.create_task(read(new_message_id())) for _ in range(16)]
            await asyncio.to_thread(wait_until, "a load", lambda: answered.total() > 200, 60)
            edge.process.send_signal(signal.SIGTERM)
            await asyncio.gather(*readers)
        assert await asyncio.to_thread(edge.process.wait, 30) == 0
    hits = Counter(hit.message_id for hit in await all_hits(settings))
    for mail, count in answered.items():
        assert count <= hits[mail] <= asked[mail]


async def test_what_kafka_does_not_take_in_time_at_the_end_is_said(
    tmp_path: Path, keyring: Keyring
) -> None:
    settings = edge_settings(f"127.0.0.1:{free_port()}", tmp_path)
    log = tmp_path / "edge.log"
    with Service("edge", settings, log) as edge:
        async with asking(settings) as client:
            for _ in range(3):
                await client.get(pixel(keyring, new_message_id()))
        assert await asyncio.to_thread(edge.stop) == 0
    assert "Kafka had not acknowledged; they wait in the spool" in log.read_text()
    assert "Traceback" not in log.read_text()


async def test_ipv4_clients_of_an_ipv6_listener_are_ipv4_clients(
    kafka: str, tmp_path: Path, keyring: Keyring
) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 on this machine")
    settings = edge_settings(kafka, tmp_path, edge_host="::")
    await apply_topics(settings)
    mail = new_message_id()
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        for host in ("127.0.0.1", "[::1]"):
            async with asking(settings, host) as client:
                assert (await client.get(pixel(keyring, mail))).content == PIXEL_GIF
        assert edge.stop() == 0
    hits = await all_hits(settings)
    assert [hit.network for hit in hits] == ["127.0.0.0/24", "::/48"]


@pytest.mark.fault(29)
def test_a_head_that_is_dripped_in_is_cut_off(tmp_path: Path, keyring: Keyring) -> None:
    """A byte a second keeps no connection, and neither does silence."""
    settings = edge_settings(f"127.0.0.1:{free_port()}", tmp_path)
    with (
        Service("edge", settings, tmp_path / "edge.log"),
        socket.create_connection(("127.0.0.1", settings.edge_port)) as dripping,
        socket.create_connection(("127.0.0.1", settings.edge_port)) as silent,
    ):
        begun = time.monotonic()
        dripping.sendall(b"GET /o/")
        dripping.settimeout(0.5)
        with contextlib.suppress(ConnectionError):
            while True:
                assert time.monotonic() - begun < 20
                dripping.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    if not dripping.recv(100):
                        break
        silent.settimeout(5)
        with contextlib.suppress(ConnectionError):
            assert silent.recv(100) == b""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"MAILWAKE_KEYRING": "/no/such/keys.json"}, "/no/such/keys.json: there is no key file"),
        ({"MAILWAKE_KEYRING": os.devnull}, "not a key file"),
        ({"MAILWAKE_EDGE_PORT": "seven"}, "MAILWAKE_EDGE_PORT must be a whole number"),
        ({"MAILWAKE_EDGE_HOST": "no.such.host.invalid"}, "cannot listen on port"),
        ({"MAILWAKE_EDGE_PRT": "1"}, "did you mean MAILWAKE_EDGE_PORT?"),
        ({"MAILWAKE_TRUSTED_PROXIES": "10.0.0.1/8"}, "MAILWAKE_TRUSTED_PROXIES must be networks"),
        ({"MAILWAKE_ASN_FILE": "/no/such.mmdb"}, "/no/such.mmdb: No such file or directory; MAIL"),
        ({"MAILWAKE_ASN_FILE": os.devnull}, "it is damaged, or not in MaxMind's format"),
    ],
)
def test_what_is_set_wrong_is_said_in_one_line(
    tmp_path: Path, keyring: Keyring, wrong: dict[str, str], said: str
) -> None:
    assert said in one_line(tmp_path, wrong)


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path, keyring: Keyring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = one_line(tmp_path, {"MAILWAKE_EDGE_PORT": str(port)})
    assert f"cannot listen on port {port} of 127.0.0.1 (Address already in use)" in told


def one_line(folder: Path, wrong: dict[str, str]) -> str:
    """What `mailwake edge` says when it cannot start; asserts that it is a line and no more."""
    environ = {"MAILWAKE_KEYRING": str(folder / "keys.json"), "MAILWAKE_EDGE_PORT": "0"} | wrong
    ended = subprocess.run(
        [sys.executable, "-m", "mailwake.cli", "edge"],
        env=without_settings() | {"MAILWAKE_LOG_LEVEL": "error"} | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode in (2, 3)
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("mailwake edge: ")
    return line
