"""Who looks at the pages: a signed session cookie, and the one-time links that begin a session.

Both are JSON Web Tokens (HS256) under a key that derives from the current one of the keyring, so
every process of an installation knows it, and revoking a key of the keyring ends the sessions that
were made with it. They have audiences of their own: neither is a bearer token, and none is either.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from msgspec import Struct

from mailwake.contracts import Tenant, User
from mailwake.keyring import Keyring
from mailwake_api.bearer import Caller

SESSION_S = 12 * 3600
"""So long one stays signed in."""
LINK_S = 15 * 60
"""So long a sign-in link holds, unless it is made for longer."""
_ALGORITHM = "HS256"
_SESSION, _LINK = "mailwake-session", "mailwake-sign-in"
_REDEEMED_MOST = 100_000


class Session(Struct, frozen=True):
    """Who is signed in.

    Attributes:
        sid: tells this session from others of the same user.
    """

    tenant: Tenant
    sub: User
    role: str
    sid: str
    exp: int

    @property
    def caller(self) -> Caller:
        """The same as the API's handlers know a caller."""
        return Caller(self.tenant, self.sub, "admin" if self.role == "admin" else "user")


class Sessions:
    """Makes and checks sessions and sign-in links.

    Which links were used is known to the process that took them; where several processes answer,
    each takes a link once.
    """

    def __init__(self, keyring: Keyring, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = {
            str(key.id): hmac.digest(key.key, b"mailwake web sessions", "sha256")
            for key in keyring.keys
        }
        self._current = str(keyring.current)
        self._clock = clock
        self._redeemed: dict[str, int] = {}

    def begin(self, caller: Caller) -> str:
        """The cookie of a fresh session."""
        return self._sign(caller, _SESSION, "sid", SESSION_S)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None for one that does not hold, or no more."""
        claims = self._claims(cookie, _SESSION, "sid")
        try:
            return msgspec.convert(claims, Session) if claims else None
        except msgspec.ValidationError:
            return None

    def link(self, caller: Caller, seconds: float = LINK_S) -> str:
        """The token of a link that signs in once."""
        return self._sign(caller, _LINK, "jti", seconds)

    def whose(self, link: str) -> Caller | None:
        """Whom a link signs in; None when it does not hold, or no more, or was used. Uses nothing
        up, so that whoever fetches links in advance spoils none."""
        claims = self._claims(link, _LINK, "jti")
        if claims is None or claims["jti"] in self._redeemed:
            return None
        try:
            return msgspec.convert(claims, Caller)
        except msgspec.ValidationError:
            return None

    def redeem(self, link: str) -> Caller | None:
        """The same, and the link is used."""
        caller = self.whose(link)
        claims = self._claims(link, _LINK, "jti")
        if caller is None or claims is None:
            return None
        now = self._clock()
        if len(self._redeemed) >= _REDEEMED_MOST:
            self._redeemed = {jti: exp for jti, exp in self._redeemed.items() if exp > now}
        self._redeemed[claims["jti"]] = claims["exp"]
        return caller

    def form_token(self, session: Session) -> str:
        """What every form of a session carries, and no other site knows."""
        return _form_token(self._keys[self._current], session)

    def form_fits(self, session: Session, token: str) -> bool:
        """Whether a form is one of this session's."""
        return any(
            hmac.compare_digest(_form_token(key, session).encode(), token.encode())
            for key in self._keys.values()
        )

    def _sign(self, caller: Caller, audience: str, name: str, seconds: float) -> str:
        now = int(self._clock())
        claims = {
            "tenant": caller.tenant,
            "sub": caller.sub,
            "role": caller.role,
            "aud": audience,
            "exp": now + int(seconds),
            name: secrets.token_urlsafe(16),
        }
        key = self._keys[self._current]
        return jwt.encode(claims, key, algorithm=_ALGORITHM, headers={"kid": self._current})

    def _claims(self, token: str, audience: str, name: str) -> dict[str, Any] | None:
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=audience,
                options={"require": ["exp", "aud", "tenant", "sub", name], "verify_exp": False},
            )
            return claims if int(claims["exp"]) > self._clock() else None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None


def _form_token(key: bytes, session: Session) -> str:
    return hmac.digest(key, b"form " + session.sid.encode(), "sha256").hex()[:32]
