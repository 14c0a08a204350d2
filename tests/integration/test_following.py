"""A compacted topic followed on a real Kafka: from its start, through outages, read your writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic
from prometheus_client import REGISTRY

from mailwake.contracts import PREFERENCE, Preference, user_key
from mailwake.errors import UnavailableError
from mailwake.following import Follower
from mailwake.kafka import start_admin, start_producer
from mailwake.settings import Settings
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.following import put, until
from tests.installation import own_settings
from tests.running import standing_still

TOPIC = "preferences"


class Followed(Follower[Preference]):
    """A follower that keeps what stands, and how often it was told something."""

    def __init__(self, settings: Settings) -> None:
        self.stands: dict[bytes, int] = {}
        self.told = 0
        super().__init__(settings, TOPIC, PREFERENCE, self._keep)

    def _keep(self, key: bytes, value: Preference | None) -> None:
        self.told += 1
        if value is None:
            self.stands.pop(key, None)
        else:
            self.stands[key] = value.at


@contextlib.asynccontextmanager
async def followed(settings: Settings) -> AsyncIterator[Followed]:
    follower = Followed(settings)
    follower.start()
    try:
        yield follower
    finally:
        await follower.stop()


def record(user: str, at: int | None) -> tuple[bytes, bytes | None]:
    """A preference, or its tombstone."""
    value = None if at is None else PREFERENCE.encode(Preference("acme", user, at=at))
    return user_key("acme", user), value


def key(user: str) -> bytes:
    return user_key("acme", user)


async def make(settings: Settings, partitions: int = 4) -> None:
    admin = await start_admin(settings)
    try:
        made = await admin.create_topics([NewTopic(settings.topic(TOPIC), partitions, 1)])
        assert [error[1] for error in made.topic_errors] == [0]
    finally:
        await admin.close()


async def remove(settings: Settings) -> None:
    admin = await start_admin(settings)
    try:
        await admin.delete_topics([settings.topic(TOPIC)])
        while settings.topic(TOPIC) in await admin.list_topics():  # noqa: ASYNC110 - another's
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


@pytest.fixture
async def settings(kafka: str) -> Settings:
    made = own_settings(kafka)
    await make(made)
    return made


async def test_what_stood_and_what_comes(settings: Settings) -> None:
    users = [f"u{number}" for number in range(200)]
    await put(settings, TOPIC, [record(user, at) for at in (1, 2, 3) for user in users])
    await put(settings, TOPIC, [record(users[0], None), record("never", None)])
    async with followed(settings) as follower:
        assert not follower.caught_up.is_set()
        await asyncio.wait_for(follower.caught_up.wait(), 20)
        assert follower.stands == {key(user): 3 for user in users[1:]}
        assert follower.told == 602
        await put(settings, TOPIC, [record(users[0], 9), record(users[1], None)])
        await follower.current()
        assert follower.stands == {key(users[0]): 9, **{key(user): 3 for user in users[2:]}}
        assert follower.told == 604, "nothing was told twice"


async def test_an_empty_topic_is_known_at_once(settings: Settings) -> None:
    async with followed(settings) as follower:
        await follower.current()
        assert (follower.caught_up.is_set(), follower.stands) == (True, {})


async def test_current_waits_for_what_others_wrote(settings: Settings) -> None:
    """A hundred times, so that a barrier that only seems to be one is found out."""
    producer = await start_producer(settings, client_id="test", linger_ms=0)
    try:
        async with followed(settings) as one, followed(settings) as two:
            for at in range(1, 101):
                name, value = record(f"u{at % 7}", at)
                await producer.send_and_wait(settings.topic(TOPIC), value, key=name)
                await asyncio.gather(one.current(), two.current())
                assert one.stands[name] == two.stands[name] == at
    finally:
        await producer.stop()


async def test_what_cannot_be_read_is_counted_and_passed_over(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable() -> float:
        labels = {"topic": TOPIC}
        return REGISTRY.get_sample_value("mailwake_followed_unreadable_total", labels) or 0

    before = unreadable()
    bad = [(key("anna"), b"no json"), (key("anna"), b'{"user": "secret@example.com"}'), (None, b"")]
    await put(settings, TOPIC, [record("anna", 1), *bad, record("bob", 2)])
    async with followed(settings) as follower:
        await follower.current()
        assert follower.stands == {key("anna"): 1, key("bob"): 2}
    assert unreadable() == before + 3
    assert "a record of preferences cannot be read" in caplog.text
    assert "secret@" not in caplog.text


async def test_a_topic_that_comes_later(kafka: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = own_settings(kafka)
    caplog.set_level(logging.INFO, "mailwake.following")
    async with followed(settings) as follower:
        await until("the topic is missed", lambda: "mailwake topics apply" in caplog.text)
        await asyncio.sleep(1.5)
        assert caplog.text.count("is not followed now") == 1, "told once, not each second"
        with pytest.raises(UnavailableError, match=f"stands in {settings.topic(TOPIC)} now"):
            await follower.current(0.2)
        await make(settings)
        await put(settings, TOPIC, [record("anna", 1)])
        await follower.current(20)
        assert follower.stands == {key("anna"): 1}
        assert "preferences is followed again" in caplog.text


@pytest.mark.parametrize("partitions", [4, 1, 6])
async def test_a_topic_made_anew_is_read_from_its_start(
    settings: Settings, partitions: int
) -> None:
    users = [f"u{number}" for number in range(100)]
    await put(settings, TOPIC, [record(user, at) for at in (1, 2) for user in users])
    async with followed(settings) as follower:
        await follower.current()
        await remove(settings)
        await make(settings, partitions)
        await put(settings, TOPIC, [record(user, 7) for user in users[:50]])
        await until(
            "the new topic is read",
            lambda: list(follower.stands.values()).count(7) == 50,
        )
        await put(settings, TOPIC, [record(users[0], 8)])
        await follower.current(20)
        assert follower.stands[key(users[0])] == 8
        assert follower.stands[key(users[99])] == 2, "what was applied stays"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalKafka]:
    """A Kafka that a test may stop; not started."""
    made = LocalKafka(tmp_path / "kafka", port=free_port())
    yield made
    made.stop()


async def test_kafka_away_at_the_start_and_while_running(own: LocalKafka) -> None:
    settings = own_settings(f"127.0.0.1:{own.port}")
    async with followed(settings) as follower:
        with pytest.raises(UnavailableError, match="try again when it answers"):
            await follower.current(0.5)
        await asyncio.to_thread(own.start)
        await make(settings)
        await put(settings, TOPIC, [record("anna", 1)])
        await follower.current(20)

        for end in (own.stop, own.kill):
            await asyncio.to_thread(end)
            with pytest.raises(UnavailableError):
                await follower.current(0.5)
            assert follower.stands[key("anna")] >= 1, "what is known stays known"
            await asyncio.to_thread(own.start)
            at = follower.stands[key("anna")] + 1
            await put(settings, TOPIC, [record("anna", at)])
            await follower.current(30)
            assert follower.stands == {key("anna"): at}
        assert follower.told == 3, "nothing was told twice"


async def test_a_kafka_that_stands_still(own: LocalKafka) -> None:
    await asyncio.to_thread(own.start)
    settings = own_settings(own.bootstrap)
    await make(settings)
    await put(settings, TOPIC, [record("anna", 1)])
    async with followed(settings) as follower:
        await follower.current()
        with standing_still(own.pid):
            began = time.monotonic()
            with pytest.raises(UnavailableError):
                await follower.current(0.5)
            assert time.monotonic() - began < 2
            assert follower.stands == {key("anna"): 1}
        await put(settings, TOPIC, [record("anna", 2)])
        await follower.current(20)
        assert follower.stands == {key("anna"): 2}


async def test_stopping_does_not_wait_for_a_kafka_that_stands_still(own: LocalKafka) -> None:
    await asyncio.to_thread(own.start)
    settings = own_settings(own.bootstrap)
    with standing_still(own.pid):
        follower = Followed(settings)
        follower.start()
        await asyncio.sleep(1)
        began = time.monotonic()
        await follower.stop()
        assert time.monotonic() - began < 10
