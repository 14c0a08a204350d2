"""What goes wrong, as the answer says it: problem details (RFC 9457), with a sentence to act on.

No sentence holds a token, an address or anything else of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct
from starlette.responses import Response


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


def unavailable(detail: str) -> Problem:
    """Kafka is away."""
    return Problem(503, "unavailable", detail, {"Retry-After": "5"})
