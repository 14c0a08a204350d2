"""Starts the parts, keeps them running, and stops them in their order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from mailwake.errors import UnavailableError
from mailwake_local.board import Board, Pen
from mailwake_local.child import Child
from mailwake_local.parts import STORES, Part

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
CALM_S = 60.0
"""After so many seconds of life a further end counts as the first."""

_PREFIX = re.compile(r"mailwake( [a-z]+)?: ")
"""How `mailwake.cli` and the services begin the line that says what made them end."""


class Supervisor:
    """The parts of one installation. `start`, then `watch`; `stop` ends all, whatever came before.

    Children inherit `lock`, so that the data folder stays locked until the last one is gone.
    """

    def __init__(self, parts: Sequence[Part], logs: Path, lock: int, pen: Pen) -> None:
        self._parts = parts
        self._pen = pen
        self._ready = {part.name: asyncio.Event() for part in parts}
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._children = {
            part.name: Child(
                part.name,
                part.argv,
                {**environ, **part.environ},
                logs / f"{part.name}.log",
                inherited=[lock],
            )
            for part in parts
        }

    async def start(self) -> None:
        """Starts every part as soon as those it needs are ready; ends when all are.

        Raises UnavailableError with the last words of the first that failed.
        """
        board = Board(self._pen, [part.name for part in self._parts])
        with board.shown():
            try:
                async with asyncio.TaskGroup() as group:
                    for part in self._parts:
                        group.create_task(self._bring_up(part, board))
            except ExceptionGroup as group:
                failed, others = group.split(UnavailableError)
                if failed is None or others is not None:
                    raise
                raise failed.exceptions[0] from None
            finally:
                board.leave_unfinished()

    async def _bring_up(self, part: Part, board: Board) -> None:
        for name in part.after:
            await self._ready[name].wait()
        child = self._children[part.name]
        board.works(part.name, "starting")
        child.start()
        telling = asyncio.create_task(self._tell_progress(part, board))
        try:
            ended = await child.until_ready(part.probe, part.deadline_s)
        except UnavailableError as error:
            board.bad(part.name, "not ready")
            raise UnavailableError(_with_words(str(error), child.said()[-6:], child)) from None
        finally:
            telling.cancel()
        if ended is not None:
            board.bad(part.name, str(ended))
            raise UnavailableError(_with_words(f"{part.name} {ended}", ended.lines, child))
        board.good(part.name, _outcome(child.said()) if part.job else part.shows)
        self._ready[part.name].set()

    async def _tell_progress(self, part: Part, board: Board) -> None:
        """Puts what it says while it fetches something on its line."""
        while True:
            await asyncio.sleep(0.3)
            for line in self._children[part.name].said()[-1:]:
                if line.startswith("Fetching"):
                    board.works(part.name, line)

    async def watch(self) -> None:
        """Starts again, with growing pauses, whatever ends; never returns."""
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                if not part.job:
                    group.create_task(self._keep(part))

    async def _keep(self, part: Part) -> None:
        child = self._children[part.name]
        pause = FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            ended = await child.until_ended()
            if time.monotonic() - started > CALM_S:
                pause = FIRST_PAUSE_S
            why = _clear_words(ended.lines)
            what = f"{ended} ({why})" if why else str(ended)
            self._say("bad", part, f"{what}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            began = time.monotonic()
            with contextlib.suppress(UnavailableError):  # its status stays; the pause grows
                child.start()
            # However long it takes: one that waits for Kafka is not helped by another start.
            if await child.until_ready(part.probe, float("inf")) is None:
                self._say("good", part, f"ready again after {time.monotonic() - began:.1f} s")

    def _say(self, state: str, part: Part, text: str) -> None:
        mark = self._pen.mark("good" if state == "good" else "bad")
        at = self._pen.paint(time.strftime("%H:%M:%S"), 2)
        self._pen.line(f"  {mark} {part.name:12} {text}  {at}")

    async def stop(self) -> None:
        """Stops every part that runs: the edge, then what follows it, then the two stores."""
        running = [part for part in self._parts if self._runs(part)]
        board = Board(self._pen, [part.name for part in running])
        with board.shown():
            for stage in sorted({part.stop for part in running}):
                parts = [part for part in running if part.stop == stage]
                await asyncio.gather(*(self._stop(part, board) for part in parts))

    async def _stop(self, part: Part, board: Board) -> None:
        board.works(part.name, "stopping")
        if await self._children[part.name].stop(part.stop_s):
            board.good(part.name, "stopped")
        else:
            board.bad(part.name, f"did not stop within {part.stop_s:.0f} s and was killed")

    def _runs(self, part: Part) -> bool:
        child = self._children[part.name]
        return child.pid is not None and child.status is None

    def hurry(self) -> None:
        """Ends services at once and asks the two stores to end now; `stop` still waits for all.

        The stores are not killed: Kafka's own process would be left to end by itself.
        """
        for part in self._parts:
            child = self._children[part.name]
            if part.stop == STORES:
                child.ask()
            else:
                child.kill()


def _clear_words(lines: list[str]) -> str:
    """The line a process ended with, when it is one that a person can make use of."""
    return _PREFIX.sub("", lines[-1]) if lines and _PREFIX.match(lines[-1]) else ""


def _outcome(said: list[str]) -> str:
    """What a job has done, in short: it says a line for each thing it changed."""
    if not said or said[-1].startswith("nothing to do"):
        return "up to date"
    return f"{len(said)} created" if len(said) > 1 else said[0]


def _with_words(what: str, lines: list[str], child: Child) -> str:
    """What failed, with the last words of the process and where the rest of them stands.

    Where the process itself said in one line what a person can put right, that is all there is.
    """
    clear = _clear_words(lines)
    if clear or len(lines) == 1:
        return f"{what}: {clear or lines[0]}"
    words = "".join(f"\n    {line}" for line in lines)
    return f"{what}; its last words:{words}\n  The rest is in {child.log}" if words else what
