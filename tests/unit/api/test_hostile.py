"""No body, mail or question breaks the API, or is said again."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake_api.call import Endpoint
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.openapi import document
from tests.unit.api.asking import GOOD, connect, problem
from tests.unit.api.memory import Memory


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
    assert len(memory.reader.asked) == 3  # one of the page, two of the report
    texts = [sql for sql, _ in memory.reader.asked]
    for number, word in reversed(list(enumerate(words.split()[:8]))):
        assert memory.reader.asked[0][1][f"word{number}"] == word
    memory.reader.asked.clear()
    fixed |= {"q": " ".join(["x"] * min(8, len(words.split()))), "tracked": "true"}
    await client.get("/v1/messages", params=fixed, headers=headers)
    await client.get("/v1/reports/clients", params={"tag": "x", "by": "tag"}, headers=headers)
    assert [sql for sql, _ in memory.reader.asked] == texts


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
