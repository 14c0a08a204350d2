"""The OpenAPI 3.1 document, made of the list of endpoints."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mailwake import __version__
from mailwake_api.call import Endpoint, Who
from mailwake_api.problems import ProblemDetails

_REF = "#/components/schemas/{name}"
_ATTRIBUTE = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", re.M)
_WHO: dict[Who, str] = {
    "public": "Open to anybody.",
    "user": "For whoever has a token.",
    "admin": "For tokens of role admin.",
    "admin_or_platform": "For tokens of role admin or platform.",
}
_IF_NONE_MATCH = {"If-None-Match": "Answer 304 if it is still what this ETag names."}
_COMMON = {
    400: "The body is not JSON.",
    401: "The token is missing, or does not hold.",
    403: "The token does not allow this.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    422: "Something in the request does not fit; `detail` says what.",
    503: "Kafka, or what is read from, does not answer now; try again.",
}


def document(endpoints: Sequence[Endpoint], url: str) -> dict[str, Any]:
    """The document; `url` is where the API answers."""
    types = [ProblemDetails, *_types(endpoints)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    for schema in components.values():
        _describe(schema)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, by_type, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mailwake",
            "version": __version__,
            "description": "Preferences, policies, consents, sends and alerts of a mail tracking "
            "system, and what became of the mails. Errors are problem details (RFC 9457).",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _describe(schema: dict[str, Any]) -> None:
    """Has a docstring's sentences stand at what they are about."""
    about, _, attributes = inspect.cleandoc(schema.get("description", "")).partition("Attributes:")
    schema["description"] = " ".join(about.split())
    for names, text in _ATTRIBUTE.findall(attributes):
        for name in names.split(", "):
            if name in schema["properties"]:
                schema["properties"][name]["description"] = " ".join(text.split())


def _types(endpoints: Iterable[Endpoint]) -> list[Any]:
    found = [each for one in endpoints for each in (one.asks, one.takes, one.gives)]
    unique = {repr(each): each for each in found if each is not None}
    return list(unique.values())


def _operation(
    endpoint: Endpoint, schemas: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": _WHO[endpoint.who],
        "security": [] if endpoint.who == "public" else [{"bearer": []}],
        "parameters": _parameters(endpoint, components),
        "responses": _responses(endpoint, schemas),
    }
    content: dict[str, Any] = {each: {} for each in endpoint.also_takes}
    if endpoint.takes is not None:
        content = {"application/json": {"schema": schemas[repr(endpoint.takes)]}, **content}
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(endpoint: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    if endpoint.asks is not None:
        schema = components[endpoint.asks.__name__]
        parameters += [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": property_.get("description", ""),
                "schema": {each: said for each, said in property_.items() if each != "description"},
            }
            for name, property_ in schema["properties"].items()
        ]
    headers = {**endpoint.headers, **(_IF_NONE_MATCH if endpoint.tagged else {})}
    return parameters + [
        {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
        for name, about in headers.items()
    ]


def _responses(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    says = dict(endpoint.says) | ({304: "Not changed."} if endpoint.tagged else {})
    if endpoint.who != "public":
        common = {401, 403, 422, 503} | ({400, 413, 415} if endpoint.takes is not None else set())
        says |= {status: _COMMON[status] for status in common - says.keys()}
    responses: dict[str, Any] = {}
    for status, about in sorted(says.items()):
        response: dict[str, Any] = {"description": about}
        responses[str(status)] = response
        if status >= 400 and endpoint.media in ("application/json", "text/event-stream"):
            problem = {"schema": schemas[repr(ProblemDetails)]}
            response["content"] = {"application/problem+json": problem}
        elif status not in (204, 303, 304):
            schema = {} if endpoint.gives is None else {"schema": schemas[repr(endpoint.gives)]}
            response["content"] = {endpoint.media: schema} | {
                media: {} for media in endpoint.also_gives
            }
    return responses
