"""The keys that tokens and secrets are sealed with and recipients are hashed with, and their file.

The file is JSON, readable by its owner alone:

    {"version": 1,
     "current": 2,
     "keys": [{"id": 1, "made": "2026-01-05T10:00:00Z", "key": "…"},
              {"id": 2, "made": "2026-04-05T10:00:00Z", "key": "…"}],
     "revoked": [],
     "recipients": "…"}

`keys` seal tokens and the secrets of webhooks: 64 bytes each, base64 (AES-256-SIV). The one whose
id is `current` seals; every one opens. A revoked key's bytes are gone and its id is never given
again. `recipients`, 32 bytes, is what recipient ids derive from; it stays for good, for a consent
must be found for years.

A keyring never changes: `rotate` and `revoke` give another one.
"""

from __future__ import annotations

import argparse
import hmac
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from msgspec import Meta, Struct

from mailwake import ids
from mailwake.errors import ConfigError
from mailwake.secretfile import write_secret_file
from mailwake.tokens import (
    VERSION,
    Token,
    TokenError,
    Withdrawal,
    from_text,
    pack,
    pack_withdrawal,
    to_text,
    unpack,
    unpack_withdrawal,
)

KeyId = Annotated[int, Meta(ge=1, le=255)]
Secret = Annotated[bytes, Meta(min_length=64, max_length=64)]
Master = Annotated[bytes, Meta(min_length=32, max_length=32)]

_WITHDRAWAL = [b"withdrawal"]
_WEBHOOK = b"webhook secret"


class Key(Struct, frozen=True, forbid_unknown_fields=True):
    """One key of the file; shows no bytes."""

    id: KeyId
    made: datetime
    key: Secret

    def __repr__(self) -> str:
        return f"Key(id={self.id}, made={self.made:%Y-%m-%d})"


