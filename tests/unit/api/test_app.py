"""The API as an application: who may do what, what is refused and how; nothing breaks it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake.contracts import Toggles
from mailwake.errors import ConfigError, MailwakeError
from mailwake_api.app import make_app
from mailwake_api.bearer import Role
from mailwake_api.call import Call, Endpoint
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.openapi import document
from tests.unit.api.memory import Memory

READING = ("/v1/messages", "/v1/contacts", "/v1/reports")
"""What reads from ClickHouse, and needs no Kafka."""
ROLES: tuple[Role, ...] = ("user", "admin", "platform")
WISH = {"opens": True, "clicks": False, "notifications": True}
HTML = '<body><a href="https://shop.example/">offer</a></body>'
SAID = {
    "address": "anna@example.com",
    "purposes": ["opens"],
    "state": "granted",
    "method": "form",
    "wording": "I agree.",
}
GOOD: dict[str, Any] = {
    "put_preferences": WISH,
    "post_toggles": {"opens": True, "clicks": True},
    "put_policy": {"ceiling": "anonymous", "basis": "contract"},
    "post_consents": SAID,
    "look_up_consents": {"address": "anna@example.com"},
    "post_alerts_read": {"up_to": 1_767_225_600_000},
    "export_recipient": {"address": "anna@example.com"},
    "erase_recipient": {"address": "anna@example.com"},
    "post_sends": {"html": HTML, "recipients": ["anna@example.com"]},
}
"""A body of each endpoint that takes one."""


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


@pytest.fixture
async def client(memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(memory) as client:
        yield client


def connect(memory: Memory, endpoints: tuple[Endpoint, ...] = ENDPOINTS) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(endpoints, memory.parts))
    return httpx.AsyncClient(transport=transport, base_url="http://api.example")


def problem(answer: httpx.Response, status: int) -> str:
    """The code of an error, which must be a whole problem of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() == {"type", "title", "status", "detail", "code"}
    assert body["status"] == status
    return str(body["code"])


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
        assert answer.status_code == (404 if "{" in endpoint.path else 200)


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
            answer = await client.get(path, headers=memory.authorization("ben"))
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
    "query", ["by=week", "zone=Mars", "zone='", "format=parquet", "limit=10001", "cursor=x"]
)
async def test_a_report_that_does_not_fit_reads_nothing(
    memory: Memory, client: httpx.AsyncClient, query: str
) -> None:
    headers = memory.authorization("ben")
    answer = await client.get(f"/v1/reports/links?{query}", headers=headers)
    assert problem(answer, 422) in ("query", "zone")
    assert memory.reader.asked == []


@given(words=st.text(max_size=60), tag=st.text(min_size=1, max_size=64))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_whatever_is_asked_never_stands_in_the_text_of_a_query(
    memory: Memory, client: httpx.AsyncClient, words: str, tag: str
) -> None:
    headers = memory.authorization("ben")
    memory.reader.asked.clear()
    params = {"q": words, "tag": tag, "opened": "true", "clicked": "false", "tracked": "1"}
    await client.get("/v1/messages", params=params, headers=headers)
    await client.get("/v1/reports/clients", params={"tag": tag, "by": "tag"}, headers=headers)
    fixed = {"q": "a b c d e f g h", "tag": "x", "opened": "true", "clicked": "false"}
    assert len(memory.reader.asked) == 2
    texts = [sql for sql, _ in memory.reader.asked]
    for number, word in reversed(list(enumerate(words.split()[:8]))):
        assert memory.reader.asked[0][1][f"word{number}"] == word
    memory.reader.asked.clear()
    fixed |= {"q": " ".join(["x"] * min(8, len(words.split()))), "tracked": "true"}
    await client.get("/v1/messages", params=fixed, headers=headers)
    await client.get("/v1/reports/clients", params={"tag": "x", "by": "tag"}, headers=headers)
    assert [sql for sql, _ in memory.reader.asked] == texts


