"""One call of the API, as a handler sees it, and what an endpoint is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailwake.keyring import Keyring
from mailwake.mutes import Mutes
from mailwake.register import Register
from mailwake.service import Status
from mailwake.settings import Settings
from mailwake.tracker import Tracker
from mailwake.webhooks import Webhooks
from mailwake_api.bearer import Bearer, Caller
from mailwake_api.bell import Bell
from mailwake_api.connection import Connection
from mailwake_api.deliveries import Deliveries
from mailwake_api.erasing import Erasing
from mailwake_api.locks import Locks
from mailwake_api.problems import Problem
from mailwake_api.published import Published
from mailwake_api.reading import Reader
from mailwake_api.withheld import Denials

Who = Literal["public", "user", "admin", "admin_or_platform"]
"""Who may call: anybody; whoever has a token; only who has that role."""


@dataclass(frozen=True)
class Parts:
    """What handlers work with."""

    settings: Settings
    status: Status
    keyring: Keyring
    tracker: Tracker
    register: Register
    connection: Connection
    bearer: Bearer
    locks: Locks
    published: Published
    reader: Reader
    denials: Denials
    bell: Bell
    erasing: Erasing
    mutes: Mutes
    webhooks: Webhooks
    deliveries: Deliveries


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        asked: the parameters of the query, as the endpoint's `asks` says.
        body: what the endpoint's `takes` says, or the bytes of one of its `also_takes`.
    """

    parts: Parts
    request: Request
    caller: Caller
    asked: Any
    body: Any

    def user(self, named: str | None) -> str:
        """The user that is acted for. Raises Problem when the caller may not."""
        if self.caller.role == "platform":
            if named is None:
                raise Problem(422, "no_user", "a platform names the `user` it acts for")
            return named
        if named not in (None, self.caller.sub):
            raise Problem(403, "not_yours", "only a token of role platform acts for other users")
        return self.caller.sub


SMALL_BYTES = 64 * 1024
"""The largest body of an endpoint that does not say another."""

Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Endpoint:
    """One endpoint: what the router and the OpenAPI document are made of.

    Attributes:
        name: its operationId, and its label in metrics and logs.
        takes: the JSON body, if any.
        also_takes: other media types of the body, which the handler gets as bytes.
        asks: the parameters of the query.
        gives: the JSON answer; None where it is a page or a text.
        media: the media type of the answer.
        also_gives: other media types that it may be had in.
        tagged: whether the answer has an ETag, and is not sent again to whoever has it.
        says: the statuses it may answer, each with a sentence; errors that all endpoints share
            need not be named.
        most_bytes: the largest body; None takes what MAILWAKE_API_MAX_BYTES says.
    """

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    name: str
    summary: str
    who: Who
    handler: Handler
    says: Mapping[int, str]
    takes: Any = None
    also_takes: tuple[str, ...] = ()
    asks: type[Struct] | None = None
    gives: Any = None
    media: str = "application/json"
    also_gives: tuple[str, ...] = ()
    tagged: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    most_bytes: int | None = SMALL_BYTES


def as_json(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """A value as the answer. What the API says is the caller's alone and is kept nowhere."""
    return Response(
        msgspec.json.encode(value),
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )
