"""What goes wrong, as the answer says it: problem details (RFC 9457), with a sentence to act on.

No sentence holds a token, an address or anything else of the request.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct
from starlette.responses import Response

from mailwake.errors import ConfigError, MailwakeError, UnavailableError

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


def unavailable(detail: str, code: str = "unavailable") -> Problem:
    """What may work in a few seconds: something is away, or has too much to do."""
    return Problem(503, code, detail, {"Retry-After": "5"})


def not_set_up() -> Problem:
    """Something is missing that an operator makes, such as a table; the log says what."""
    return unavailable("the system is not set up whole; tell its operator")


def fault() -> Problem:
    """A fault of ours; the log says which."""
    return Problem(500, "fault", "this is a fault of ours; it was logged for the operator")


def problem_of(error: Exception, name: str, log: logging.Logger) -> Problem:
    """What an error is to whoever asked; the operator reads the rest in the log.

    `name` is the endpoint's or the page's.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnavailableError):
        log.warning("%s: %s", name, error)
        return unavailable(
            "Kafka does not answer now, so this was not done, or not surely; try again in a few "
            "seconds, which does no harm"
        )
    if isinstance(error, ConfigError):
        log.error("%s: %s", name, error)
        return not_set_up()
    if isinstance(error, MailwakeError):
        return Problem(422, "not_possible", str(error))
    # Without the error's own text: it may hold what nobody may read here.
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s: %s\n%s", name, type(error).__name__, frames)
    return fault()
