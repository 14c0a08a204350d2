"""The files of the spool: records one after the other, each found again whatever stands before it.

A record is `MAGIC`, the length of its value and the CRC-32 of its value (each 4 bytes, little
endian), and the value. No value holds `MAGIC`: values are JSON in UTF-8, in which the byte F5 never
occurs (RFC 3629, section 1). So behind a damaged place the next record is found by its magic, and
damage costs no more than the records it lies in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mailwake.errors import ConfigError

MAGIC = b"\xf5mw1"
HEAD = struct.Struct("<4sII")
MOST_VALUE = 1 << 20
"""No value is longer; a length above it is damage."""

Position = tuple[int, int]
"""Number of a segment, and a place in its file."""


def frame(value: bytes) -> bytes:
    """The record of a value."""
    return HEAD.pack(MAGIC, len(value), zlib.crc32(value)) + value


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was found in a part of a segment.

    Attributes:
        used: bytes that were read; behind them a record may have begun.
        damaged: places at which something else than a whole record stood.
    """

    values: list[bytes]
    used: int
    damaged: int


def parse(data: bytes, *, last: bool) -> Parsed:
    """The values of the records in `data`; `last` when nothing comes behind it."""
    values: list[bytes] = []
    at = damaged = 0
    while at < len(data):
        if len(data) - at < HEAD.size and not last:
            break
        whole = _record_at(data, at)
        if whole is None:
            length = HEAD.unpack_from(data, at)[1] if _begins(data, at) else MOST_VALUE + 1
            if not last and length <= MOST_VALUE and len(data) - at < HEAD.size + length:
                break
            damaged += 1
            found = data.find(MAGIC, at + 1)
            if found < 0 and not last:
                found = max(at + 1, len(data) - len(MAGIC) + 1)
            at = len(data) if found < 0 else found
        else:
            values.append(whole)
            at += HEAD.size + len(whole)
    return Parsed(values, at, damaged)


def _begins(data: bytes, at: int) -> bool:
    return data.startswith(MAGIC, at) and len(data) - at >= HEAD.size


def _record_at(data: bytes, at: int) -> bytes | None:
    """The value of the record that stands there, if a whole and sound one does."""
    if not _begins(data, at):
        return None
    _, length, crc = HEAD.unpack_from(data, at)
    start = at + HEAD.size
    value = data[start : start + length]
    return value if len(value) == length and zlib.crc32(value) == crc else None


class Folder:
    """The folder of one spool; no second process gets it. All calls block.

    Raises ConfigError when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"MAILWAKE_STATE: the edge cannot keep its spool in {path}: {error.strerror}; "
                "name a folder that it may write to"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(
                f"MAILWAKE_STATE: another edge uses the spool {path}; give each a folder of its own"
            ) from None
        self._writing: tuple[int, int] | None = None  # number and descriptor

    def numbers(self) -> list[int]:
        """The segments that are there, the oldest first."""
        return sorted(int(file.stem) for file in self.path.glob("*.hits") if file.stem.isdecimal())

    def size(self, number: int) -> int:
        """Bytes of a segment; 0 when it is not there."""
        try:
            return self._file(number).stat().st_size
        except FileNotFoundError:
            return 0

    def write(self, number: int, at: int, data: bytes) -> None:
        """Writes at the end of a segment, which is at `at`. Raises OSError; then what was written
        of `data` is cut off again, where that is possible."""
        descriptor = self._descriptor(number)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, at)
            raise

    def sync(self) -> None:
        """Returns when what was written stands on the disk. Raises OSError."""
        if self._writing is not None:
            os.fdatasync(self._writing[1])

    @property
    def descriptor(self) -> int | None:
        """Of the segment that is written to, if one is."""
        return None if self._writing is None else self._writing[1]

    def read(self, number: int, at: int, size: int) -> bytes:
        """At most `size` bytes of a segment. Raises OSError."""
        with self._file(number).open("rb") as file:
            file.seek(at)
            return file.read(size)

    def delete(self, numbers: Iterable[int]) -> None:
        """Deletes segments. What cannot be deleted is left, and read again at the next start."""
        for number in numbers:
            with contextlib.suppress(OSError):
                self._file(number).unlink()

    def position(self) -> Position:
        """Up to where all was acknowledged, as last written down; (0, 0) when nothing was."""
        try:
            number, at = map(int, (self.path / "acknowledged").read_text().split())
        except (OSError, ValueError):
            return 0, 0
        return number, at

    def note_position(self, position: Position) -> None:
        """Writes down up to where all was acknowledged. It is a hint: lost, more is read again."""
        with contextlib.suppress(OSError):
            new = self.path / "acknowledged.new"
            new.write_text(f"{position[0]} {position[1]}\n")
            new.replace(self.path / "acknowledged")

    def leave(self) -> None:
        """Closes the segment that is written to; the next write opens its own."""
        if self._writing is not None:
            os.close(self._writing[1])
            self._writing = None

    def close(self) -> None:
        """Lets the folder go."""
        self.leave()
        os.close(self._lock)

    def _file(self, number: int) -> Path:
        return self.path / f"{number:016d}.hits"

    def _descriptor(self, number: int) -> int:
        if self._writing is None or self._writing[0] != number:
            self.leave()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._writing = number, os.open(self._file(number), flags, 0o600)
            folder = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(folder)  # or after a power cut the file's name may be gone
            finally:
                os.close(folder)
        return self._writing[1]
