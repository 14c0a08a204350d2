"""The file of API keys: what is taken, what is refused, and that it may change."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from mailwake.errors import ConfigError
from mailwake_api.commands import KINDS, keys_command, new_key
from mailwake_api.keys import ALGORITHMS, KeyFile, read_keys

OCT = new_key("oct", "a")
SHORT = {"kty": "oct", "kid": "s", "k": "c2hvcnQ"}


def write(path: Path, *keys: Any) -> Path:
    path.write_text(json.dumps({"keys": keys}))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_for_the_algorithm_of_its_type(tmp_path: Path, kind: str) -> None:
    made = new_key(kind, "k")
    public = {name: made[name] for name in made if name not in ("d", "p", "q", "dp", "dq", "qi")}
    for jwk, signs in ((made, True), (public, kind == "oct")):
        (key,) = read_keys(write(tmp_path / "keys.json", jwk))
        assert (key.kid, key.algorithm, key.signs is not None) == ("k", ALGORITHMS[kind], signs)
        assert str(made.get("k", made.get("d"))) not in repr(key)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ([], "it holds no key"),
        ([SHORT], "at least 32 bytes"),
        ([OCT | {"kty": "EC"}], "`kty` must be one of oct, RSA, OKP"),
        ([OCT | {"alg": "none"}], "is for `alg` HS256"),
        ([OCT | {"alg": "RS256"}], "is for `alg` HS256"),
        ([OCT | {"use": "enc"}], "`use` sig"),
        ([OCT | {"kid": ""}], "a `kid` is 1 to 64 characters"),
        ([{"kty": "oct", "kid": "a"}], "its parts are no key"),
        ([{"kty": "RSA", "kid": "a", "n": "AQAB"}], "its parts are no key"),
        ([OCT, OCT], "a `kid` of their own"),
        ([OCT, {"kty": "oct", "k": OCT["k"]}], "a `kid` of their own"),
        (["text"], "object"),
        (
            [RSAAlgorithm.to_jwk(generate_private_key(65537, 1024), as_dict=True)],  # noqa: S505
            "at least 2048 bits",
        ),
        ([OKPAlgorithm.to_jwk(Ed448PrivateKey.generate(), as_dict=True)], "Ed25519 is taken"),
    ],
)
def test_what_is_no_safe_key_is_refused(tmp_path: Path, keys: list[Any], fault: str) -> None:
    with pytest.raises(ConfigError, match="not a JSON Web Key Set that can be used") as caught:
        read_keys(write(tmp_path / "keys.json", *keys))
    assert fault in str(caught.value)
    assert OCT["k"] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": 1}', "[" * 5000, "\xff"])
def test_what_is_no_key_set_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text, "latin-1")
    with pytest.raises(ConfigError, match="not a JSON Web Key Set"):
        read_keys(path)


def test_a_missing_file_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mailwake api-keys new"):
        read_keys(tmp_path / "keys.json")


def test_the_file_may_change_while_it_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    path = write(tmp_path / "keys.json", OCT)
    file = KeyFile(path, clock=lambda: now)
    assert [key.kid for key in file.current()] == ["a"]
    write(path, OCT, new_key("oct", "b"))
    assert len(file.current()) == 1  # it was looked at in this second
    now = 1.0
    assert [key.kid for key in file.current()] == ["a", "b"]
    path.write_text("half of a")
    now = 2.0
    assert len(file.current()) == 2
    assert "stay in use" in caplog.text
    path.unlink()
    now = 3.0
    assert len(file.current()) == 2
    write(path, new_key("oct", "b"))
    now = 4.0
    assert [key.kid for key in file.current()] == ["b"]


def test_the_command_makes_and_adds_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.json"
    assert keys_command(["new", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys_command(["add", str(path), "--type", "OKP", "--kid", "crm"]) == 0
    assert [key.algorithm for key in read_keys(path)] == ["HS256", "EdDSA"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not overwritten"):
        keys_command(["new", str(path)])
    with pytest.raises(ConfigError, match="`kid` of its own"):
        keys_command(["add", str(path), "--kid", "crm"])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]
    printed = capsys.readouterr().out
    assert all(each.get("k", each.get("d")) not in printed for each in json.loads(before)["keys"])
