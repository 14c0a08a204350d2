"""The edge as its own process honours what recipients say, on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiokafka.admin import NewTopic

from mailwake.contracts import HIT, ConsentState, Hit, Purpose, new_consent
from mailwake.ids import new_message_id, now_ms, reader_of
from mailwake.kafka import start_admin, start_producer, stop_client
from mailwake.keyring import Keyring
from mailwake.register import Register
from mailwake.settings import Settings
from mailwake.tokens import Token
from mailwake.topics_apply import apply_topics
from mailwake_edge.answers import PIXEL_GIF
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.edges import edge_settings
from tests.following import until
from tests.running import Service, wait_until
from tests.topics import read_all

TARGET = "https://example.com/offer"
ANNA, BOB, CAROL = "a" * 32, "b" * 32, "c" * 32
PROMISE_S = 5.0
PRODUCED, WITHHELD = "mailwake_edge_produced_total", "mailwake_edge_withheld_total"


class Reader:
    """Fetches pixels and links of mails to given recipients; each request is of a mail of its own.

    Attributes:
        asked: message_id -> when it was asked for, monotonic.
    """

    def __init__(self, keyring: Keyring, client: httpx.AsyncClient) -> None:
        self._keyring = keyring
        self._client = client
        self.asked: dict[str, float] = {}

    async def open(self, *recipients: str) -> str:
        """Fetches the pixel; gives the message_id."""
        message_id = new_message_id()
        token = Token(
            *("open", "acme", message_id, self._index(recipients), "identified"),
            readers=tuple(map(reader_of, recipients)),
        )
        answer = await self._get(message_id, "/o/" + self._keyring.seal(token))
        assert (answer.status_code, answer.content) == (200, PIXEL_GIF)
        return message_id

    async def click(self, *recipients: str) -> str:
        """Follows a link; gives the message_id."""
        message_id = new_message_id()
        token = Token(
            *("click", "acme", message_id, self._index(recipients), "identified", 0, TARGET),
            readers=tuple(map(reader_of, recipients)),
        )
        answer = await self._get(message_id, "/c/" + self._keyring.seal(token))
        assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
        return message_id

    async def _get(self, message_id: str, path: str) -> httpx.Response:
        self.asked[message_id] = time.monotonic()
        return await self._client.get(path)

    @staticmethod
    def _index(recipients: tuple[str, ...]) -> int:
        return 1 if len(recipients) == 1 else 0


@contextlib.asynccontextmanager
async def reading(settings: Settings, keyring: Keyring) -> AsyncIterator[Reader]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.edge_port}") as client:
        yield Reader(keyring, client)


@contextlib.asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[Register]:
    """The register as the API has it: another process's."""
    producer = await start_producer(settings, client_id="test", linger_ms=0)
    register = Register(settings, producer)
    register.start()
    try:
        yield register
    finally:
        await register.stop()
        await stop_client(producer)


async def say(register: Register, recipient: str, purpose: Purpose, state: ConsentState) -> None:
    said = new_consent("acme", recipient, purpose, state, now_ms(), "withdrawal_page")
    await register.write_consents([said])


async def hits_of(settings: Settings) -> dict[str, Hit]:
    """message_id -> the hit."""
    records = await read_all(settings, "hits")
    return {hit.message_id: hit for each in records for hit in HIT.read(each.value or b"")[0]}


@pytest.mark.fault(33)
async def test_who_withdraws_leaves_no_trace_from_then_on(
    kafka: str, tmp_path: Path, keyring: Keyring
) -> None:
    settings = edge_settings(kafka, tmp_path, partitions=2, edge_linger_ms=5)
    await apply_topics(settings)
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        async with reading(settings, keyring) as reader, writing(settings) as register:
            kept = [await reader.open(ANNA), await reader.click(ANNA)]

            await say(register, ANNA, "opens", "denied")
            withdrawn_at = time.monotonic()
            meanwhile = []
            while time.monotonic() < withdrawn_at + 1:
                meanwhile.append(await reader.open(ANNA))
                await asyncio.sleep(0.005)

            withheld = [await reader.open(ANNA), await reader.open(BOB, ANNA, CAROL)]
            kept += [
                await reader.open(BOB),
                await reader.click(ANNA),
                await reader.click(BOB, ANNA),
            ]
            await say(register, ANNA, "clicks", "denied")
            await asyncio.sleep(1)
            withheld += [await reader.click(ANNA), await reader.click(BOB, ANNA)]
            kept += [await reader.click(BOB), await reader.open(CAROL, BOB)]

            await say(register, ANNA, "opens", "granted")
            await asyncio.sleep(1)
            kept.append(await reader.open(BOB, ANNA))
            withheld.append(await reader.click(ANNA))
        withheld_count = edge.metric(WITHHELD)
        assert edge.stop() == 0
    hits = await hits_of(settings)
    late = [reader.asked[each] - withdrawn_at for each in meanwhile if each in hits]
    print(f"honoured {max(late, default=0) * 1000:.0f} ms after the write")
    assert max(late, default=0) < 1 < PROMISE_S
    assert set(hits) - set(meanwhile) == set(kept)
    assert {(hit.mode, hit.network) for hit in hits.values()} == {("identified", "127.0.0.0/24")}
    assert withheld_count == len(withheld) + len(meanwhile) - len(late)


