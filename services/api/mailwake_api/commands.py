"""`mailwake api-keys` makes files of API keys; `mailwake token` makes bearer tokens with them, and
`mailwake signin` links that sign in to the web pages."""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from mailwake.errors import ConfigError
from mailwake.keyring import read_keyring
from mailwake.secretfile import write_secret_file
from mailwake.settings import Settings, read_settings
from mailwake_api.bearer import Caller
from mailwake_api.keys import ApiKey, read_keys
from mailwake_api.web.sessions import LINK_S, Sessions

KINDS = ("oct", "RSA", "OKP")


def new_key(kind: str, kid: str) -> dict[str, Any]:
    """A fresh private key as a JSON Web Key; `kind` is oct, RSA or OKP (Ed25519)."""
    if kind == "oct":
        jwk = HMACAlgorithm.to_jwk(os.urandom(32), as_dict=True)
    elif kind == "RSA":
        jwk = RSAAlgorithm.to_jwk(generate_private_key(65537, 2048), as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    return {"kid": kid, "use": "sig"} | {
        name: value for name, value in jwk.items() if name != "key_ops"
    }


def keys_command(argv: list[str]) -> int:
    """`mailwake api-keys new|add FILE`. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake api-keys",
        description="Makes the file of keys that bearer tokens are checked with (a JWK Set).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("new", "make a file with one key; refuses to overwrite"),
        ("add", "add a key to a file; the API takes it up by itself"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument("--type", choices=KINDS, default="oct", help="default: oct (HS256)")
        command.add_argument("--kid", help="the key's name; default: one of today")
    given = parser.parse_args(argv)
    path: Path = given.file.resolve()
    known: list[dict[str, Any]] = []
    if given.command == "add":
        read_keys(path)
        known = json.loads(path.read_bytes())["keys"]
    kid = given.kid or f"{datetime.now(UTC):%Y-%m-%d}-{os.urandom(2).hex()}"
    if any(each.get("kid") in (kid, None) for each in known):
        raise ConfigError(f"{path}: each key needs a `kid` of its own; {kid!r} cannot be added")
    keys = json.dumps({"keys": [*known, new_key(given.type, kid)]}, indent=2) + "\n"
    instead = None if given.command == "add" else "`mailwake api-keys add` adds a key to it"
    write_secret_file(path, keys.encode(), what="API keys", instead=instead)
    print(f"{path}: key {kid} is in it")
    return 0


def token_command(argv: list[str]) -> int:
    """`mailwake token --tenant T --user U`: prints a bearer token. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake token",
        description="Makes a bearer token with a private key of MAILWAKE_API_KEYS, to try out the "
        "API. Whoever may read that file may act as anybody.",
    )
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--user", required=True, help="the user; of a platform, its own name")
    parser.add_argument("--role", choices=("user", "admin", "platform"), default="user")
    parser.add_argument("--hours", type=float, default=1.0, help="how long it holds; default: 1")
    parser.add_argument("--kid", help="the key; default: the last that can sign")
    given = parser.parse_args(argv)
    settings = read_settings()
    caller = _caller(given, given.role)
    if not 0 < given.hours <= 24 * 366:
        raise ConfigError("--hours must be more than 0 and at most a year")
    signing = [
        key
        for key in read_keys(settings.api_keys)
        if key.signs is not None and given.kid in (None, key.kid)
    ]
    if not signing:
        raise ConfigError(f"{settings.api_keys}: no such key that can sign stands in it")
    print(new_token(settings, signing[-1], caller, given.hours * 3600))
    return 0


def sign_in_command(argv: list[str]) -> int:
    """`mailwake signin --tenant T --user U`: prints a link. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake signin",
        description="Makes a link that signs in to the web pages, once, with the keys of "
        "MAILWAKE_KEYRING.",
    )
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--admin", action="store_true", help="as the tenant's administrator")
    parser.add_argument(
        "--minutes", type=float, default=LINK_S / 60, help=f"how long it holds ({LINK_S // 60})"
    )
    given = parser.parse_args(argv)
    settings = read_settings()
    caller = _caller(given, "admin" if given.admin else "user")
    if not 0 < given.minutes <= 24 * 60:
        raise ConfigError("--minutes must be more than 0 and at most a day")
    link = Sessions(read_keyring(settings.keyring)).link(caller, given.minutes * 60)
    print(f"{settings.withdrawal_url}/signin/{link}")
    return 0


def _caller(given: argparse.Namespace, role: str) -> Caller:
    """Whom a command names. Raises ConfigError."""
    try:
        return msgspec.convert({"tenant": given.tenant, "sub": given.user, "role": role}, Caller)
    except msgspec.ValidationError as error:
        raise ConfigError(f"nobody can be called so: {error}") from None


def new_token(settings: Settings, key: ApiKey, caller: Caller, seconds: float) -> str:
    """A bearer token that holds for so long from now. The key must be one that signs."""
    now = int(time.time())
    claims = {
        "tenant": caller.tenant,
        "sub": caller.sub,
        "role": caller.role,
        "aud": settings.api_audience,
        "iat": now,
        "exp": now + int(seconds),
    }
    if settings.api_issuer:
        claims["iss"] = settings.api_issuer
    assert key.signs is not None  # noqa: S101 (the caller's part of the contract)
    return jwt.encode(
        claims, key.signs, algorithm=key.algorithm, headers={"kid": key.kid} if key.kid else None
    )
