"""Conditional requests (RFC 9110, section 13): entity tags, If-Match, If-None-Match."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailwake_api.problems import Problem


def tag_of(value: Struct) -> str:
    """The strong entity tag of a representation."""
    return _tag_of(msgspec.json.encode(value))


def answer(request: Request, value: Struct, headers: Mapping[str, str] | None = None) -> Response:
    """The value as JSON with its tag; 304 when the one who asks has it already."""
    return answer_bytes(request, msgspec.json.encode(value), "application/json", headers)


def answer_bytes(
    request: Request, data: bytes, media: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The same for a representation that is made already."""
    tag = _tag_of(data)
    headers = {"ETag": tag, "Cache-Control": "no-store", **(headers or {})}
    if request.method in ("GET", "HEAD"):
        known = _tags(request, "if-none-match")
        if "*" in known or tag in {each.removeprefix("W/") for each in known}:
            return Response(None, 304, headers)
    return Response(data, headers=headers, media_type=media)


def check(request: Request, now: Struct) -> None:
    """Raises Problem (412) when If-Match names none but other states than `now`."""
    wanted = _tags(request, "if-match")
    if wanted and "*" not in wanted and tag_of(now) not in wanted:
        raise Problem(
            412,
            "changed_meanwhile",
            "this was changed since you read it (If-Match); read it again, then change it",
        )


def _tag_of(data: bytes) -> str:
    return f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'


def _tags(request: Request, name: str) -> list[str]:
    # None of our tags holds a comma.
    return [
        tag.strip() for value in request.headers.getlist(name) for tag in value.split(",") if tag
    ]
