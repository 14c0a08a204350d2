"""The relay's TLS certificate."""

from __future__ import annotations

import contextlib
import logging
import ssl
from pathlib import Path

from mailwake.errors import ConfigError

log = logging.getLogger("mailwake.relay")


class Certificate:
    """A certificate chain and its key, read again when their files change."""

    def __init__(self, chain: str, key: str) -> None:
        """Raises ConfigError for files that cannot be used. `chain` may be empty: no TLS."""
        self._chain, self._key = chain, key
        self._context: ssl.SSLContext | None = None
        self._stamp: list[int] = []
        if chain:
            self._stamp = self._look()
            self._context = self._load()

    def context(self) -> ssl.SSLContext | None:
        """What a new session answers STARTTLS with."""
        if self._context is not None:
            with contextlib.suppress(ConfigError):
                stamp = self._look()
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._reload()
        return self._context

    def _reload(self) -> None:
        try:
            self._context = self._load()
            log.info("the certificate is read anew")
        except ConfigError as error:
            log.error("the certificate stays as it was: %s", error)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._chain, self._key or None, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._chain}: not a certificate chain that fits its key ({error}); see "
                "MAILWAKE_RELAY_CERTIFICATE and MAILWAKE_RELAY_KEY"
            ) from None
        return context

    def _look(self) -> list[int]:
        files = [Path(self._chain), *([Path(self._key)] if self._key else [])]
        try:
            return [file.stat().st_mtime_ns for file in files]
        except OSError as error:
            raise ConfigError(
                f"{error.filename}: cannot read the certificate or its key ({error.strerror}); see "
                "MAILWAKE_RELAY_CERTIFICATE and MAILWAKE_RELAY_KEY"
            ) from None
