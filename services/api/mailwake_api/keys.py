"""The keys that bearer tokens are checked with: a JSON Web Key Set (RFC 7517) in a file.

    {"keys": [{"kid": "2026-01", "kty": "oct", "k": "…"},
              {"kid": "crm", "kty": "OKP", "crv": "Ed25519", "x": "…"}]}

The type of a key says the one algorithm it is for: oct HS256, RSA RS256, OKP (Ed25519) EdDSA. What
a token claims about its algorithm decides nothing. A private key may stand in the file, for trying
out; the API uses its public half alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from mailwake.errors import ConfigError

log = logging.getLogger("mailwake.api.keys")

ALGORITHMS = {"oct": "HS256", "RSA": "RS256", "OKP": "EdDSA"}
"""The one algorithm of each type of key."""
LEAST_SECRET_BYTES = 32
"""As many as the hash has (RFC 7518, 3.2)."""
LEAST_RSA_BITS = 2048
"""RFC 7518, 3.3."""
_LOOK_S = 1.0

PublicKey = bytes | RSAPublicKey | Ed25519PublicKey
PrivateKey = bytes | RSAPrivateKey | Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key.

    Attributes:
        verifies: what checks a signature.
        signs: what makes one; None when only the public half is known.
    """

    kid: str | None
    algorithm: str
    verifies: PublicKey
    signs: PrivateKey | None

    def __repr__(self) -> str:
        return f"ApiKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file. Raises ConfigError: one line with the file, the fault, the remedy."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no file of API keys; `mailwake api-keys new {path}` makes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the API keys: {error.strerror}") from None
    try:
        keys = [_key(each) for each in msgspec.json.decode(data, type=_JwkSet).keys]
        _check_kids(keys)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not a JSON Web Key Set that can be used ({error}); docs/api.md shows one"
        ) from None
    return keys


class KeyFile:
    """The keys of a file that may change: it is looked at again once a second, when asked.

    A file that cannot be used any more is logged, and the keys that stood in it last stay.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file. Raises ConfigError."""
        self._path = path
        self._clock = clock
        self._seen = _mark(path)
        self._keys = read_keys(path)
        self._looked_at = clock()

    def current(self) -> Sequence[ApiKey]:
        """The keys, as they stand in the file now or stood a second ago."""
        now = self._clock()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            mark = _mark(self._path)
            if mark != self._seen:
                self._seen = mark
                try:
                    self._keys = read_keys(self._path)
                    log.info("the API keys were read again: %s in use", len(self._keys))
                except ConfigError as error:
                    log.error("the API keys that were read last stay in use: %s", error)
        return self._keys


class _JwkSet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _key(jwk: dict[str, Any]) -> ApiKey:
    """Raises ValueError; its text shows nothing of the key."""
    kid = jwk.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= 64):
        raise ValueError("a `kid` is 1 to 64 characters")
    name = f"key {kid!r}" if kid else "a key"
    algorithm = ALGORITHMS.get(str(jwk.get("kty")))
    if algorithm is None:
        raise ValueError(f"{name}: `kty` must be one of {', '.join(ALGORITHMS)}")
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        raise ValueError(f"{name}: a key of this type is for `alg` {algorithm} and `use` sig")
    try:
        found = jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise ValueError(f"{name}: its parts are no key of its type") from None
    match found:
        case bytes():
            if len(found) < LEAST_SECRET_BYTES:
                raise ValueError(f"{name}: a secret has at least {LEAST_SECRET_BYTES} bytes")
            return ApiKey(kid, algorithm, found, found)
        case RSAPublicKey() | RSAPrivateKey() if found.key_size < LEAST_RSA_BITS:
            raise ValueError(f"{name}: an RSA key has at least {LEAST_RSA_BITS} bits")
        case RSAPublicKey() | Ed25519PublicKey():
            return ApiKey(kid, algorithm, found, None)
        case RSAPrivateKey() | Ed25519PrivateKey():
            return ApiKey(kid, algorithm, found.public_key(), found)
        case _:
            raise ValueError(f"{name}: of the OKP keys, Ed25519 is taken")


def _check_kids(keys: Sequence[ApiKey]) -> None:
    if not keys:
        raise ValueError("it holds no key")
    if len(keys) > 1 and (
        None in (kids := [key.kid for key in keys]) or len(set(kids)) < len(kids)
    ):
        raise ValueError("several keys each need a `kid` of their own")


def _mark(path: Path) -> object:
    """What changes when the file does."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
