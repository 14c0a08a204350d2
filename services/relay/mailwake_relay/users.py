"""Who may send through the relay: the file of users, and `mailwake users` that writes it.

The file is JSON, readable by its owner alone:

    {"version": 1,
     "users": {"ben@example.com": {"tenant": "acme", "user": "ben",
                                   "salt": "…", "hash": "…", "n": 16384, "r": 8, "p": 5,
                                   "on_behalf": false}}}

`hash` is scrypt (RFC 7914) of the password, 32 bytes, `salt` 16 bytes, both base64; n, r and p are
what it was made with: 16 MiB and about a fifth of a second.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import hmac
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mailwake.contracts import Tenant, User
from mailwake.errors import ConfigError
from mailwake.secretfile import write_secret_file

Name = Annotated[str, Meta(pattern="^[^\\x00-\\x20\\x7f]{1,256}$(?!\\n)")]

_N, _R, _P = 1 << 14, 8, 5
_MAX_MEMORY = 256 * 1024 * 1024
MAX_PASSWORD = 1024
"""Longest password, in bytes."""


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the file: whose mail it is, and what the password must hash to.

    Attributes:
        on_behalf: whether it may send for any user, whom it names at each login (RFC 4616, the
            authorization identity `tenant/user`), and say where that user sends from.
    """

    tenant: Tenant
    user: User
    salt: Annotated[bytes, Meta(min_length=8, max_length=64)]
    hash: Annotated[bytes, Meta(min_length=32, max_length=32)]
    n: Annotated[int, Meta(ge=2, le=1 << 20)] = _N
    r: Annotated[int, Meta(ge=1, le=32)] = _R
    p: Annotated[int, Meta(ge=1, le=32)] = _P
    on_behalf: bool = False

    def __post_init__(self) -> None:
        if self.n & (self.n - 1) or 128 * self.r * (self.n + self.p) > _MAX_MEMORY:
            raise ValueError("n must be a power of two, and scrypt take no more than 256 MiB")

    def __repr__(self) -> str:
        return f"Login(tenant={self.tenant!r}, user={self.user!r})"

    def acting(self, name: str, whom: str) -> Login | None:
        """Whose mail it is when this login, of this name, asks to act as `whom`: `tenant/user`, or
        nobody else where that is empty. None where it may not."""
        if whom in ("", name, f"{self.tenant}/{self.user}"):
            return self
        tenant, _, user = whom.partition("/")
        given = msgspec.to_builtins(self) | {"tenant": tenant, "user": user}
        try:
            return msgspec.convert(given, Login) if self.on_behalf else None
        except msgspec.ValidationError:
            return None

    def fits(self, password: bytes) -> bool:
        """Whether this is the password. Takes its time; not for an event loop."""
        return hmac.compare_digest(self.hash, _hash(password, self.salt, self.n, self.r, self.p))


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1] = 1
    users: dict[Name, Login] = {}


def new_login(tenant: str, user: str, password: bytes, *, on_behalf: bool = False) -> Login:
    """A login with a fresh salt. Raises ConfigError."""
    if not password or len(password) > MAX_PASSWORD:
        raise ConfigError(f"a password has 1 to {MAX_PASSWORD} bytes")
    salt = os.urandom(16)
    login = Login(tenant, user, salt, _hash(password, salt, _N, _R, _P), on_behalf=on_behalf)
    try:
        return msgspec.json.decode(msgspec.json.encode(login), type=Login)
    except msgspec.ValidationError as error:
        raise ConfigError(f"not a tenant and user that can stand in a send: {error}") from None


def read_users(path: Path) -> dict[str, Login]:
    """The users of a file. Raises ConfigError: one line with the file, the fault, the remedy."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no file of users; `mailwake users set {path} NAME --tenant TENANT "
            "--user USER` makes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the file of users: {error.strerror}") from None
    try:
        return msgspec.json.decode(data, type=_File).users
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not a file of users ({error}); `mailwake users` writes one"
        ) from None


def write_users(path: Path, users: dict[str, Login]) -> None:
    """Writes the file, mode 0600, whole or not at all. Raises ConfigError."""
    try:
        file = msgspec.json.decode(msgspec.json.encode(_File(users=users)), type=_File)
    except msgspec.ValidationError:
        raise ConfigError("a name has 1 to 256 characters, none of them a space") from None
    data = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
    write_secret_file(path, data, what="file of users", instead=None)


def users_command(argv: list[str]) -> int:
    """`mailwake users set|remove|list FILE`. Raises ConfigError.

    The password is asked for, or read from the first line of standard input; it is never an
    argument, which every user of the machine could read.
    """
    parser = argparse.ArgumentParser(
        prog="mailwake users", description="Says who may send through the relay."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, about in (
        ("set", "add a user, or change one; the password is read from standard input"),
        ("remove", "take a user away"),
        ("list", "list the names, tenants and users"),
    ):
        told = commands.add_parser(command, help=about, description=about)
        told.add_argument("file", type=Path, metavar="FILE")
        if command != "list":
            told.add_argument("name", metavar="NAME", help="what the mail program logs in as")
        if command == "set":
            told.add_argument("--tenant", required=True)
            told.add_argument("--user", required=True, help="the user's id; never an address")
            told.add_argument(
                "--on-behalf",
                action="store_true",
                help="it may send for any user of any tenant, as the mailbox's Compose does",
            )
    given = parser.parse_args(argv)
    path: Path = given.file
    if given.command == "set":
        users = read_users(path) if path.exists() else {}
        login = new_login(given.tenant, given.user, _ask_password(), on_behalf=given.on_behalf)
        write_users(path, users | {given.name: login})
        also = ", and for any other" if login.on_behalf else ""
        print(f"{path}: {given.name} sends as user {login.user} of tenant {login.tenant}{also}")
    elif given.command == "remove":
        users = read_users(path)
        if given.name not in users:
            raise ConfigError(f"{path}: there is no user {given.name}; `mailwake users list` tells")
        write_users(path, {name: login for name, login in users.items() if name != given.name})
        print(f"{path}: {given.name} is removed")
    else:
        for name, login in sorted(read_users(path).items()):
            print(f"{name}  {login.tenant}/{login.user}" + "  on behalf" * login.on_behalf)
    return 0


def _ask_password() -> bytes:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n").encode()
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        raise ConfigError("the two passwords differ; nothing was changed")
    return password.encode()


def _hash(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=2 * _MAX_MEMORY, dklen=32)
