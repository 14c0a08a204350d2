"""Whether an answer is what the OpenAPI document says of it."""

from __future__ import annotations

from typing import Any

import httpx
from jsonschema import Draft202012Validator

from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.openapi import document

DOCUMENT: dict[str, Any] = document(ENDPOINTS, "https://api.example")


def check(answer: httpx.Response) -> None:
    """Fails when status, media type or body of an answer are none that the document has."""
    path = answer.request.url.path
    operation = _operation(path)[answer.request.method.lower()]
    described = operation["responses"].get(str(answer.status_code))
    assert described, f"{path} answers {answer.status_code}, of which the document says nothing"
    media = answer.headers.get("content-type", "").partition(";")[0]
    content = described.get("content", {})
    assert media in content or (not answer.content and not content), f"{path} answers {media}"
    if media.endswith("json"):
        # The components stand beside the schema, so that its references lead there.
        schema = content[media]["schema"] | {"components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(answer.json())


def _operation(path: str) -> dict[str, Any]:
    parts = path.split("/")
    for template, operations in DOCUMENT["paths"].items():
        wanted = template.split("/")
        if len(wanted) == len(parts) and all(
            want == part or want.startswith("{") for want, part in zip(wanted, parts, strict=True)
        ):
            found: dict[str, Any] = operations
            return found
    raise AssertionError(f"the document has no {path}")
