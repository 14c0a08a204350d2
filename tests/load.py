"""Load on the edge, as tests of faults need it: who asked, and who was answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

import httpx

from mailwake.ids import new_message_id
from mailwake.keyring import Keyring
from mailwake.settings import Settings
from mailwake_edge.answers import PIXEL_GIF
from tests.edges import all_hits, asking, pixel
from tests.running import wait_until

READERS = 16


class Load:
    """Readers that open mails one after the other, each the mail of its own.

    Attributes:
        asked: how often each mail was asked for.
        answered: how often that was answered.
        unanswered: the requests that found no edge, or lost it, by what went wrong.
        seconds: how long each answer took.
    """

    def __init__(self, settings: Settings, keyring: Keyring, readers: int = READERS) -> None:
        self._settings, self._keyring, self._readers = settings, keyring, readers
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.seconds: list[float] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They read inside; those whose edge is gone try again. Raises what an answer did wrong."""
        async with asking(self._settings) as client, asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(client)) for _ in range(self._readers)]
            yield
            for reader in readers:
                reader.cancel()

    async def go_on(self, answers: int) -> None:
        """Waits until so many more are answered."""
        until = self.answered.total() + answers
        what = f"{answers} more answers"
        await asyncio.to_thread(wait_until, what, lambda: self.answered.total() >= until, 60)

    def p99_ms(self) -> float:
        """How long 99 of 100 answers took at most, in milliseconds."""
        return sorted(self.seconds)[len(self.seconds) * 99 // 100] * 1000

    def fate(self, hits: Counter[str]) -> dict[str, int]:
        """For the table of faults: `hits` are those that were found, by mail."""
        return {
            "answered": self.answered.total(),
            "lost": sum(max(0, count - hits[mail]) for mail, count in self.answered.items()),
            "doubled": sum(max(0, count - self.asked[mail]) for mail, count in hits.items()),
        }

    async def _read(self, client: httpx.AsyncClient) -> None:
        mail = new_message_id()
        path = pixel(self._keyring, mail)
        while True:
            self.asked[mail] += 1
            begun = time.monotonic()
            try:
                answer = await client.get(path)
            except httpx.TransportError as error:
                self.unanswered[type(error).__name__] += 1
                await asyncio.sleep(0.05)
            else:
                assert answer.status_code == 200
                assert answer.content == PIXEL_GIF
                self.answered[mail] += 1
                self.seconds.append(time.monotonic() - begun)


async def found(settings: Settings, load: Load) -> Counter[str]:
    """The hits in Kafka by mail, once there are as many as answers, or after a minute."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        hits = Counter(hit.message_id for hit in await all_hits(settings))
        late = asyncio.get_running_loop().time() > deadline
        if late or all(hits[mail] >= count for mail, count in load.answered.items()):
            return hits
        await asyncio.sleep(0.5)
