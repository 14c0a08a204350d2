"""All services of an installation, two processes each, which are replaced one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailwake.settings import Settings, to_environ
from mailwake_local.ports import free_port
from tests.balancer import Balancer, Behind
from tests.following import until
from tests.running import Service, without_settings

READERS_FIRST = (
    *("digest", "loader", "webhooks", "notifier"),
    *("enricher", "edge", "relay", "api"),
)
"""The order of an upgrade (docs/operations/upgrade.md)."""
SERVED = ("edge", "api", "relay")
"""What clients call, through a load balancer."""


class Member:
    """One process; its successors have its folder, its ports and its name."""

    def __init__(self, kind: str, number: int, settings: Settings, folder: Path) -> None:
        self.kind = kind
        self.log = folder / f"{kind}-{number}.log"
        mine: dict[str, Any] = {"state": folder / f"{kind}-{number}.state"}
        if kind in SERVED:
            mine |= {f"{kind}_port": free_port(), "drain_s": 300.0}
        if kind == "enricher":
            mine["worker"] = str(number)
        self.settings = replace(settings, **mine)
        self.service = Service(kind, self.settings, self.log)
        self.behind: Behind | None = None

    @property
    def port(self) -> int:
        """Where clients call it."""
        port: int = getattr(self.settings, f"{self.kind}_port")
        return port


class Fleet:
    """Runs all of them; `balancers` are what clients call, by service.

    `next_version` is the folder of the other version (`tests.next_version`).
    """

    def __init__(self, settings: Settings, folder: Path, next_version: Path) -> None:
        self._settings = settings
        self._next = {"PYTHONPATH": str(next_version)}
        self.balancers = {kind: Balancer() for kind in SERVED}
        self.members = [
            Member(kind, number, settings, folder) for kind in READERS_FIRST for number in range(2)
        ]

    async def start(self) -> None:
        """Starts all, of this version."""
        for member in self.members:
            member.service.start(wait=False)
        for member in self.members:
            await self._ready(member)

    @contextlib.asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """The balancers look after their processes inside."""
        async with contextlib.AsyncExitStack() as stack:
            for balancer in self.balancers.values():
                await stack.enter_async_context(balancer.running())
            yield

    def of(self, kind: str) -> list[Member]:
        """The processes of a service."""
        return [member for member in self.members if member.kind == kind]

    def kill(self) -> None:
        """Ends all at once."""
        for member in self.members:
            member.service.kill()

    async def prepare(self) -> None:
        """The jobs before an upgrade: topics and tables, by the next version."""
        for command in (["topics", "apply"], ["migrate"]):
            environ = without_settings() | to_environ(self._settings) | self._next
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-P", "-m", "mailwake.cli", *command],
                env=environ,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr

    async def replace(self, member: Member, *, next_version: bool) -> None:
        """Ends one in order, and starts its successor; a client that was told of it by the load
        balancer alone must not notice."""
        process = member.service.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        if behind := member.behind:
            await until(
                f"nobody calls {member.log.stem}",
                lambda: not behind.ready and not behind.under_way,
                60,
            )
            assert process.poll() is None, f"{member.log.stem} left before it was let go"
            self.balancers[member.kind].take_out(behind)
            process.send_signal(signal.SIGTERM)  # so that its time to drain need not be waited for
        status = await asyncio.to_thread(process.wait, 60)
        assert status == 0, f"{member.log.stem} ended with {status}: {said(member)}"
        environ = self._next if next_version else {}
        member.service = Service(member.kind, member.settings, member.log, environ)
        member.service.start(wait=False)
        await self._ready(member)

    async def _ready(self, member: Member) -> None:
        await asyncio.to_thread(member.service.wait_ready)
        if member.kind in SERVED:
            ops = f"http://127.0.0.1:{member.service.ops_port}"
            public = f"http://127.0.0.1:{member.port}"
            health = ops if member.kind == "relay" else public
            behind = self.balancers[member.kind].put(f"127.0.0.1:{member.port}", f"{health}/ready")
            member.behind = behind
            await until(f"{member.log.stem} is called", lambda: behind.ready, 60)


def said(member: Member) -> str:
    """The end of what one has logged."""
    return member.log.read_text()[-3000:]
