"""Sends that may have been published although Kafka failed are put right before anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaError

from mailwake import ids
from mailwake.contracts import Display, Send
from mailwake.errors import UnavailableError
from mailwake.register import Register
from mailwake.settings import Settings
from mailwake_relay import sends as module
from mailwake_relay.sends import Sends


class Kafka:
    """One that takes what it is given, and answers as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[Send] = []
        self.fails: list[Exception] = []
        self.started = self.stopped = 0
        monkeypatch.setattr(module, "require_topics", self._nothing)
        monkeypatch.setattr(module, "start_producer", self._start)
        monkeypatch.setattr(module, "stop_client", self._stop)
        monkeypatch.setattr(module, "publish", self._publish)
        monkeypatch.setattr(module, "_AGAIN_S", 0.01)

    async def _nothing(self, *_: object) -> None:
        await asyncio.sleep(0)

    async def _start(self, *_: object, **__: object) -> object:
        self.started += 1
        return object()

    async def _stop(self, *_: object, **__: object) -> None:
        self.stopped += 1

    async def _publish(
        self, producer: object, settings: Settings, sends: Sequence[Send], *_: Sequence[Display]
    ) -> None:
        self.log += sends
        if self.fails:
            raise self.fails.pop(0)


def send() -> Send:
    return Send(
        message_id=ids.new_message_id(),
        tenant="acme",
        user="ben",
        sent_at=1,
        recipient_count=1,
        mode="anonymous",
        opens=True,
        clicks=True,
        links=["https://example.org/"],
    )


async def until_ready(sends: Sends) -> None:
    async with asyncio.timeout(5):
        while not sends.ready:  # noqa: ASYNC110 (it has no event to wait for)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("failures", [1, 3])
async def test_what_may_stand_is_corrected_before_the_next_send(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    kafka = Kafka(monkeypatch)
    settings = Settings()
    sends = Sends(settings, Register(settings))
    sends.start()
    try:
        await until_ready(sends)
        kafka.fails = [UnavailableError("away"), KafkaError(), UnavailableError("away")][:failures]
        first, second = send(), send()
        assert not await sends.publish([first], [])
        assert not sends.ready
        await until_ready(sends)
        assert await sends.publish([second], [])
        told = [(each.message_id, each.opens, each.clicks, each.links) for each in kafka.log]
        corrected: tuple[str, bool, bool, list[str]] = (first.message_id, False, False, [])
        assert told == [
            (first.message_id, True, True, first.links),
            *[corrected] * failures,  # the last of them was taken
            (second.message_id, True, True, second.links),
        ]
        assert kafka.started - kafka.stopped == 1
    finally:
        await sends.stop()
