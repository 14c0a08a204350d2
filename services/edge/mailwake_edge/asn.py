"""Whose network an address is in: the number of its autonomous system, by the operator's own file.

The file is in MaxMind's format. Two ways of naming the number are in use: a number in
`autonomous_system_number` (GeoLite2-ASN, DB-IP) and a text such as `AS15169` in `asn` (IPinfo).
Operators renew it every week or so; it is read again when it changes, while requests are answered.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from itertools import islice
from pathlib import Path

import maxminddb
from maxminddb import InvalidDatabaseError

from mailwake.errors import ConfigError
from mailwake.metrics import EDGE_ASN_BUILT

log = logging.getLogger("mailwake.edge")

CHECK_S = 10.0
"""So often the file is looked at for a change."""
_PROBED = 1000


class AsnFile:
    """Looks numbers up in a file; a lookup takes about a microsecond.

    There is no cache: its keys would be full addresses, or networks that are coarser than the
    file's own.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a file that cannot be used."""
        self._path = path
        self._told = ""
        self._stamp = self._look()
        self._reader = self._read()

    def number(self, address: str) -> int:
        """The number of the system that an address is in; 0 when it is not known. Never raises."""
        try:
            return number_in(self._reader.get(address))
        except (InvalidDatabaseError, ValueError):
            # A file damaged within, IPv6 in a file of IPv4 alone, or what is no address.
            return 0

    def refresh(self) -> None:
        """Reads the file again if it has changed; what cannot be used is logged, once, and what was
        read before stays in use. Blocks; may be called beside `number`."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                self._reader = self._read()
            self._told = ""
        except ConfigError as error:
            if str(error) != self._told:
                log.error("%s. What was read before stays in use", error)
            self._told = str(error)

    async def follow(self) -> None:
        """Keeps up with the file until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:
                log.exception("the ASN file could not be read again")

    def _look(self) -> tuple[int, ...]:
        try:
            about = self._path.stat()
        except OSError as error:
            raise self._unusable(error.strerror or "it cannot be read") from None
        return about.st_mtime_ns, about.st_size, about.st_ino

    def _read(self) -> maxminddb.Reader:
        """The file, from a copy that nobody else can reach.

        The reader maps its file into memory, and the process would be killed (SIGBUS) at the next
        lookup after somebody had written a shorter file over it.
        """
        try:
            with self._path.open("rb") as file, tempfile.NamedTemporaryFile() as copy:
                shutil.copyfileobj(file, copy)
                copy.flush()
                reader = maxminddb.open_database(copy.name)
            some = [number_in(record) for _, record in islice(reader, _PROBED)]
        except OSError as error:
            raise self._unusable(error.strerror or "it cannot be read") from None
        except (InvalidDatabaseError, ValueError):
            raise self._unusable("it is damaged, or not in MaxMind's format") from None
        if not any(some):
            raise self._unusable("it has no numbers of autonomous systems in it")
        about = reader.metadata()
        EDGE_ASN_BUILT.set(about.build_epoch)
        log.info("networks are known by %s", about.database_type)
        return reader

    def _unusable(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._path}: {why}; MAILWAKE_ASN_FILE must name a file that tells the autonomous "
            "system of an address, such as GeoLite2-ASN.mmdb, or be empty"
        )


def number_in(record: object) -> int:
    """The number that a record of such a file tells; 0 when there is none."""
    if not isinstance(record, dict):
        return 0
    number = record.get("autonomous_system_number")
    if number is None:
        number = record.get("asn")
    if isinstance(number, str):
        digits = number.upper().removeprefix("AS")
        number = int(digits) if digits.isascii() and digits.isdecimal() else 0
    return number if isinstance(number, int) and 0 <= number < 1 << 32 else 0
