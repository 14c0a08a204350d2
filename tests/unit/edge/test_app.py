"""The edge as an application: what is answered, what is counted, what a hit holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake.contracts import HIT, Hit
from mailwake.ids import split_hit_id
from mailwake.keyring import new_keyring
from mailwake.tokens import MAX_TARGET_BYTES, MAX_TEXT, Token
from mailwake_edge.answers import NO_BODY, NO_LINK, NOT_ALLOWED, NOT_FOUND, PIXEL, PIXEL_GIF
from mailwake_edge.app import Edge, Safe
from tests.unit.edge.asking import (
    AT,
    CLICK,
    KEYRING,
    MESSAGE,
    OPEN,
    TARGET,
    Answer,
    Asked,
    ask,
    counted,
)


@pytest.fixture
def edge() -> Asked:
    return Asked()


@pytest.mark.parametrize("token", [OPEN, CLICK])
async def test_the_answer_waits_until_the_hit_is_safe(edge: Asked, token: Token) -> None:
    edge.answers = False
    asking = asyncio.create_task(edge(f"/{token.kind[0]}/{KEYRING.seal(token)}"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(edge.hits) == 1
    assert not asking.done()
    edge.answer()
    assert (await asking).status in (200, 302)


async def test_whatever_goes_wrong_with_a_hit_the_reader_is_answered(edge: Asked) -> None:
    def fail(hits: list[Hit], answer: Callable[[], None]) -> None:
        raise RuntimeError("broken")

    edge.app._put = fail
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    answer = await edge("/o/" + KEYRING.seal(OPEN))
    assert answer.body == PIXEL_GIF
    assert len(said) == 1


async def test_a_pixel_gives_the_pixel_and_a_hit(edge: Asked) -> None:
    before = counted("hits", kind="open")
    answer = await edge(
        "/o/" + KEYRING.seal(OPEN),
        headers=[
            (b"user-agent", b"Thunderbird/128"),
            (b"referer", b"https://mail.example/inbox/7"),
            (b"x-purpose", b"preview"),
        ],
    )
    assert answer.messages == list(PIXEL.messages)
    assert edge.hits == [
        Hit(
            hit_id=f"{edge.stream.name}{1:016x}",
            kind="open",
            at=AT,
            tenant="acme",
            message_id=MESSAGE,
            recipient=3,
            mode="identified",
            method="GET",
            network="203.0.113.0/24",
            agent="Thunderbird/128",
            referer="https://mail.example",
            purpose="preview",
            asn=64_500,
        )
    ]
    assert counted("hits", kind="open") == before + 1


async def test_a_link_leads_to_its_target_and_gives_a_hit(edge: Asked) -> None:
    before = counted("hits", kind="click")
    answer = await edge("/c/" + KEYRING.seal(CLICK))
    assert (answer.status, answer.headers[b"location"]) == (302, TARGET.encode())
    assert answer.body
    (hit,) = edge.hits
    assert (hit.kind, hit.link, hit.target, hit.method) == ("click", 5, TARGET, "GET")
    assert counted("hits", kind="click") == before + 1


@pytest.mark.parametrize("token", [OPEN, CLICK])
async def test_head_is_answered_alike_without_a_body(edge: Asked, token: Token) -> None:
    path = f"/{token.kind[0]}/{KEYRING.seal(token)}"
    whole = await edge(path)
    head = await edge(path, method="HEAD")
    assert head.messages[0] == whole.messages[0]
    assert head.messages[1:] == [NO_BODY]
    assert [hit.method for hit in edge.hits] == ["GET", "HEAD"]


async def test_hits_are_numbered_in_the_order_they_are_put(edge: Asked) -> None:
    for _ in range(3):
        await edge("/o/" + KEYRING.seal(OPEN))
        await edge("/c/" + KEYRING.seal(CLICK))
    assert [split_hit_id(hit.hit_id) for hit in edge.hits] == [
        (edge.stream.name, number) for number in range(1, 7)
    ]


@pytest.mark.fault(32)
async def test_anonymous_hits_hold_no_trace_of_the_reader(edge: Asked) -> None:
    anonymous = Token("open", "acme", MESSAGE, 0, "anonymous")
    answer = await edge(
        "/o/" + KEYRING.seal(anonymous),
        headers=[
            (b"user-agent", b"Thunderbird/128"),
            (b"referer", b"https://mail.example/"),
            (b"x-forwarded-for", b"198.51.100.1"),
            (b"sec-purpose", b"prefetch"),
        ],
    )
    assert answer.messages == list(PIXEL.messages)
    (hit,) = edge.hits
    assert (hit.network, hit.agent, hit.referer, hit.asn) == ("", "", "", 0)
    assert hit.purpose == "prefetch"


async def test_a_query_behind_a_token_changes_nothing(edge: Asked) -> None:
    """Mail programs and gateways add such."""
    assert (await edge("/o/" + KEYRING.seal(OPEN), query=b"a=b")).messages == list(PIXEL.messages)
    answer = await edge("/c/" + KEYRING.seal(CLICK), query=b"url=https://evil.example/")
    assert answer.headers[b"location"] == TARGET.encode()
    assert len(edge.hits) == 2


async def test_a_client_behind_a_trusted_proxy_is_found(edge: Asked) -> None:
    header = [(b"x-forwarded-for", b"198.51.100.1, 192.0.2.9")]
    await edge("/o/" + KEYRING.seal(OPEN), headers=header, client=("10.0.0.1", 1))
    await edge("/o/" + KEYRING.seal(OPEN), headers=header, client=("203.0.113.77", 1))
    await edge("/o/" + KEYRING.seal(OPEN), headers=header, client=None)
    assert [(hit.network, hit.asn) for hit in edge.hits] == [
        *(("192.0.2.0/24", 64_502), ("203.0.113.0/24", 64_500), ("", 0)),
    ]


FOREIGN = new_keyring()
WRONG = {
    "": "malformed",
    "x": "malformed",
    KEYRING.seal(OPEN) + ".gif": "malformed",
    KEYRING.seal(OPEN) + "/": "malformed",
    "../" + KEYRING.seal(OPEN): "malformed",
    "é" * 60: "malformed",
    FOREIGN.seal(OPEN): "forged",
    "A" * MAX_TEXT: "unknown_version",
    "A" * (MAX_TEXT + 1): "too_long",
    "A" * 1_000_000: "too_long",
}


@pytest.mark.fault(22)
@pytest.mark.parametrize(("text", "reason"), WRONG.items(), ids=list(WRONG.values()))
async def test_a_wrong_token_is_answered_and_counted(edge: Asked, text: str, reason: str) -> None:
    """The pixel is the same message for message; nobody learns what a right token would be."""
    before = [counted("refused", kind=kind, reason=reason) for kind in ("open", "click")]
    pixel = await edge("/o/" + text)
    link = await edge("/c/" + text)
    assert pixel.messages == list(PIXEL.messages)
    assert link.messages == list(NO_LINK.messages)
    assert b"location" not in link.headers
    assert (await edge("/o/" + text, method="HEAD")).messages == [PIXEL.messages[0], NO_BODY]
    assert (await edge("/c/" + text, method="HEAD")).messages == [NO_LINK.messages[0], NO_BODY]
    assert not edge.hits
    after = [counted("refused", kind=kind, reason=reason) for kind in ("open", "click")]
    assert after == [count + 2 for count in before]


async def test_the_token_of_a_pixel_is_no_link_nor_the_other_way_round(edge: Asked) -> None:
    before = counted("refused", kind="open", reason="wrong_kind")
    assert (await edge("/o/" + KEYRING.seal(CLICK))).messages == list(PIXEL.messages)
    assert (await edge("/c/" + KEYRING.seal(OPEN))).messages == list(NO_LINK.messages)
    assert not edge.hits
    assert counted("refused", kind="open", reason="wrong_kind") == before + 1


@pytest.mark.parametrize("target", ["javascript:alert(1)", "//evil.example/", "ftp://a.example/"])
async def test_a_sealed_target_that_is_not_of_the_web_leads_nowhere(
    edge: Asked, target: str
) -> None:
    before = counted("refused", kind="click", reason="target")
    token = Token("click", "acme", MESSAGE, 1, "identified", 0, target)
    assert (await edge("/c/" + KEYRING.seal(token))).messages == list(NO_LINK.messages)
    assert not edge.hits
    assert counted("refused", kind="click", reason="target") == before + 1


@pytest.mark.fault(26)
@pytest.mark.parametrize("host", [b"t.globex.example", b"T.Globex.Example"])
async def test_at_the_address_of_another_tenant_nothing_comes_of_a_token(
    edge: Asked, host: bytes
) -> None:
    before = {kind: counted("refused", kind=kind, reason="domain") for kind in ("open", "click")}
    foreign = [(b"host", host)]
    opened = await edge("/o/" + KEYRING.seal(OPEN), headers=foreign)
    clicked = await edge("/c/" + KEYRING.seal(CLICK), headers=foreign)
    assert opened.messages == list(PIXEL.messages)
    assert clicked.messages == list(NO_LINK.messages)
    assert not edge.hits
    for kind, count in before.items():
        assert counted("refused", kind=kind, reason="domain") == count + 1


@pytest.mark.parametrize("headers", [[], [(b"host", b"t.acme.example")], [(b"host", b"t.example")]])
async def test_at_its_own_address_and_at_the_common_one_it_counts(
    edge: Asked, headers: list[tuple[bytes, bytes]]
) -> None:
    assert (await edge("/c/" + KEYRING.seal(CLICK), headers=headers)).status == 302
    assert (await edge("/o/" + KEYRING.seal(OPEN), headers=headers)).body == PIXEL_GIF
    assert [hit.kind for hit in edge.hits] == ["click", "open"]


async def test_the_longest_target_is_led_to(edge: Asked) -> None:
    target = "https://example.com/" + "日" * ((MAX_TARGET_BYTES - 20) // 3)
    token = Token("click", "a" * 20, MESSAGE, 65535, "identified", 65535, target)
    answer = await edge("/c/" + KEYRING.seal(token))
    assert answer.status == 302
    assert HIT.decode(HIT.encode(edge.hits[0])).target == target


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "X"])
@pytest.mark.parametrize("kind", ["o", "c"])
async def test_other_methods_are_refused(edge: Asked, method: str, kind: str) -> None:
    answer = await edge(f"/{kind}/{KEYRING.seal(OPEN)}", method=method)
    assert answer.messages == list(NOT_ALLOWED.messages)
    assert answer.headers[b"allow"] == b"GET, HEAD"
    assert not edge.hits


@pytest.mark.fault(24)
async def test_line_ends_in_headers_do_not_get_through(edge: Asked) -> None:
    await edge(
        "/o/" + KEYRING.seal(OPEN),
        headers=[(b"user-agent", b"a\r\nb\x00c"), (b"referer", b"https://a.example\r\n/")],
    )
    (hit,) = edge.hits
    assert (hit.agent, hit.referer) == ("abc", "")


@pytest.mark.fault(23)
async def test_no_text_leads_anywhere_but_to_a_sealed_target() -> None:
    """Forged, cut, changed and mixed tokens, and any other text."""
    edge = Asked()
    sealed = {KEYRING.seal(CLICK): TARGET.encode()}
    genuine = next(iter(sealed))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.one_of(
            st.text(),
            st.text(
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=40
            ),
            st.tuples(st.integers(0, len(genuine)), st.text(max_size=3)).map(
                lambda cut: genuine[: cut[0]] + cut[1] + genuine[cut[0] :]
            ),
            st.tuples(st.integers(0, len(genuine) - 1), st.characters(codec="ascii")).map(
                lambda put: genuine[: put[0]] + put[1] + genuine[put[0] + 1 :]
            ),
            st.integers(0, len(genuine)).map(lambda cut: genuine[:cut] + "A" * cut),
        )
    )
    def check(text: str) -> None:
        answer = run(edge.app, "/c/" + text)
        if text in sealed:
            assert (answer.status, answer.headers[b"location"]) == (302, sealed[text])
        else:
            assert answer.messages == list(NO_LINK.messages)

    check()


def run(app: Edge, path: str) -> Answer:
    """One request inside of a running loop: it waits for its hit alone, so it is run by hand."""
    asking = ask(app, path)
    try:
        while True:
            waits_for = asking.send(None)
            if isinstance(waits_for, Safe):
                waits_for._asyncio_future_blocking = False
                app._make_hits()
    except StopIteration as end:
        answer: Answer = end.value
        return answer


async def test_the_rest_is_for_the_load_balancer(edge: Asked) -> None:
    assert ((await edge("/health")).status, (await edge("/ready")).status) == (200, 503)
    edge.status.ready = True
    assert (await edge("/ready")).body == b"yes\n"
    edge.status.leaving = True
    assert ((await edge("/health")).status, (await edge("/ready")).status) == (200, 503)
    edge.status.stall_s = 1e-9
    assert ((await edge("/health")).status, (await edge("/ready")).status) == (503, 503)


@pytest.mark.parametrize("path", ["/", "/o", "/c", "/x/abc", "/O/abc", "//o/abc", "/metrics", ""])
async def test_nothing_else_is_there(edge: Asked, path: str) -> None:
    answer = await edge(path)
    assert (answer.status, answer.body) == (404, NOT_FOUND.body)
    assert answer.headers == dict(NOT_FOUND.headers)
    assert not edge.hits


async def test_the_rest_too_takes_no_other_method(edge: Asked) -> None:
    answer = await edge("/ready", method="POST")
    assert (answer.status, answer.body) == (405, NOT_ALLOWED.body)


async def test_a_hit_has_its_line_in_the_log_where_all_is_told(
    edge: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    await edge("/o/" + KEYRING.seal(OPEN))
    assert not caplog.records
    caplog.set_level(logging.DEBUG, "mailwake.edge")
    token = KEYRING.seal(OPEN)
    await edge("/o/" + token)
    (line,) = caplog.records
    assert vars(line)["mailwake_fields"] == {"hit_id": edge.hits[-1].hit_id, "kind": "open"}
    assert token not in caplog.text
