"""What the API says of itself: its OpenAPI document, the same to read, and whether it works."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

import msgspec
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from mailwake_api.call import Call, Endpoint, as_json
from mailwake_api.openapi import document


async def openapi(call: Call) -> Response:
    """The OpenAPI document."""
    return as_json(_document(call.parts.settings.withdrawal_url))


async def page(call: Call) -> Response:
    """The document as a page."""
    return HTMLResponse(
        _page(call.parts.settings.withdrawal_url),
        headers={
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
        },
    )


async def health(call: Call) -> Response:
    """Whether the process works."""
    return _yes_or_no(call.parts.status.healthy)


async def ready(call: Call) -> Response:
    """Whether it takes calls now."""
    return _yes_or_no(call.parts.status.ready and call.parts.status.healthy)


def _yes_or_no(yes: bool) -> Response:
    return PlainTextResponse("yes\n" if yes else "no\n", 200 if yes else 503)


def _endpoints() -> tuple[Endpoint, ...]:
    from mailwake_api.endpoints import ENDPOINTS  # which names the handlers above

    return ENDPOINTS


@cache
def _document(url: str) -> dict[str, Any]:
    return document(_endpoints(), url)


_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Mailwake API</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin: 2.5rem 0 .25rem; font-size: 1.1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
  border-bottom: 1px solid #8884; }
summary { cursor: pointer; }
</style>
</head>
<body>
<main>
"""


@cache
def _page(url: str) -> str:
    described = _document(url)
    pieces = [
        _HEAD,
        f"<h1>Mailwake API {escape(described['info']['version'])}</h1>",
        f"<p>{escape(described['info']['description'])} The same for programs: "
        '<a href="openapi.json">openapi.json</a>.</p>',
    ]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            pieces += _section(method.upper(), path, operation)
    pieces.append("<h1>Schemas</h1>")
    for name, schema in described["components"]["schemas"].items():
        pieces.append(f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2>{_json(schema)}')
    return "\n".join([*pieces, "</main>\n</body>\n</html>\n"])


def _section(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    rows = [
        (f"{each['name']} ({each['in']})", each.get("description", "") + _named(each["schema"]))
        for each in operation["parameters"]
    ]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append((f"body: {media}", _named(content.get("schema", {}))))
    for status, response in operation["responses"].items():
        schemas = [each.get("schema", {}) for each in response.get("content", {}).values()]
        rows.append((status, response["description"] + "".join(map(_named, schemas))))
    cells = "".join(
        f"<tr><th scope=row><code>{escape(first)}</code></th><td>{_linked(second)}</td></tr>\n"
        for first, second in rows
    )
    return [
        f"<h2><code>{method} {escape(path)}</code></h2>",
        f"<p>{escape(operation['summary'])}. {escape(operation['description'])}</p>",
        f"<table>\n{cells}</table>",
    ]


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


def _linked(text: str) -> str:
    words = [
        f'<a href="#{escape(word[1:])}"><code>{escape(word[1:])}</code></a>'
        if word.startswith("→")
        else escape(word)
        for word in text.split()
    ]
    return " ".join(words)


def _json(schema: dict[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return f"<details><summary>schema</summary><pre>{escape(text)}</pre></details>"
