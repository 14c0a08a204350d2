"""Who calls: bearer tokens (RFC 6750) that are signed JWTs (RFC 7519), checked as RFC 8725 says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import jwt
import msgspec
from msgspec import Struct

from mailwake.contracts import Tenant, User
from mailwake_api.keys import ApiKey
from mailwake_api.problems import Problem, misfit

LEEWAY_S = 30
"""How far the clock of whoever makes tokens may be off."""

Role = Literal["user", "admin", "platform"]
"""user: sees and sets what is theirs; admin: also what holds for the tenant; platform: the sending
platform itself, which acts for any user of its tenant."""


class Caller(Struct, frozen=True):
    """Who calls, as the token says it.

    Attributes:
        sub: the user's id within the tenant; the platform's own name, of a platform.
    """

    tenant: Tenant
    sub: User
    role: Role = "user"


class Bearer:
    """Tells who calls."""

    def __init__(
        self, keys: Callable[[], Sequence[ApiKey]], *, audience: str, issuer: str = ""
    ) -> None:
        """`keys` gives the keys that hold now. An empty `issuer` takes any."""
        self._keys = keys
        self._audience = audience
        self._issuer = issuer or None

    def caller(self, authorization: str | None) -> Caller:
        """Who calls, of the value of the field Authorization. Raises Problem (401)."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        if not authorization:
            raise _refused("no_token", "send a token: `Authorization: Bearer …`", error=False)
        if scheme.lower() != "bearer" or not token.strip():
            raise _refused("no_token", "the token belongs behind the word Bearer", error=False)
        claims = self._claims(token.strip())
        try:
            return msgspec.convert(claims, Caller)
        except msgspec.ValidationError as error:
            raise _refused(
                "claims", f"a claim of the token does not fit: {misfit(error)}"
            ) from None

    def _claims(self, token: str) -> object:
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            return jwt.decode(
                token,
                key.verifies,
                algorithms=[key.algorithm],  # the key's, whatever the token says
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "aud", "tenant", "sub"]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise _refused("claims", f"the token lacks the claim `{error.claim}`") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _refused(*_why(error)) from None

    def _key(self, kid: object) -> ApiKey:
        keys = self._keys()
        if kid is None and len(keys) == 1:
            return keys[0]
        for key in keys:
            if kid is not None and key.kid == kid:
                return key
        raise _refused(
            "unknown_key",
            "the token's `kid` names none of the keys; it must name the key it was signed with",
        )


_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (jwt.ExpiredSignatureError, "expired", "the token has expired; get a new one"),
    (
        jwt.ImmatureSignatureError,
        "not_yet",
        "the token is not valid yet; compare the clock of who made it (`nbf`, `iat`)",
    ),
    (jwt.InvalidAudienceError, "audience", "the token is for somebody else (`aud`)"),
    (jwt.InvalidIssuerError, "issuer", "the token was made by somebody else (`iss`)"),
    (
        jwt.InvalidAlgorithmError,
        "algorithm",
        "the token's `alg` is not that of its key: HS256 for oct, RS256 for RSA, EdDSA for OKP",
    ),
    (jwt.InvalidSignatureError, "signature", "the token's signature is not that of its key"),
)


def _why(error: Exception) -> tuple[str, str]:
    for kind, code, detail in _REASONS:
        if isinstance(error, kind):
            return code, detail
    return "malformed", "the token is no signed JSON Web Token, or a time in it is no number"


def _refused(code: str, detail: str, *, error: bool = True) -> Problem:
    challenge = 'Bearer realm="mailwake"' + (', error="invalid_token"' if error else "")
    return Problem(401, code, detail, {"WWW-Authenticate": challenge})
