"""The API as an application: who may do what, and what is refused and how."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mailwake.errors import ConfigError, MailwakeError
from mailwake_api.bearer import Role
from mailwake_api.call import Call, Endpoint
from mailwake_api.endpoints import ENDPOINTS
from tests.unit.api.asking import GOOD, WISH, connect, problem
from tests.unit.api.memory import Memory

READING = ("/v1/messages", "/v1/contacts", "/v1/reports")
"""What reads from ClickHouse, and needs no Kafka."""
ROLES: tuple[Role, ...] = ("user", "admin", "platform")


@pytest.mark.parametrize("role", [None, *ROLES])
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
async def test_each_endpoint_is_for_whom_it_says(
    memory: Memory, client: httpx.AsyncClient, endpoint: Endpoint, role: Role | None
) -> None:
    body = GOOD.get(endpoint.name)
    names_user = endpoint.asks is not None and "user" in endpoint.asks.__struct_fields__
    names_user &= endpoint.name != "post_sends"  # which names it in the body
    params = {"user": "ben"} if names_user and role == "platform" else {}
    if endpoint.name == "post_sends" and role == "platform":
        body = GOOD["post_sends"] | {"user": "ben"}
    endless = role and endpoint.media == "text/event-stream"
    answer = await client.request(
        "HEAD" if endless else endpoint.method,
        endpoint.path.replace("{token}", "x"),
        headers=memory.authorization("sub", role) if role else {},
        params=params,
        json=body,
    )
    allowed = {
        "public": True,
        "user": role is not None,
        "admin": role == "admin",
        "admin_or_platform": role in ("admin", "platform"),
    }[endpoint.who]
    if not allowed:
        assert problem(answer, 401 if role is None else 403) in ("no_token", "role")
    else:
        assert answer.status_code == (404 if "{" in endpoint.path else min(endpoint.says))


async def test_the_token_is_checked_before_the_body_is_read(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        raise AssertionError("it was read")

    headers = {"Content-Type": "application/json"}
    for path in ("/v1/sends", "/v1/consents"):
        answer = await client.post(path, content=body(), headers=headers)
        assert problem(answer, 401) == "no_token"
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{}", {}, 415, "media_type"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "media_type"),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "encoding"),
        (b"{", {"Content-Type": "application/json"}, 400, "not_json"),
        (b"", {"Content-Type": "application/json"}, 400, "not_json"),
        (b"\xff", {"Content-Type": "application/json"}, 400, "not_json"),
        (b'{"opens": "\xff"}', {"Content-Type": "application/json"}, 422, "body"),
        (b"[" * 50_000, {"Content-Type": "application/json"}, 422, "body"),
        (b"{}", {"Content-Type": "application/json; charset=utf-8"}, 422, "body"),
        (b"null", {"Content-Type": "APPLICATION/JSON"}, 422, "body"),
        (
            json.dumps(WISH | {"open": True}).encode(),
            {"Content-Type": "application/json"},
            422,
            "body",
        ),
        (b" " * 70_000, {"Content-Type": "application/json"}, 413, "too_large"),
    ],
)
async def test_a_body_that_is_not_taken(
    memory: Memory,
    client: httpx.AsyncClient,
    content: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    headers = memory.authorization("ben") | headers
    answer = await client.put("/v1/preferences", content=content, headers=headers)
    assert problem(answer, status) == code
    assert memory.register.preference("acme", "ben").at == 0


@pytest.mark.parametrize(
    "query", ["user=a%40b", "user=", "use=ben", "user=ben&user=eve", "user=a%0a"]
)
async def test_a_query_that_does_not_fit(
    memory: Memory, client: httpx.AsyncClient, query: str
) -> None:
    headers = memory.authorization("crm", "platform")
    assert problem(await client.get(f"/v1/preferences?{query}", headers=headers), 422) == "query"


async def test_what_goes_wrong_within_is_told_and_leaks_nothing(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    errors: list[tuple[Exception, int, str]] = [
        (RuntimeError("secret anna@example.com"), 500, "fault"),
        (ConfigError("secret: no topics"), 503, "unavailable"),
        (MailwakeError("one line for people"), 422, "not_possible"),
    ]
    for error, status, code in errors:

        async def fail(call: Call, error: Exception = error) -> Any:
            raise error

        failing = Endpoint(
            method="GET", path="/x", name="x", summary="", who="public", handler=fail, says={}
        )
        async with connect(memory, (failing,)) as client:
            answer = await client.get("/x?secret=otto")
        assert problem(answer, status) == code
        assert "secret" not in answer.text
    assert "anna" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert "x 500" in caplog.text


async def test_while_kafka_is_away_everything_says_so(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    memory.register.away = True
    for endpoint in ENDPOINTS:
        if not endpoint.path.startswith("/v1/") or endpoint.path.startswith(READING):
            continue
        answer = await client.request(
            endpoint.method,
            endpoint.path,
            headers=memory.authorization("ben", "admin"),
            json=GOOD.get(endpoint.name),
        )
        assert problem(answer, 503) == "unavailable"
        assert answer.headers["retry-after"] == "5"
    assert memory.connection.sends == []
    # What is read from ClickHouse goes on.
    headers = memory.authorization("ben")
    assert (await client.get("/v1/messages", headers=headers)).status_code == 200
    assert (await client.get("/v1/reports/overview", headers=headers)).status_code == 200


async def test_while_clickhouse_is_away_what_reads_from_it_says_so(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    memory.reader.away = True
    for endpoint in ENDPOINTS:
        if endpoint.path.startswith(READING):
            path = endpoint.path.format(message_id="a" * 32, recipient_id="b" * 32)
            headers = memory.authorization("ben")
            answer = await client.request(endpoint.method, path, headers=headers)
            assert problem(answer, 503) == "unavailable"
            assert answer.headers["retry-after"] == "5"
    answer = await client.get("/v1/preferences", headers=memory.authorization("ben"))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "opened=perhaps",
        "recipient=anna@example.com",
        "recipient=" + "A" * 32,
        "since=-1",
        "until=1.5",
        "sort=subject",
        "tag=",
        "q=" + "x" * 201,
        "cursor=" + "x" * 65,
        "cursor=AAAA",
        "cursor=%00",
        "sort=opened&opened=false",
        "page=2",
        "opened=true&opened=true",
    ],
)
async def test_a_question_that_does_not_fit_reads_nothing(
    memory: Memory, client: httpx.AsyncClient, query: str
) -> None:
    headers = memory.authorization("ben")
    code = problem(await client.get(f"/v1/messages?{query}", headers=headers), 422)
    assert code in ("query", "cursor", "sort")
    assert memory.reader.asked == []


@pytest.mark.parametrize(
    "query", ["by=week", "zone=Mars", "zone='", "format=xml", "limit=10001", "cursor=x"]
)
async def test_a_report_that_does_not_fit_reads_nothing(
    memory: Memory, client: httpx.AsyncClient, query: str
) -> None:
    headers = memory.authorization("ben")
    answer = await client.get(f"/v1/reports/links?{query}", headers=headers)
    assert problem(answer, 422) in ("query", "zone")
    assert memory.reader.asked == []