async def test_a_send_told_again_is_published_once(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    body = {
        "id": "offer 1",
        "html": HTML,
        "text": "See https://shop.example/.",
        "recipients": ["anna@example.com"],
    }
    await client.post("/v1/consents", json=SAID, headers=headers)
    answers = [(await client.post("/v1/sends", json=body, headers=headers)) for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    (send,) = memory.connection.sends
    assert (send.opens, send.clicks) == (True, False)
    # The same mail on another basis is another send of the same id; the later one replaces it.
    await client.post("/v1/consents", json=SAID | {"purposes": ["clicks"]}, headers=headers)
    answer = await client.post("/v1/sends", json=body, headers=headers)
    assert answer.json()["tracked"]["clicks"]
    later = memory.connection.sends[1]
    assert (later.message_id, later.sent_at) == (send.message_id, send.sent_at)
    # Without an id of its own each is new.
    del body["id"]
    told = {
        (await client.post("/v1/sends", json=body, headers=headers)).json()["message_id"]
        for _ in range(3)
    }
    assert len(told) == 3


async def test_the_users_toggles_are_the_default_of_a_send(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    consent = SAID | {"purposes": ["opens", "clicks"]}
    await client.post("/v1/consents", json=consent, headers=headers)
    await client.put("/v1/preferences", json=WISH, headers=headers)
    assert memory.register.toggles("acme", "ben") == Toggles(True, False)
    body = {"html": HTML, "recipients": ["anna@example.com"]}
    tracked = (await client.post("/v1/sends", json=body, headers=headers)).json()["tracked"]
    assert (tracked["opens"], tracked["clicks"]) == (True, False)
    assert tracked["refused"] == {"clicks": "not_wanted"}
    body |= {"clicks": True, "opens": False}  # type: ignore[dict-item]
    tracked = (await client.post("/v1/sends", json=body, headers=headers)).json()["tracked"]
    assert (tracked["opens"], tracked["clicks"]) == (False, True)


async def test_recipients_of_a_raw_mail_stand_in_a_field(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin") | {"Content-Type": "message/rfc822"}
    wanted = ["jörg@example.com", "anna@example.com"]
    for address in wanted:
        told = SAID | {"address": address, "purposes": ["opens", "clicks"]}
        await client.post("/v1/consents", json=told, headers=memory.authorization("ben", "admin"))
    answer = await client.post(
        "/v1/sends",
        content=b"To: otto@example.com\r\nContent-Type: text/html\r\n\r\n" + HTML.encode(),
        headers=httpx.Headers(
            headers | {"Mailwake-Recipients": ", ".join(wanted)}, encoding="utf8"
        ),
    )
    assert answer.json()["tracked"]["mode"] == "identified"
    (send,) = memory.connection.sends
    assert send.recipients == [memory.keyring.recipient_id("acme", each) for each in wanted]
    # Those of its header have not been asked.
    answer = await client.post(
        "/v1/sends",
        content=b"To: otto@example.com\r\nContent-Type: text/html\r\n\r\n" + HTML.encode(),
        headers=headers,
    )
    assert answer.json()["tracked"]["refused"] == {"opens": "unknown", "clicks": "unknown"}


async def test_a_body_with_nothing_to_track_publishes_nothing(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    await client.post("/v1/consents", json=SAID | {"purposes": ["clicks"]}, headers=headers)
    body = {"text": "No link in here.", "recipients": ["anna@example.com"]}
    sent = (await client.post("/v1/sends", json=body, headers=headers)).json()
    assert (sent["message_id"], sent["text"]) == (None, "No link in here.")
    assert memory.connection.sends == []


async def test_of_the_senders_address_the_network_is_kept(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    await client.post("/v1/consents", json=SAID, headers=headers)
    body = {"html": HTML, "recipients": ["anna@example.com"]}
    for sender, mode in (
        ({"address": "203.0.113.77", "agent": "Firefox/140"}, "identified"),
        ({"address": "::ffff:203.0.113.77"}, "identified"),
        ({"address": "2001:db8:1:2::3"}, "identified"),
        ({"agent": "Firefox/140"}, "identified"),
        ({"address": "203.0.113.77", "agent": "Firefox/140"}, "anonymous"),
    ):
        told = body | {"sender": sender, "mode": mode}
        answer = await client.post("/v1/sends", json=told, headers=headers)
        assert answer.status_code == 200
    assert [(send.sender_network, send.sender_agent) for send in memory.connection.sends] == [
        ("203.0.113.0/24", "Firefox/140"),
        ("203.0.113.0/24", ""),
        ("2001:db8:1::/48", ""),
        ("", "Firefox/140"),
        ("", ""),
    ]
    wrong = body | {"sender": {"address": "203.0.113.777"}}
    answer = await client.post("/v1/sends", json=wrong, headers=headers)
    assert problem(answer, 422) == "sender_address"
    assert "113.777" not in answer.text


async def test_sends_carry_the_days_of_the_policy_that_held(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ada", "admin")
    await client.post("/v1/consents", json=SAID, headers=headers)
    assert (await client.get("/v1/policy", headers=headers)).json()["retention_days"] == 180
    wish = {"ceiling": "identified", "basis": "consent"}
    for days, kept in ((30, 30), (None, 30), (180, 180)):
        more = {} if days is None else {"retention_days": days}
        answer = await client.put("/v1/policy", json=wish | more, headers=headers)
        assert answer.json()["retention_days"] == kept
        again = await client.get("/v1/policy", headers=headers)
        assert (again.json(), again.headers["etag"]) == (answer.json(), answer.headers["etag"])
        await client.post("/v1/sends", json=GOOD["post_sends"], headers=headers)
    assert [send.retention_days for send in memory.connection.sends] == [30, 30, 180]
    for no_days in (0, 181, -1, "30", 1.5):
        answer = await client.put(
            "/v1/policy", json=wish | {"retention_days": no_days}, headers=headers
        )
        assert answer.status_code == 422


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "anna@example.com",
            '"a b"@example.com, c@d.example',
            "\ud800@example.com",
            "a@\udfff",
            "\x00@\x00",
            "=?utf-8?q?a?=@b",
            "@",
            base64.b64encode(b"To: \xff <a@b>\n\n<html>").decode(),
            "granted",
            "opens",
            ["opens", "clicks"],
            "0" * 32,
            2**63,
            -1,
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = sorted(
    {
        name
        for schema in document(ENDPOINTS, "http://x.example")["components"]["schemas"].values()
        for name in schema["properties"]
    }
)


@pytest.fixture
def ask(memory: Memory) -> Iterator[Callable[..., httpx.Response]]:
    """Calls that need no event loop of the test's own; one for all of a test's examples."""
    with asyncio.Runner() as runner:
        client = connect(memory)

        def ask(method: str, path: str, **more: Any) -> httpx.Response:
            return runner.run(client.request(method, path, **more))

        yield ask
        runner.run(client.aclose())


EXAMPLES = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EXAMPLES
@given(
    endpoint=st.sampled_from([each for each in ENDPOINTS if each.takes is not None]),
    change=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4),
    kind=st.integers(0, 3),
)
def test_no_body_breaks_it(
    memory: Memory,
    ask: Callable[..., httpx.Response],
    endpoint: Endpoint,
    change: dict[str, Any],
    kind: int,
) -> None:
    good = GOOD[endpoint.name]
    body: Any = (good | change, change, [good | change], list(change.values()))[kind]
    headers = memory.authorization("ben", "admin") | {"Content-Type": "application/json"}
    content = json.dumps(body).encode()
    answer = ask(endpoint.method, endpoint.path, headers=headers, content=content)
    assert answer.status_code < 500, (body, answer.text)
    if answer.status_code >= 400:
        assert problem(answer, answer.status_code)
        assert "example.com" not in answer.text


@EXAMPLES
@given(
    mail=st.binary(max_size=300),
    recipients=st.lists(st.sampled_from(["a@b.example", "@", "ä", ", ,"])),
)
def test_no_mail_breaks_it(
    memory: Memory, ask: Callable[..., httpx.Response], mail: bytes, recipients: list[str]
) -> None:
    headers = memory.authorization("ben") | {
        "Content-Type": "message/rfc822",
        "Mailwake-Recipients": ",".join(recipients),
    }
    answer = ask(
        "POST",
        "/v1/sends",
        params={"id": "1", "opens": "true", "footer": "x"},
        headers=httpx.Headers(headers, encoding="utf-8"),
        content=b"To: a@b.example\r\n" + mail,
    )
    assert answer.status_code in (200, 422)


@pytest.mark.parametrize("value", ["anna@example.com", " - at `$.x", "a` - at `$.anna@example.com"])
async def test_a_wrong_value_is_not_said_again(
    memory: Memory, client: httpx.AsyncClient, value: str
) -> None:
    headers = memory.authorization("ada", "admin")
    for body in ({"ceiling": value, "basis": "consent"}, {value: 1}):
        answer = await client.put("/v1/policy", json=body, headers=headers)
        assert problem(answer, 422) == "body"
        assert "example.com" not in answer.text
