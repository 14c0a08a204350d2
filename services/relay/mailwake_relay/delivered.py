"""Remembers what the next host has taken and the client does not know of yet.

A client that was not told of success sends the mail again. What was delivered of it before must not
be delivered once more, and what was not must be. So a delivery is remembered from the next host's
250 until the client has plainly heard ours; a mail that is sent anew after that is a new mail.

Kept in memory and in a file, a line for each change, so that it outlives the process (a crash of
the machine may cost the last lines).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from mailwake.errors import ConfigError

log = logging.getLogger("mailwake.relay")

KEPT_S = 2 * 86400
"""So long a client may take to send again."""
_LINES_MOST = 20_000


def delivery_key(*parts: str | bytes) -> bytes:
    """The key of one mail to one recipient (BLAKE2b, 128 bits): tells nothing of either."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


class Delivered:
    """The keys of deliveries; one process a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when the folder cannot be used."""
        self._path = folder / "delivered"
        self._keys: dict[bytes, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._read()
                self._rewrite()
            except BaseException:
                os.close(self._lock)
                raise
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: another relay keeps its deliveries here; give each its own "
                "MAILWAKE_STATE"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{folder}: cannot keep deliveries here ({error.strerror}); MAILWAKE_STATE names "
                "the folder"
            ) from None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: bytes) -> bool:
        at = self._keys.get(key)
        return at is not None and time.time() - at < KEPT_S

    def add(self, keys: Iterable[bytes]) -> None:
        """Remembers deliveries."""
        now = int(time.time())
        new = [key for key in keys if key not in self._keys]
        self._keys |= dict.fromkeys(new, now)
        self._write([f"+ {key.hex()} {now}\n" for key in new])

    def forget(self, keys: Iterable[bytes]) -> None:
        """Forgets them: the client knows."""
        gone = [key for key in keys if self._keys.pop(key, None) is not None]
        self._write([f"- {key.hex()}\n" for key in gone])

    def close(self) -> None:
        """Closes the file; another may use it."""
        os.close(self._file)
        os.close(self._lock)

    def _read(self) -> None:
        if not self._path.exists():
            return
        for line in self._path.read_text("ascii", "replace").splitlines():
            try:
                sign, key, *at = line.split(" ")
                if sign == "+":
                    self._keys[bytes.fromhex(key)] = int(at[0])
                else:
                    self._keys.pop(bytes.fromhex(key), None)
            except (ValueError, IndexError):  # the last line of a process that was killed
                continue

    def _rewrite(self) -> None:
        oldest = time.time() - KEPT_S
        self._keys = {key: at for key, at in self._keys.items() if at > oldest}
        text = "".join(f"+ {key.hex()} {at}\n" for key, at in self._keys.items())
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text, "ascii")
        file = os.open(fresh, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        fresh.replace(self._path)
        self._file, self._lines = file, len(self._keys)

    def _write(self, lines: list[str]) -> None:
        if not lines:
            return
        try:
            os.write(self._file, "".join(lines).encode("ascii"))
            self._lines += len(lines)
            if self._lines > _LINES_MOST and self._lines > 4 * len(self._keys):
                old = self._file
                self._rewrite()
                os.close(old)
        except OSError as error:
            log.error("deliveries are remembered in memory alone: %s", error.strerror)
