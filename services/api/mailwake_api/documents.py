"""What the API says of itself: its OpenAPI document, the same to read, and whether it works."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from mailwake_api.call import Call, Endpoint, as_json
from mailwake_api.openapi import document
from mailwake_api.web.frame import plain, plain_headers


async def openapi(call: Call) -> Response:
    """The OpenAPI document."""
    return as_json(_document(call.parts.settings.withdrawal_url))


async def page(call: Call) -> Response:
    """The document as a page."""
    return HTMLResponse(
        _page(call.parts.settings.withdrawal_url), headers=plain_headers("docs.css")
    )


async def health(call: Call) -> Response:
    """Whether the process works."""
    return _yes_or_no(call.parts.status.healthy)


async def ready(call: Call) -> Response:
    """Whether it takes calls now."""
    return _yes_or_no(call.parts.status.takes_work)


def _yes_or_no(yes: bool) -> Response:
    return PlainTextResponse("yes\n" if yes else "no\n", 200 if yes else 503)


def _endpoints() -> tuple[Endpoint, ...]:
    from mailwake_api.endpoints import ENDPOINTS  # which names the handlers above

    return ENDPOINTS


@cache
def _document(url: str) -> dict[str, Any]:
    return document(_endpoints(), url)


@cache
def _page(url: str) -> str:
    described = _document(url)
    return plain(
        "docs.html",
        "docs.css",
        info=described["info"],
        operations=[
            (method.upper(), path, operation, _rows(operation))
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
        ],
        schemas=[
            (name, msgspec.json.format(msgspec.json.encode(schema), indent=2).decode())
            for name, schema in described["components"]["schemas"].items()
        ],
    )


def _rows(operation: dict[str, Any]) -> list[tuple[str, str]]:
    """What an operation takes and gives: parameters, bodies, statuses."""
    rows = [
        (f"{each['name']} ({each['in']})", each.get("description", "") + _named(each["schema"]))
        for each in operation["parameters"]
    ]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append((f"body: {media}", _named(content.get("schema", {}))))
    for status, response in operation["responses"].items():
        schemas = [each.get("schema", {}) for each in response.get("content", {}).values()]
        rows.append((status, response["description"] + "".join(map(_named, schemas))))
    return rows


def _named(schema: dict[str, Any]) -> str:
    """A schema in a few words; a reference as `→Name`."""
    if "$ref" in schema:
        return f" →{schema['$ref'].rpartition('/')[2]}"
    if "anyOf" in schema:
        return " or".join(map(_named, schema["anyOf"]))
    if "enum" in schema:
        return " " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f" array of{_named(schema['items'])}"
    return f" {schema['type']}" if "type" in schema else ""
