"""Conditional requests: which entity tags match, and the memory of what was published."""

from __future__ import annotations

import pytest
from msgspec import Struct, structs
from starlette.requests import Request

from mailwake.contracts import Display, Send
from mailwake_api import conditions
from mailwake_api.problems import Problem
from mailwake_api.published import Published


class Value(Struct):
    number: int


TAG = conditions.tag_of(Value(1))


def request(name: str, *values: str, method: str = "GET") -> Request:
    headers = [(name.encode(), value.encode()) for value in values]
    return Request({"type": "http", "method": method, "headers": headers})


@pytest.mark.parametrize("sent", [TAG, f"W/{TAG}", "*", f'"x", {TAG}', f'"x",W/{TAG}'])
def test_what_is_known_is_not_sent_again(sent: str) -> None:
    answer = conditions.answer(request("if-none-match", sent), Value(1))
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", TAG)
    assert conditions.answer(request("if-none-match", "a", sent), Value(1)).status_code == 304


@pytest.mark.parametrize("sent", ["", '"x"', TAG[1:-1], conditions.tag_of(Value(2))])
def test_what_has_changed_is_sent(sent: str) -> None:
    answer = conditions.answer(request("if-none-match", sent), Value(1))
    assert (answer.status_code, answer.body) == (200, b'{"number":1}')


def test_an_answer_to_a_put_is_always_sent() -> None:
    assert conditions.answer(request("if-none-match", TAG, method="PUT"), Value(1)).body


@pytest.mark.parametrize("sent", [TAG, "*", f'"x", {TAG}'])
def test_what_is_as_it_was_may_be_changed(sent: str) -> None:
    conditions.check(request("if-match", sent), Value(1))
    conditions.check(request("other", "x"), Value(1))


@pytest.mark.parametrize("sent", ['"x"', f"W/{TAG}", TAG[1:-1]])
def test_what_was_changed_meanwhile_may_not(sent: str) -> None:
    with pytest.raises(Problem) as caught:
        conditions.check(request("if-match", sent), Value(1))
    assert caught.value.status == 412


def test_what_was_published_is_remembered_and_the_oldest_forgotten() -> None:
    published = Published(most=2)
    display = Display("0" * 32, "acme", "ben", "subject")
    first, second, third = (
        Send(str(number) * 32, "acme", "ben", number, 1, "anonymous", True, True)
        for number in (1, 2, 3)
    )
    assert not published.has(first, display)
    assert published.dated(first.message_id, 7) == 7
    for send in (first, second, first):
        published.note(send, display)
    assert published.has(first, display)
    assert published.dated(first.message_id, 7) == 1
    assert not published.has(first, structs.replace(display, subject="other"))
    assert not published.has(structs.replace(first, clicks=False), display)
    published.note(third, display)
    assert [published.has(send, display) for send in (first, second, third)] == [True, False, True]