class RevokedKey(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a key that is gone."""

    id: KeyId
    revoked: datetime


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    current: KeyId
    keys: list[Key]
    recipients: Master
    revoked: list[RevokedKey] = []

    def __post_init__(self) -> None:
        known = [key.id for key in self.keys]
        gone = [key.id for key in self.revoked]
        if len({*known, *gone}) < len(known) + len(gone):
            raise ValueError("an id stands twice")
        if self.current not in known:
            raise ValueError(f"current is {self.current}, but the ids of `keys` are {known}")

    def __repr__(self) -> str:
        return f"Keyring(current={self.current}, keys={self.keys!r}, revoked={self.revoked!r})"


class Keyring:
    """Seals and opens tokens, and hashes recipients. Thread-safe; shows no key.

    `new_keyring` makes one, `read_keyring` reads one from its file.
    """

    __slots__ = ("_ciphers", "_file")

    def __init__(self, file: _File) -> None:
        self._file = file
        # Made once: a cipher object costs more than opening a token does.
        self._ciphers = {key.id: (AESSIV(key.key), [bytes([VERSION, key.id])]) for key in file.keys}

    @property
    def current(self) -> int:
        """The id of the key that seals."""
        return self._file.current

    @property
    def keys(self) -> list[Key]:
        """The keys that open tokens, in the order they were made."""
        return list(self._file.keys)

    @property
    def revoked(self) -> list[RevokedKey]:
        """The ids that are gone for good."""
        return list(self._file.revoked)

    def __repr__(self) -> str:
        return repr(self._file)

    def seal(self, token: Token) -> str:
        """The text of a token, sealed with the current key; the same token has the same text.

        Raises ValueError when a field cannot stand in a token.
        """
        cipher, header = self._ciphers[self._file.current]
        return to_text(header[0] + cipher.encrypt(pack(token), header))

    def open(self, text: str) -> Token:
        """The token of a text. Raises TokenError, whose reason says why there is none."""
        return unpack(self._opened(text, []))

    def seal_withdrawal(self, withdrawal: Withdrawal) -> str:
        """The text of a withdrawal token, as `seal` does it. Raises ValueError."""
        cipher, header = self._ciphers[self._file.current]
        sealed = cipher.encrypt(pack_withdrawal(withdrawal), header + _WITHDRAWAL)
        return to_text(header[0] + sealed)

    def open_withdrawal(self, text: str) -> Withdrawal:
        """The withdrawal token of a text. Raises TokenError, as `open` does."""
        return unpack_withdrawal(self._opened(text, _WITHDRAWAL))

    def seal_secret(self, secret: bytes, of: bytes) -> str:
        """The text of a webhook's secret, sealed with the current key; `of` is the webhook's key,
        and it opens for no other."""
        cipher, header = self._ciphers[self._file.current]
        return to_text(header[0] + cipher.encrypt(secret, [*header, _WEBHOOK, of]))

    def open_secret(self, text: str, of: bytes) -> bytes:
        """The secret of that webhook. Raises TokenError, as `open` does."""
        return self._opened(text, [_WEBHOOK, of])

    def _opened(self, text: str, kind: list[bytes]) -> bytes:
        sealed = from_text(text)
        if sealed[0] != VERSION:
            raise TokenError("unknown_version")
        known = self._ciphers.get(sealed[1])
        if known is None:
            raise TokenError("unknown_key")
        cipher, header = known
        try:
            return cipher.decrypt(sealed[2:], header + kind)
        except InvalidTag:
            raise TokenError("forged") from None

    def recipient_id(self, tenant: str, address: str) -> str:
        """The keyed hash of an address (32 hex digits), which no two tenants share."""
        key = hmac.digest(self._file.recipients, b"recipients\x00" + tenant.encode(), "sha256")
        return ids.recipient_id(key, address)

    def rotate(self) -> Keyring:
        """The keyring with a fresh current key; the others go on to open. Raises ConfigError."""
        used = [key.id for key in self._file.keys] + [key.id for key in self._file.revoked]
        if max(used) == 255:
            raise ConfigError(
                "255 keys have been made, and there are no more ids; start a new file"
            )
        key = Key(id=max(used) + 1, made=_now(), key=os.urandom(64))
        return Keyring(
            msgspec.structs.replace(self._file, current=key.id, keys=[*self._file.keys, key])
        )

    def revoke(self, key_id: int) -> Keyring:
        """The keyring without a key: no token of it opens again. Raises ConfigError."""
        known = [key.id for key in self._file.keys]
        if key_id not in known:
            raise ConfigError(f"there is no key {key_id}; the file has {_listed(known)}")
        if key_id == self.current:
            raise ConfigError(f"key {key_id} is the current one; rotate first, then revoke it")
        return Keyring(
            msgspec.structs.replace(
                self._file,
                keys=[key for key in self._file.keys if key.id != key_id],
                revoked=[*self._file.revoked, RevokedKey(id=key_id, revoked=_now())],
            )
        )

    def write(self, path: Path, *, replace: bool = False) -> None:
        """Writes the key file, mode 0600, whole or not at all.

        Raises ConfigError when a file stands there already (unless `replace`), and when it cannot
        be written.
        """
        data = msgspec.json.format(msgspec.json.encode(self._file)) + b"\n"
        instead = None if replace else "to change the key that seals, rotate it"
        write_secret_file(path, data, what="key file", instead=instead)


def new_keyring() -> Keyring:
    """A keyring with one fresh key and a fresh master key for recipients."""
    key = Key(id=1, made=_now(), key=os.urandom(64))
    return Keyring(_File(version=1, current=1, keys=[key], recipients=os.urandom(32)))


def read_keyring(path: Path) -> Keyring:
    """The keyring of a file. Raises ConfigError: one line with the file, the fault, the remedy."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no key file; `mailwake keys new {path}` makes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the key file: {error.strerror}") from None
    try:
        return Keyring(msgspec.json.decode(data, type=_File))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not a key file ({error}); take it from its backup, or make a new one with "
            "`mailwake keys new`"
        ) from None


def keys_command(argv: list[str]) -> int:
    """`mailwake keys new|rotate|revoke|show FILE`. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake keys", description="Makes and changes the file with the keys of tokens."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("new", "make a key file; refuses to overwrite"),
        ("rotate", "add a key that seals from now on; the others go on to open"),
        ("revoke", "take a key away: no token of it opens again"),
        ("show", "list ids and dates, never a key"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("file", type=Path, metavar="FILE")
        if name == "revoke":
            command.add_argument("id", type=int, metavar="ID")
    given = parser.parse_args(argv)
    path: Path = given.file
    if given.command == "new":
        new_keyring().write(path)
        print(f"{path}: made, key 1 is current")
        return 0
    keyring = read_keyring(path)
    if given.command == "rotate":
        keyring = keyring.rotate()
        keyring.write(path, replace=True)
        print(f"{path}: key {keyring.current} is current; restart whoever uses the file")
    elif given.command == "revoke":
        keyring.revoke(given.id).write(path, replace=True)
        print(f"{path}: key {given.id} is revoked; restart whoever uses the file")
    else:
        for key in keyring.keys:
            current = "  current" if key.id == keyring.current else ""
            print(f"{key.id:3}  made {key.made:%Y-%m-%d %H:%M}{current}")
        for gone in keyring.revoked:
            print(f"{gone.id:3}  revoked {gone.revoked:%Y-%m-%d %H:%M}")
    return 0


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
