"""Conditional requests (RFC 9110, section 13): entity tags, If-Match, If-None-Match."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailwake_api.call import as_json
from mailwake_api.problems import Problem


def tag_of(value: Struct) -> str:
    """The strong entity tag of a representation."""
    return f'"{hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()}"'


def answer(request: Request, value: Struct) -> Response:
    """The value with its tag; 304 when the one who asks has it already."""
    tag = tag_of(value)
    if request.method in ("GET", "HEAD"):
        known = _tags(request, "if-none-match")
        if "*" in known or tag in {each.removeprefix("W/") for each in known}:
            return Response(None, 304, {"ETag": tag, "Cache-Control": "no-store"})
    return as_json(value, {"ETag": tag})


def check(request: Request, now: Struct) -> None:
    """Raises Problem (412) when If-Match names none but other states than `now`."""
    wanted = _tags(request, "if-match")
    if wanted and "*" not in wanted and tag_of(now) not in wanted:
        raise Problem(
            412,
            "changed_meanwhile",
            "this was changed since you read it (If-Match); read it again, then change it",
        )


def _tags(request: Request, name: str) -> list[str]:
    # None of our tags holds a comma.
    return [
        tag.strip() for value in request.headers.getlist(name) for tag in value.split(",") if tag
    ]
