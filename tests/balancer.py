"""A load balancer in front of several processes of a service, as its clients see it."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

EVERY_S = 0.25


@dataclass
class Behind:
    """A process behind it.

    Attributes:
        address: of its port for clients.
        health: the URL that is asked whether it is ready.
        ready: what was answered last.
        under_way: how many calls it has now.
    """

    address: str
    health: str
    ready: bool = False
    under_way: int = 0


class Balancer:
    """Gives each call to a process that said that it is ready when it was last asked.

    It believes a yes, a no, and a closed port; a process that is only slow to answer stays what it
    was, as behind a balancer that asks several times.
    """

    def __init__(self) -> None:
        self._all: list[Behind] = []
        self._turn = 0

    def put(self, address: str, health: str) -> Behind:
        """Puts a process behind it."""
        made = Behind(address, health)
        self._all.append(made)
        return made

    def take_out(self, behind: Behind) -> None:
        """Forgets one that is gone."""
        self._all.remove(behind)

    @contextlib.contextmanager
    def call(self) -> Iterator[str]:
        """The address of the one that is to have this call, which lasts as long as the context."""
        ready = [each for each in self._all if each.ready]
        assert ready, f"none of {len(self._all)} is ready"
        self._turn += 1
        chosen = ready[self._turn % len(ready)]
        chosen.under_way += 1
        try:
            yield chosen.address
        finally:
            chosen.under_way -= 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It looks after its processes inside."""
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.gather(*(self._ask(each) for each in list(self._all)))
            await asyncio.sleep(EVERY_S)

    async def _ask(self, behind: Behind) -> None:
        with contextlib.suppress(TimeoutError):
            behind.ready = await asyncio.to_thread(_is_ready, behind.health)


def _is_ready(url: str) -> bool:
    """Raises TimeoutError when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.URLError as error:  # an answer that is no yes, or none
        if isinstance(error.reason, TimeoutError):
            raise error.reason from None
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        return False
