"""One POST over real sockets: to no target but a public one, and to its end in time whatever the
other side does."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpcore
import pytest

from mailwake.guard import Network, RefusedError, Target, check_url
from mailwake_local.certificate import make_certificate
from mailwake_webhooks.post import Answer, Poster, answer_of, retry_after
from mailwake_webhooks.resolve import Resolver, look_up
from tests.webhooks import receiver as answers
from tests.webhooks.receiver import HOST, Answering, Receiver, says
from tests.webhooks.targets import NOT_PUBLIC, REFUSED, TAKEN, written

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"),)
TIMEOUT_S = 1.0


@contextlib.asynccontextmanager
async def poster(
    resolver: Resolver, context: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[Poster]:
    made = Poster(resolver, timeout_s=timeout_s, most_connections=10, context=context)
    try:
        yield made
    finally:
        await made.stop()


async def post(by: Poster, url: str) -> Answer:
    """As the courier does it: the URL is checked first."""
    try:
        target = check_url(url, http=True)
    except RefusedError:
        return Answer("refused")
    return await by.post(target, [(b"webhook-id", b"1")], b"{}")


def local(server: Receiver, name: str, scheme: str = "http") -> Target:
    return check_url(server.url(name, scheme), http=True, networks=LOOPBACK)


async def try_it(server: Receiver, name: str) -> Answer:
    async with poster(Resolver(LOOPBACK)) as by:
        return await by.post(local(server, name), [(b"webhook-id", b"1")], b"{}")


@pytest.fixture
async def canary() -> AsyncIterator[Receiver]:
    """Listens on loopback, and must hear of nobody."""
    async with Receiver().listening() as listening:
        yield listening


@pytest.mark.fault(28)
async def test_no_refused_target_is_connected_to(canary: Receiver) -> None:
    async with poster(Resolver()) as by:
        for url in REFUSED.values():
            for scheme in ("https:", "http:"):
                target = written(url, canary.port).replace("https:", scheme, 1)
                told = await post(by, target)
                if not target.startswith("http://hooks.example.com/"):
                    assert told.outcome == "refused", target
        # And where the check of the URL is left out, that of the address holds.
        for host in ("127.0.0.1", "localhost", "0x7f.1", "2130706433", "::1", "0"):
            bracketed = f"[{host}]" if ":" in host else host
            target = Target(f"http://{bracketed}:{canary.port}/", host, canary.port)  # type: ignore[assignment]
            told = await by.post(target, [], b"{}")  # type: ignore[arg-type]
            assert told.outcome in ("refused", "dns"), host
    await asyncio.sleep(0.1)
    assert canary.connections == 0


@pytest.mark.fault(28)
async def test_no_name_that_leads_elsewhere_is_connected_to(canary: Receiver) -> None:
    for why, addresses in NOT_PUBLIC.items():

        async def lookup(host: str, port: int, found: Sequence[str] = addresses) -> Sequence[str]:
            return found

        async with poster(Resolver(lookup=lookup)) as by:
            told = await post(by, f"http://hooks.example.com:{canary.port}/")
        assert told.outcome == "refused", why
    await asyncio.sleep(0.1)
    assert canary.connections == 0


@pytest.mark.fault(28)
async def test_a_name_that_rebinds_is_looked_up_once_and_checked_each_time(
    canary: Receiver,
) -> None:
    """It stands for a public address first and for loopback later."""
    asked = 0
    connected: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return ["192.88.1.1"] if asked == 1 else ["127.0.0.1"]

    async with poster(Resolver(lookup=lookup), timeout_s=0.3) as by:
        inner = by._pool._network_backend._inner  # type: ignore[attr-defined]

        async def connect_tcp(host: str, *more: object) -> object:
            connected.append(host)
            raise httpcore.ConnectError

        inner.connect_tcp = connect_tcp
        outcomes = [
            (await post(by, f"http://hooks.example.com:{canary.port}/")).outcome for _ in range(3)
        ]
    assert outcomes == ["connect", "refused", "refused"]
    assert connected == ["192.88.1.1"]
    assert asked == 3
    assert canary.connections == 0


@pytest.mark.fault(28)
@pytest.mark.fault(19)
async def test_a_redirect_is_a_failure_and_is_not_followed(canary: Receiver) -> None:
    for status in (301, 302, 303, 307, 308):
        leads = says(status, f"Location: http://{HOST}:{canary.port}/")
        async with Receiver(away=leads).listening() as server:
            assert await try_it(server, "away") == Answer("redirect", status)
    assert canary.connections == 0


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says(200, body="fine"), Answer("delivered", 200)),
        (says(204), Answer("delivered", 204)),
        (says(500), Answer("status", 500)),
        (says(404), Answer("status", 404)),
        (says(410), Answer("gone", 410)),
        (says(429, "Retry-After: 7"), Answer("busy", 429, 7.0)),
        (says(503, "retry-after: 8"), Answer("busy", 503, 8.0)),
        (says(429), Answer("busy", 429)),
        (answers.hangs, Answer("timeout")),
        (answers.slow_head, Answer("timeout")),
        (answers.informs_for_ever, Answer("timeout")),
        (answers.resets, Answer("broken")),
        (answers.closes, Answer("broken")),
        (answers.no_http, Answer("broken")),
        (answers.huge_head, Answer("broken")),
        (answers.slow_body, Answer("delivered", 200)),
        (answers.huge_body, Answer("delivered", 200)),
    ],
)
async def test_every_way_to_answer_ends_in_time_and_takes_no_memory(
    answer: Answering, expected: Answer
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    async with Receiver(it=answer).listening() as server:
        told = await try_it(server, "it")
    assert told == expected
    assert time.monotonic() - began < TIMEOUT_S + 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind((HOST, 0))
        url = f"http://{HOST}:{held.getsockname()[1]}/"
        async with poster(Resolver(LOOPBACK)) as by:
            target = check_url(url, http=True, networks=LOOPBACK)
            assert (await by.post(target, [], b"{}")).outcome == "connect"


async def test_a_name_that_nobody_knows() -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async with poster(Resolver(lookup=lookup)) as by:
        assert (await post(by, "https://hooks.example.com/")).outcome == "dns"


async def test_a_look_up_that_takes_for_ever_ends_with_the_attempt() -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    async with poster(Resolver(lookup=lookup), timeout_s=0.2) as by:
        assert (await post(by, "https://hooks.example.com/")).outcome == "timeout"


async def test_the_systems_resolver_is_asked() -> None:
    assert HOST in await look_up("localhost", 80)
    with pytest.raises(OSError):  # noqa: PT011 (each resolver has its own words)
        await look_up("no-such-name.invalid", 80)
    with pytest.raises(OSError):  # noqa: PT011
        await look_up("a" * 70 + ".example", 80)


async def test_tls_that_does_not_hold_is_a_failure_and_the_name_is_what_is_checked(
    tmp_path: Path,
) -> None:
    chain, key = make_certificate(tmp_path)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(chain, key)
    names: list[str | None] = []
    theirs.sni_callback = lambda sock, name, context: names.append(name)
    ours = ssl.create_default_context(cafile=str(chain))

    async def lookup(host: str, port: int) -> Sequence[str]:
        return [HOST]

    async with Receiver().listening(theirs) as server:
        for context, host, outcome in (
            (None, "localhost", "tls"),  # nobody vouches for it
            (ours, "hooks.example.com", "tls"),  # it is another's
            (ours, "localhost", "delivered"),
        ):
            async with poster(Resolver(LOOPBACK, lookup), context) as by:
                target = Target(f"https://{host}:{server.port}/", host, server.port)
                assert (await by.post(target, [], b"{}")).outcome == outcome
        assert names == ["localhost", "hooks.example.com", "localhost"]
        assert [each.headers["host"] for each in server.got] == [f"localhost:{server.port}"]
    async with Receiver().listening() as server, poster(Resolver(LOOPBACK)) as by:
        told = await by.post(local(server, "it", "https"), [], b"{}")  # it speaks no TLS
        assert told.outcome in ("tls", "broken", "connect", "timeout")
        assert server.got == []


async def test_a_connection_is_used_again_where_the_body_is_short() -> None:
    answering = {"short": says(200, body="x" * 100), "long": says(200, body="x" * 100_000)}
    async with Receiver(**answering).listening() as server, poster(Resolver(LOOPBACK)) as by:
        for _ in range(3):
            await by.post(local(server, "short"), [], b"{}")
        assert server.connections == 1
        for _ in range(3):
            await by.post(local(server, "long"), [], b"{}")
        assert server.connections == 3


@pytest.mark.parametrize("url", TAKEN)
def test_a_url_means_the_same_to_the_one_who_checks_and_to_the_one_who_connects(url: str) -> None:
    target = check_url(url)
    theirs = httpcore.URL(target.url)
    assert theirs.origin.host.decode().strip("[]") == target.host
    assert theirs.origin.port == target.port


def test_a_retry_after_is_read_in_both_forms() -> None:
    now = 1_767_225_600.0
    assert retry_after("120", now) == 120
    assert retry_after("Thu, 01 Jan 2026 00:01:00 GMT", now) == 60
    assert retry_after("Wed, 31 Dec 2025 00:01:00 GMT", now) == 0
    for wrong in ("", "-5", "soon", "1e9", "²", "9" * 40, "Thu, 99 Jan 2026"):
        assert retry_after(wrong, now) == 0
    assert answer_of(500, [(b"Retry-After", b"60")]) == Answer("status", 500)
