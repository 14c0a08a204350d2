"""Sessions and sign-in links: who made them is known, and nobody else can."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.keyring import new_keyring
from mailwake_api.bearer import Caller
from mailwake_api.web.origin import from_here
from mailwake_api.web.sessions import LINK_S, SESSION_S, Sessions

DANA = Caller("acme", "dana")
KEYRING = new_keyring()
OURS = "https://mail.example"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_says_who_it_is_until_it_is_over() -> None:
    clock = Clock()
    sessions = Sessions(KEYRING, clock=clock)
    cookie = sessions.begin(DANA)
    session = sessions.read(cookie)
    assert session is not None
    assert session.caller == DANA
    clock.now += SESSION_S - 1
    assert sessions.read(cookie) is not None
    clock.now += 1
    assert sessions.read(cookie) is None


def test_every_process_of_an_installation_knows_it_and_no_other_installation() -> None:
    cookie = Sessions(KEYRING).begin(DANA)
    assert Sessions(KEYRING).read(cookie) is not None
    assert Sessions(KEYRING.rotate()).read(cookie) is not None
    assert Sessions(new_keyring()).read(cookie) is None


def test_a_session_ends_with_the_key_it_was_made_with() -> None:
    cookie = Sessions(KEYRING).begin(DANA)
    assert Sessions(KEYRING.rotate().revoke(KEYRING.current)).read(cookie) is None


def test_a_link_signs_in_once_and_looking_at_it_uses_nothing_up() -> None:
    sessions = Sessions(KEYRING)
    link = sessions.link(DANA)
    assert sessions.whose(link) == sessions.whose(link) == DANA
    assert sessions.redeem(link) == DANA
    assert sessions.redeem(link) is None
    assert sessions.whose(link) is None


def test_a_link_is_soon_too_old() -> None:
    clock = Clock()
    sessions = Sessions(KEYRING, clock=clock)
    link = sessions.link(DANA)
    clock.now += LINK_S
    assert sessions.redeem(link) is None


def test_neither_stands_for_the_other() -> None:
    sessions = Sessions(KEYRING)
    assert sessions.read(sessions.link(DANA)) is None
    assert sessions.redeem(sessions.begin(DANA)) is None


@given(st.text(max_size=200))
def test_anything_else_is_no_session(text: str) -> None:
    sessions = Sessions(KEYRING)
    assert sessions.read(text) is None
    assert sessions.redeem(text) is None


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_another_algorithm_is_not_taken(algorithm: str) -> None:
    claims = {"tenant": "acme", "sub": "dana", "role": "user", "aud": "mailwake-session"}
    forged = jwt.encode(
        claims | {"sid": "x", "exp": 9_999_999_999},
        "" if algorithm == "none" else "a" * 64,
        algorithm=algorithm,
        headers={"kid": str(KEYRING.current)},
    )
    assert Sessions(KEYRING).read(forged) is None


def test_a_form_is_that_of_its_session_alone() -> None:
    sessions = Sessions(KEYRING)
    one, other = (sessions.read(sessions.begin(DANA)) for _ in range(2))
    assert one is not None
    assert other is not None
    assert sessions.form_fits(one, sessions.form_token(one))
    assert not sessions.form_fits(other, sessions.form_token(one))
    for wrong in ("", "x", sessions.form_token(one)[:-1], "ä" * 32):
        assert not sessions.form_fits(one, wrong)
    assert Sessions(KEYRING.rotate()).form_fits(one, sessions.form_token(one))


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"origin": OURS}, True),
        ({"origin": OURS, "sec-fetch-site": "same-origin"}, True),
        ({"origin": "HTTPS://MAIL.EXAMPLE"}, True),
        ({"origin": "http://inside:8026", "host": "inside:8026"}, True),
        ({}, False),
        ({"host": "mail.example"}, False),
        ({"origin": "null", "host": "mail.example"}, False),
        ({"origin": "https://evil.example", "host": "mail.example"}, False),
        ({"origin": "https://mail.example.evil.example"}, False),
        ({"origin": "https://mail.example:444"}, False),
        ({"origin": "http://mail.example", "host": "other.example"}, False),
        ({"origin": OURS, "sec-fetch-site": "cross-site"}, False),
        ({"origin": OURS, "sec-fetch-site": "same-site"}, False),
        ({"origin": "https://[bad"}, False),
        ({"origin": "https://"}, False),
    ],
)
def test_a_form_from_elsewhere_is_known(headers: dict[str, str], ours: bool) -> None:
    assert from_here(headers, OURS) is ours