async def test_what_was_said_before_the_edge_began(
    kafka: str, tmp_path: Path, keyring: Keyring
) -> None:
    settings = edge_settings(kafka, tmp_path, partitions=2, edge_linger_ms=5)
    await apply_topics(settings)
    async with writing(settings) as register:
        await say(register, ANNA, "opens", "denied")
    with Service("edge", settings, tmp_path / "edge.log") as edge:
        async with reading(settings, keyring) as reader:
            withheld, kept = await reader.open(ANNA), await reader.open(BOB)
        assert edge.stop() == 0
    hits = await hits_of(settings)
    assert withheld not in hits
    assert (hits[kept].mode, hits[kept].recipient) == ("identified", 1)


@pytest.mark.fault(34)
async def test_without_consents_the_edge_serves_and_identifies_nobody(
    tmp_path: Path, keyring: Keyring
) -> None:
    """Kafka away when the edge starts; there without the topic; there; and away again."""
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = edge_settings(f"127.0.0.1:{local.port}", tmp_path, partitions=2, edge_linger_ms=5)
    log = tmp_path / "edge.log"
    edge = Service("edge", settings, log)
    try:
        began = time.monotonic()
        edge.start(wait=False)
        await asyncio.to_thread(wait_until, "it serves", lambda: edge.ask("/health"))
        await asyncio.sleep(1)
        assert not edge.ask("/ready"), "it waits a while for the consents"
        async with reading(settings, keyring) as reader:
            unready = await reader.open(BOB)
            await asyncio.to_thread(edge.wait_ready)
            assert time.monotonic() - began < 15
            anonymous = [unready, await reader.open(ANNA), await reader.click(BOB)]

            await asyncio.to_thread(local.start)
            await make(settings, "hits")
            await asyncio.to_thread(wait_until, "the hits come", lambda: edge.metric(PRODUCED) == 3)
            assert "consents is not followed now: Kafka at" in log.read_text()
            anonymous.append(await reader.open(BOB))

            await apply_topics(settings)
            async with writing(settings) as register:
                await say(register, ANNA, "opens", "denied")
            await until("they are followed", lambda: "consents is followed" in log.read_text())
            await asyncio.sleep(0.5)
            withheld, kept = await reader.open(ANNA), [await reader.open(BOB)]

            await asyncio.to_thread(local.stop)
            withheld_too = await reader.open(ANNA)
            kept.append(await reader.open(BOB))
            assert edge.ask("/ready")
            await asyncio.to_thread(local.start)
            await asyncio.to_thread(
                wait_until, "the rest comes", lambda: edge.metric(PRODUCED) == 6
            )
            assert edge.metric(WITHHELD + '{kind="open",reason="unknown"}') == 3
            assert edge.metric(WITHHELD + '{kind="open",reason="withdrawn"}') == 2
        assert await asyncio.to_thread(edge.stop) == 0
        hits = await hits_of(settings)
    finally:
        edge.kill()
        local.stop()
    assert set(hits) == {*anonymous, *kept}
    assert not {withheld, withheld_too} & set(hits)
    for each in anonymous:
        hit = hits[each]
        assert (hit.mode, hit.recipient, hit.network, hit.agent) == ("anonymous", 0, "", "")
    assert {hits[each].mode for each in kept} == {"identified"}
    assert "Traceback" not in log.read_text()


async def make(settings: Settings, topic: str) -> None:
    """One topic, as an operator who has forgotten the others."""
    admin = await start_admin(settings)
    try:
        await admin.create_topics([NewTopic(settings.topic(topic), 2, 1)])
    finally:
        await admin.close()
