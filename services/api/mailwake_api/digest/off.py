"""The link of a digest that switches it off: `/digest/off/{token}`.

The token is the authority: a JSON Web Token under a key that derives from the keyring's, as the
sessions of the pages are. It never expires, so that the link of an old mail works, and does nothing
but this. A POST switches off, whatever stands in it: mail programs send
`List-Unsubscribe=One-Click` (RFC 8058, 3.1), the page its button. A GET changes nothing.
"""

from __future__ import annotations

import hmac

import jwt
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from starlette.responses import HTMLResponse, Response

from mailwake.contracts import Tenant, User, user_key
from mailwake.errors import UnavailableError
from mailwake.ids import now_ms
from mailwake.keyring import Keyring
from mailwake_api import page
from mailwake_api.call import Call
from mailwake_api.web.frame import plain

_ALGORITHM, _AUDIENCE = "HS256", "mailwake-digest"

_NO_LINK = (
    404,
    "This link leads nowhere",
    "It may have been cut short on its way to you. Nothing was changed. The daily mail can be "
    "switched off in Preferences, too.",
)
_NOT_NOW = (
    503,
    "This does not work at the moment",
    "The daily mail may not be switched off yet. Please try again in a few minutes.",
)
_OFF = (
    200,
    "The daily mail is off",
    "You get no more of them. It can be switched on again in Preferences.",
)


class Owner(Struct, frozen=True):
    """Whose digest it is."""

    tenant: Tenant
    sub: User


def off_token(keyring: Keyring, tenant: str, user: str) -> str:
    """What a digest's link holds; the same for the same user."""
    claims = {"tenant": tenant, "sub": user, "aud": _AUDIENCE}
    kid = str(keyring.current)
    return jwt.encode(claims, _keys(keyring)[kid], algorithm=_ALGORITHM, headers={"kid": kid})


def owner_of(keyring: Keyring, token: str) -> Owner | None:
    """Whose digest a link is of; None when it is none of ours."""
    try:
        key = _keys(keyring).get(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            return None
        claims = jwt.decode(token, key, algorithms=[_ALGORITHM], audience=_AUDIENCE)
        return msgspec.convert(claims, Owner)
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError, RecursionError):
        return None


async def show(call: Call) -> Response:
    """The page with the button; changes nothing."""
    owner = owner_of(call.parts.keyring, call.request.path_params["token"])
    if owner is None:
        return _notice(*_NO_LINK)
    text = plain("digest_off.html", "withdrawal.css", user=owner.sub, tenant=owner.tenant)
    return HTMLResponse(text, headers=dict(page.HEADERS))


async def switch_off(call: Call) -> Response:
    """Switches the digest off."""
    owner = owner_of(call.parts.keyring, call.request.path_params["token"])
    if owner is None:
        return _notice(*_NO_LINK)
    register = call.parts.register
    try:
        async with call.parts.locks.of(user_key(owner.tenant, owner.sub)):
            await register.current()
            known = register.preference(owner.tenant, owner.sub)
            if known.daily_digest is not None:
                async with call.parts.connection.writing():
                    wish = replace(known, at=now_ms(), daily_digest=None)
                    await register.write_preference(wish)
    except UnavailableError:
        return _notice(*_NOT_NOW)
    return _notice(*_OFF)


def _keys(keyring: Keyring) -> dict[str, bytes]:
    return {str(key.id): hmac.digest(key.key, b"mailwake digest", "sha256") for key in keyring.keys}


def _notice(status: int, title: str, text: str) -> Response:
    headers = {**page.HEADERS} | ({"Retry-After": "60"} if status == 503 else {})
    return HTMLResponse(page.notice(title, text), status, headers)
