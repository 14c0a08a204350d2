"""`fdatasync` for the event loop: the kernel does it and says when it is done
(https://man7.org/linux/man-pages/man2/io_submit.2.html, since Linux 4.18 for any file).

A thread would have to be woken for each sync, and would wake the loop again: five times the work
of the sync, and the loop and it would wait for each other. Where a system has nothing of the kind,
or forbids it, a thread does it all the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

log = logging.getLogger("mailwake.edge")

Done = Callable[[BaseException | None], None]
"""Told when a sync has ended, and what went wrong, if anything did."""

_MOST = 16  # under way at once; the spool has two
_TRY_S = 5


class Syncs:
    """Begins syncs, on one event loop; `close` comes when all have ended."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        """`thread` is for systems that cannot do without."""
        self._loop = asyncio.get_running_loop()
        self._thread = thread
        self._ended: list[tuple[Done, BaseException | None]] = []
        self._kernel = _kernel()
        if self._kernel is None:
            log.info("the system syncs no file by itself; a thread waits for each sync")
        else:
            self._loop.add_reader(self._kernel[0].fileno, self._tell)

    def begin(self, descriptor: int, done: Done) -> None:
        """Syncs what was written to a file; the file may be closed at once. `done` is called
        later, on the loop, but at once when the sync cannot even begin."""
        if self._kernel is None:
            own = os.dup(descriptor)
            work = self._loop.run_in_executor(self._thread, _sync, own)
            work.add_done_callback(lambda work: done(work.exception()))
            return
        context, fdsync = self._kernel
        operation = fdsync(descriptor)
        operation.set_callback(lambda result: self._ended.append((done, _error(result))))
        try:
            context.submit(operation)
        except Exception as error:  # what it raises is not only OSError
            done(error)

    def close(self) -> None:
        """Lets go of what the system keeps for it."""
        if self._kernel is not None:
            self._loop.remove_reader(self._kernel[0].fileno)
            self._kernel = None

    def _tell(self) -> None:
        if self._kernel is None:
            return
        context, _ = self._kernel
        try:
            context.poll()
        except BlockingIOError:
            return
        context.process_events()
        ended, self._ended = self._ended, []
        for done, error in ended:
            done(error)


def _kernel() -> tuple[Any, Callable[[int], Any]] | None:
    """Where syncs are handed in, and what makes one; None where the kernel does not take them."""
    results: list[int] = []
    try:
        from caio.linux_aio import Context, Operation  # not on every system
    except ImportError:
        return None
    probe = os.memfd_create("mailwake")
    try:
        context = Context(_MOST)
        operation = Operation.fdsync(probe)
        operation.set_callback(results.append)
        context.submit(operation)
        context.process_events(min_requests=1, timeout=_TRY_S)
        context.poll()
    except Exception:  # OSError, SystemError, ValueError
        return None
    finally:
        os.close(probe)
    return (context, Operation.fdsync) if results == [0] else None


def _error(result: int) -> OSError | None:
    """What a result says: 0, or an error's number, negative in 64 bits."""
    number = -result & (1 << 64) - 1
    return OSError(number, os.strerror(number)) if number else None


def _sync(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
