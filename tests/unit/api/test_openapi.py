"""The OpenAPI document: it is valid, and it is what the router does."""

from __future__ import annotations

import re

from openapi_spec_validator import validate
from starlette.routing import Route, Router

from mailwake_api import documents
from mailwake_api.app import make_app
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.openapi import document

DOCUMENT = document(ENDPOINTS, "https://api.example")


def test_it_is_a_valid_document() -> None:
    validate(DOCUMENT)


def test_every_route_stands_in_it_and_nothing_else() -> None:
    app = make_app(ENDPOINTS, None)  # type: ignore[arg-type]  # no call is made
    router = app._app  # type: ignore[attr-defined]
    assert isinstance(router, Router)
    routed = {
        (route.path, method.lower())
        for route in router.routes
        if isinstance(route, Route)
        for method in vars(route.endpoint)["_methods"]
    }
    described = {(path, method) for path, each in DOCUMENT["paths"].items() for method in each}
    assert routed == described
    assert len(described) == len(ENDPOINTS)


def test_names_are_unique_and_everything_has_its_words() -> None:
    operations = [each for path in DOCUMENT["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert each["summary"]
        assert all(response["description"] for response in each["responses"].values())
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Z].*\.", schema["description"]), name
        assert "Attributes" not in schema["description"], name
    statement = DOCUMENT["components"]["schemas"]["Statement"]["properties"]
    assert statement["address"]["description"] == "the recipient; it is hashed and not kept."


def test_only_what_is_public_needs_no_token() -> None:
    public = {
        path
        for path, methods in DOCUMENT["paths"].items()
        if any(not operation["security"] for operation in methods.values())
    }
    assert public == {
        "/w/{token}",
        "/digest/off/{token}",
        "/openapi.json",
        "/docs",
        "/health",
        "/ready",
    }


def test_the_page_names_every_endpoint_and_loads_nothing() -> None:
    page = documents._page("https://api.example")
    for endpoint in ENDPOINTS:
        assert f"<code>{endpoint.method} {endpoint.path}</code>" in page
    assert "<script" not in page
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert {link[0] for link in links if link != "openapi.json"} == {"#"}
    anchors = set(re.findall(r'id="(\w+)"', page))
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
