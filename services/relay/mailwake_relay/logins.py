"""Checks passwords: off the event loop, in one time for all wrong ones, once for many mails."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mailwake import metrics
from mailwake.errors import ConfigError
from mailwake_relay.users import MAX_PASSWORD, Login, new_login, read_users

log = logging.getLogger("mailwake.relay")

VERIFIED_S = 600.0
"""So long a password that was right needs no hashing again."""
_VERIFIED_MOST = 10_000
WRONG_S = 1.0
"""A wrong password waits so long for its answer, and longer with each that was wrong before it."""
_WRONG_MOST_S = 8.0
_WRONG_FORGET_S = 300.0
_THREADS = 2


class Logins:
    """The users of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a file that cannot be used."""
        self._path = path
        self._users = read_users(path)
        self._stamp = self._look()
        self._key = os.urandom(32)
        self._nobody = new_login("nobody", "nobody", os.urandom(16))
        self._verified: dict[bytes, tuple[Login, float]] = {}
        self._wrong: dict[str, tuple[int, float]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="login")

    async def check(self, name: bytes, password: bytes, whom: bytes = b"") -> Login | None:
        """Whose name and password these are, or for whom that login may act: `whom` is a tenant and
        user, or empty. None after a while when they are nobody's, or it may not."""
        self._refresh()
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text = ""
        login = self._users.get(text)
        seen = hmac.digest(self._key, b"%d:%b%b" % (len(name), name, password), "sha256")
        now = time.monotonic()
        known = self._verified.get(seen)
        if login is not None and known is not None and known[0] == login and now < known[1]:
            metrics.RELAY_LOGINS.labels("remembered").inc()
            return await self._acting(login, text, whom)
        if len(password) > MAX_PASSWORD:
            password = b""
        loop = asyncio.get_running_loop()
        # A name that is not known costs the same hash: time tells nothing.
        fits = await loop.run_in_executor(self._pool, (login or self._nobody).fits, password)
        if login is not None and fits:
            if len(self._verified) >= _VERIFIED_MOST:
                self._verified.clear()
            self._verified[seen] = login, now + VERIFIED_S
            metrics.RELAY_LOGINS.labels("right").inc()
            return await self._acting(login, text, whom)
        metrics.RELAY_LOGINS.labels("wrong").inc()
        await asyncio.sleep(self._penalty(text))
        return None

    async def _acting(self, login: Login, name: str, whom: bytes) -> Login | None:
        acting = login.acting(name, whom.decode(errors="replace"))
        if acting is None:
            log.warning("a login asks to send for another user, and may not")
            await asyncio.sleep(self._penalty(name))
        return acting

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _penalty(self, name: str) -> float:
        now = time.monotonic()
        if len(self._wrong) >= _VERIFIED_MOST:
            self._wrong.clear()
        times, last = self._wrong.get(name, (0, now))
        times = times + 1 if now - last < _WRONG_FORGET_S else 1
        self._wrong[name] = times, now
        return min(WRONG_S * times, _WRONG_MOST_S)

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._users = read_users(self._path)
        except ConfigError as error:
            log.error("the users stay as they were: %s", error)
        else:
            log.info("%s users read anew", len(self._users))

    def _look(self) -> tuple[int, int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns
