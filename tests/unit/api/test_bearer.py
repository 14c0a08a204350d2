"""Bearer tokens: who is let in, as whom, and who is not, and why."""

from __future__ import annotations

import base64
import hmac
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mailwake.cli import main
from mailwake_api.bearer import Bearer, Caller
from mailwake_api.commands import new_key
from mailwake_api.keys import ApiKey, read_keys
from mailwake_api.problems import Problem

NOW = int(time.time())
CLAIMS: dict[str, Any] = {"tenant": "acme", "sub": "ben", "aud": "mailwake", "exp": NOW + 86_400}
JWKS = [new_key("oct", "h"), new_key("RSA", "r"), new_key("OKP", "e")]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[ApiKey]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(json.dumps({"keys": JWKS}))
    return read_keys(path)


@pytest.fixture(scope="module")
def bearer(keys: list[ApiKey]) -> Bearer:
    return Bearer(lambda: keys, audience="mailwake", issuer="")


def token(key: ApiKey, claims: dict[str, Any], **header: Any) -> str:
    headers = {"kid": key.kid} | header
    assert key.signs is not None
    return jwt.encode(claims, key.signs, key.algorithm, headers=headers)


def code(bearer: Bearer, given: str | None) -> str:
    with pytest.raises(Problem) as caught:
        bearer.caller(given)
    problem = caught.value
    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"].startswith('Bearer realm="mailwake"')
    # What was sent is not sent back.
    assert "." not in (given or "") or str(given)[7:27] not in problem.detail
    return problem.code


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("role", ["user", "admin", "platform"])
def test_a_token_of_each_key_says_who_calls(
    keys: list[ApiKey], bearer: Bearer, number: int, role: str
) -> None:
    given = token(keys[number], CLAIMS | {"role": role, "nbf": NOW - 1, "iat": NOW, "more": [1]})
    assert bearer.caller(f"Bearer {given}") == Caller("acme", "ben", role)  # type: ignore[arg-type]
    assert bearer.caller(f"bearer  {given} ").sub == "ben"


def test_a_token_without_a_role_is_a_users(keys: list[ApiKey], bearer: Bearer) -> None:
    given = token(keys[0], CLAIMS | {"aud": ["other", "mailwake"]})
    assert bearer.caller(f"Bearer {given}").role == "user"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"exp": NOW - 31}, "expired"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "claims"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
        ({"nbf": NOW + 86_400}, "not_yet"),
        ({"iat": NOW + 86_400}, "not_yet"),
        ({"nbf": "later"}, "malformed"),
        ({"aud": "somebody"}, "audience"),
        ({"aud": []}, "claims"),
        ({"aud": None}, "claims"),
        ({"tenant": None}, "claims"),
        ({"tenant": "Acme"}, "claims"),
        ({"tenant": "a" * 21}, "claims"),
        ({"tenant": "acme\n"}, "claims"),
        ({"tenant": "acme/ben"}, "claims"),
        ({"tenant": 7}, "claims"),
        ({"sub": None}, "claims"),
        ({"sub": "ben@acme.example"}, "claims"),
        ({"sub": "a/b"}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": "x" * 65}, "claims"),
        ({"sub": 7}, "malformed"),
        ({"role": "root"}, "claims"),
        ({"role": ["admin"]}, "claims"),
    ],
)
def test_a_claim_that_does_not_fit(
    keys: list[ApiKey], bearer: Bearer, change: dict[str, Any], expected: str
) -> None:
    claims = {name: value for name, value in (CLAIMS | change).items() if value is not None}
    for key in keys:
        assert code(bearer, f"Bearer {token(key, claims)}") == expected


@pytest.mark.parametrize("change", [{"exp": -20}, {"nbf": 20}, {"iat": 20}])
def test_clocks_may_differ_by_half_a_minute(
    keys: list[ApiKey], bearer: Bearer, change: dict[str, int]
) -> None:
    change = {name: int(time.time()) + seconds for name, seconds in change.items()}
    assert bearer.caller(f"Bearer {token(keys[0], CLAIMS | change)}").sub == "ben"


def test_an_issuer_that_is_set_is_wanted(keys: list[ApiKey]) -> None:
    strict = Bearer(lambda: keys, audience="mailwake", issuer="https://id.acme.example")
    good = token(keys[0], CLAIMS | {"iss": "https://id.acme.example"})
    assert strict.caller(f"Bearer {good}").sub == "ben"
    for iss, expected in (("https://other.example", "issuer"), (None, "claims")):
        claims = CLAIMS | ({"iss": iss} if iss else {})
        assert code(strict, f"Bearer {token(keys[0], claims)}") == expected


def unsigned(header: dict[str, Any], claims: dict[str, Any] = CLAIMS) -> str:
    return f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}."


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hmac_with_the_public_key(keys: list[ApiKey], number: int) -> str:
    """The classic confusion: the public key, which all may know, taken for an HMAC secret."""
    public = keys[number].verifies
    assert not isinstance(public, bytes)
    secret = public.public_bytes(Encoding.Raw, PublicFormat.Raw) if number == 2 else None
    secret = secret or public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = unsigned({"alg": "HS256", "kid": keys[number].kid})[:-1]
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"


ATTACKS: dict[str, tuple[Callable[[list[ApiKey]], str], str]] = {
    "none": (lambda keys: unsigned({"alg": "none", "kid": "h"}), "algorithm"),
    "None": (lambda keys: unsigned({"alg": "None", "kid": "r"}), "algorithm"),
    "no algorithm": (lambda keys: unsigned({"kid": "h"}), "algorithm"),
    "an empty signature": (lambda keys: unsigned({"alg": "HS256", "kid": "h"}), "signature"),
    "HS256 with an RSA key": (lambda keys: hmac_with_the_public_key(keys, 1), "algorithm"),
    "HS256 with an Ed25519 key": (lambda keys: hmac_with_the_public_key(keys, 2), "algorithm"),
    "HS512": (
        lambda keys: jwt.encode(CLAIMS, keys[0].signs or b"", "HS512", headers={"kid": "h"}),
        "algorithm",
    ),
    "another's kid": (lambda keys: token(keys[0], CLAIMS, kid="r"), "algorithm"),
    "an unknown kid": (lambda keys: token(keys[0], CLAIMS, kid="x"), "unknown_key"),
    "a kid that is a path": (lambda keys: token(keys[0], CLAIMS, kid="../h"), "unknown_key"),
    "a key of its own": (
        lambda keys: jwt.encode(CLAIMS, b"x" * 32, "HS256", headers={"kid": "h", "jwk": JWKS[0]}),
        "signature",
    ),
    "something critical": (
        lambda keys: token(keys[0], CLAIMS, crit=["exp2"], exp2=1),
        "malformed",
    ),
    "no object": (lambda keys: unsigned({"alg": "HS256", "kid": "h"}, [1]), "signature"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(keys: list[ApiKey], bearer: Bearer, attack: str) -> None:
    make, expected = ATTACKS[attack]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the attacker's own short keys
        given = make(keys)
    assert code(bearer, f"Bearer {given}") == expected


def test_a_token_without_a_kid_needs_that_there_is_one_key(keys: list[ApiKey]) -> None:
    given = jwt.encode(CLAIMS, keys[0].signs or b"", "HS256")
    assert code(Bearer(lambda: keys, audience="mailwake"), f"Bearer {given}") == "unknown_key"
    assert Bearer(lambda: keys[:1], audience="mailwake").caller(f"Bearer {given}").sub == "ben"


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Basic YTpi", "token"])
def test_without_a_token_it_says_how(bearer: Bearer, given: str | None) -> None:
    assert code(bearer, given) == "no_token"


@given(st.text() | st.from_regex(r"\A[\w-]{0,30}\.[\w-]{0,30}\.[\w-]{0,30}\Z"))
def test_anything_else_is_refused_in_order(text: str) -> None:
    with pytest.raises(Problem) as caught:
        Bearer(list, audience="mailwake").caller(f"Bearer {text}")
    assert caught.value.status == 401


def test_every_byte_of_a_token_counts(keys: list[ApiKey], bearer: Bearer) -> None:
    for key in (keys[0], keys[2]):
        good = token(key, CLAIMS)
        for place, letter in enumerate(good):
            bad = f"{good[:place]}{'A' if letter != 'A' else 'B'}{good[place + 1 :]}"
            code(bearer, f"Bearer {bad}")


def test_the_command_makes_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    public = {name: value for name, value in JWKS[2].items() if name != "d"}
    path.write_text(json.dumps({"keys": [JWKS[0], public]}))
    monkeypatch.setenv("MAILWAKE_API_KEYS", str(path))
    monkeypatch.setenv("MAILWAKE_API_ISSUER", "me")
    assert main(["token", "--tenant", "acme", "--user", "crm", "--role", "platform"]) == 0
    made = capsys.readouterr().out.strip()
    known = Bearer(lambda: read_keys(path), audience="mailwake", issuer="me")
    assert known.caller(f"Bearer {made}") == Caller("acme", "crm", "platform")
    for wrong in (
        ["--tenant", "ACME", "--user", "ben"],
        ["--tenant", "acme", "--user", "b@c"],
        ["--tenant", "acme", "--user", "ben", "--hours", "0"],
        ["--tenant", "acme", "--user", "ben", "--kid", "e"],  # only its public half is known
    ):
        assert main(["token", *wrong]) == 2
        assert capsys.readouterr().err.startswith("mailwake: ")
