"""What goes wrong, as the answer says it: problem details (RFC 9457), with a sentence to act on.

No sentence holds a token, an address or anything else of the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct
from starlette.responses import Response

_WHERE = re.compile(r" - at `\$[\w.\[\]]*`\Z")
_UNKNOWN = "Object contains unknown field"
_SHORT_NAME = re.compile(_UNKNOWN + r" `\w{1,30}`")


class ProblemDetails(Struct, frozen=True, rename={"kind": "type"}):
    """The body of every answer that is an error (application/problem+json, RFC 9457).

    Attributes:
        title: what the status means.
        detail: what was wrong and what to do, for people.
        code: the same in one word that stays, for programs.
    """

    title: str
    status: int
    detail: str
    code: str
    kind: str = "about:blank"


class Problem(Exception):
    """Ends a request with an error."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer that says so."""
        body = ProblemDetails(HTTPStatus(self.status).phrase, self.status, self.detail, self.code)
        return Response(
            msgspec.json.encode(body),
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            "application/problem+json",
        )


def misfit(error: msgspec.ValidationError) -> str:
    """What does not fit and where, without what was given: msgspec's own text shows wrong values
    of enumerations, and unknown names."""
    text = str(error)
    found = _WHERE.search(text)
    what, where = (text[: found.start()], found[0]) if found else (text, "")
    if what.startswith("Invalid enum value"):
        what = "The value is none of those that are allowed"
    elif what.startswith(_UNKNOWN) and not _SHORT_NAME.fullmatch(what):
        what = _UNKNOWN
    return what + where


def unavailable(detail: str) -> Problem:
    """Kafka is away."""
    return Problem(503, "unavailable", detail, {"Retry-After": "5"})
