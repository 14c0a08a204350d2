"""Tokens: what goes in comes out, and nothing else ever opens."""

from __future__ import annotations

import base64
import os
import random
import string
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.keyring import Keyring, new_keyring
from mailwake.tokens import (
    MAX_READERS,
    MAX_TARGET_BYTES,
    MAX_TEXT,
    MAX_UNDO_BYTES,
    OVERHEAD,
    Token,
    TokenError,
    Withdrawal,
)

KEYRING = new_keyring()
URL_ALPHABET = string.ascii_letters + string.digits + "-_"
LONGEST_TENANT = "t" * 20

modes: st.SearchStrategy[Literal["anonymous", "identified"]] = st.sampled_from(
    ["anonymous", "identified"]
)
tenants = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,19}", fullmatch=True)
message_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
indexes = st.integers(0, 65535)
targets = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_TARGET_BYTES // 4
)
readers = st.lists(st.binary(min_size=5, max_size=5), max_size=MAX_READERS).map(tuple)
undos = st.binary(max_size=300)
more = {"readers": readers, "undo": undos}
opens = st.builds(Token, st.just("open"), tenants, message_ids, indexes, modes, **more)
clicks = st.builds(
    Token, st.just("click"), tenants, message_ids, indexes, modes, indexes, targets, **more
)
tokens = st.one_of(opens, clicks)
withdrawals = st.builds(Withdrawal, tenants, message_ids, undos)
READER = (b"\x07" * 5,)


def click(
    tenant: str = "acme",
    recipient: int = 1,
    link: int = 0,
    target: str = "https://example.org/",
    readers: tuple[bytes, ...] = READER,
    undo: bytes = b"",
) -> Token:
    return Token("click", tenant, "01" * 16, recipient, "identified", link, target, readers, undo)


def refusal(text: str, keyring: Keyring = KEYRING) -> str:
    with pytest.raises(TokenError) as caught:
        keyring.open(text)
    assert len(str(caught.value)) < 20, "the text stands in no message"
    return caught.value.reason


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text_of(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


@given(tokens)
def test_a_token_comes_back_as_it_went(token: Token) -> None:
    text = KEYRING.seal(token)
    assert set(text) <= set(URL_ALPHABET)
    assert len(text) <= MAX_TEXT
    assert KEYRING.open(text) == token
    assert KEYRING.seal(KEYRING.open(text)) == text


@given(tokens, st.integers(0, 255))
def test_any_flipped_bit_is_refused(token: Token, seed: int) -> None:
    sealed = raw(KEYRING.seal(token))
    bits = range(len(sealed) * 8)
    for bit in bits if len(bits) < 1000 else random.Random(seed).sample(bits, 200):
        mutated = bytearray(sealed)
        mutated[bit // 8] ^= 1 << bit % 8
        expected = {0: "unknown_version", 1: "unknown_key"}.get(bit // 8, "forged")
        assert refusal(text_of(bytes(mutated))) == expected


@given(tokens)
def test_any_truncation_and_extension_is_refused(token: Token) -> None:
    text = KEYRING.seal(token)
    for length in range(0, len(text), 1 + len(text) // 300):
        assert refusal(text[:length]) in ("malformed", "forged")
    for more in ("A", "AA", "AAA", "AAAA", "=", "==", "\n", " ", ".gif"):
        assert refusal(text + more) in ("malformed", "forged")


@given(st.binary(max_size=300))
def test_random_bytes_never_open(sealed: bytes) -> None:
    refusal(text_of(sealed))
    assert refusal(text_of(b"\x01\x01" + os.urandom(16) + sealed)) in ("malformed", "forged")


@given(st.text(max_size=100))
def test_random_text_never_opens(text: str) -> None:
    refusal(text)


@pytest.mark.fault(22)
def test_mutated_tokens_never_open(long: bool, tally: Callable[..., None]) -> None:
    chance = random.Random(20260105)
    mutations = 1_000_000 if long else 100_000
    texts = [KEYRING.seal(click(target="https://example.org/" + "a" * n)) for n in range(4)]
    for _ in range(mutations):
        text = chance.choice(texts)
        at = chance.randrange(len(text))
        kind = chance.randrange(3)
        put = chance.choice(URL_ALPHABET + "+/=% ") if kind else ""
        mutated = text[:at] + put + text[at + (kind < 2) :]
        if mutated != text:
            with pytest.raises(TokenError):
                KEYRING.open(mutated)
    tally(injected=mutations)


@given(tokens)
def test_one_token_has_one_text(token: Token) -> None:
    text = KEYRING.seal(token)
    last = URL_ALPHABET.index(text[-1])
    for other in URL_ALPHABET:  # sets the unused bits of the last character
        if other != URL_ALPHABET[last] and raw(text[:-1] + other) == raw(text):
            assert refusal(text[:-1] + other) == "malformed"
    for alias in (text + "=" * (-len(text) % 4), text.replace("-", "+"), text.replace("_", "/")):
        if alias != text:
            assert refusal(alias) == "malformed"


@given(
    st.sampled_from([LONGEST_TENANT, "a"]),
    st.integers(0, 16383),
    st.integers(0, 16383),
    st.text(string.ascii_letters, min_size=1),
)
def test_a_click_token_is_at_most_60_bytes_longer_than_its_url(
    tenant: str, recipient: int, link: int, path: str
) -> None:
    target = "https://example.org/" + path
    text = KEYRING.seal(click(tenant, recipient, link, target))
    assert len(raw(text)) <= len(target) + OVERHEAD
    assert len(text) == (len(raw(text)) * 4 + 2) // 3


def test_the_longest_token_keeps_the_size_law_exactly() -> None:
    text = KEYRING.seal(click(LONGEST_TENANT, 16383, 16383, "u"))
    assert len(raw(text)) == 1 + OVERHEAD == 61


def test_an_open_token_is_short() -> None:
    token = Token("open", "acme", "01" * 16, 1, "anonymous")
    assert len(KEYRING.seal(token)) == 54


def test_another_keyring_opens_nothing() -> None:
    assert refusal(KEYRING.seal(click()), new_keyring()) == "forged"


def test_nothing_of_the_token_can_be_read() -> None:
    sealed = raw(KEYRING.seal(click("acme", target="https://example.org/offer")))
    assert b"acme" not in sealed
    assert b"example" not in sealed
    assert b"\x01" * 16 not in sealed


@pytest.mark.parametrize(
    "token",
    [
        click(tenant=""),
        click(tenant="t" * 21),
        click(tenant="Acme"),
        click(tenant="-acme"),
        click(recipient=-1),
        click(recipient=65536),
        click(link=65536),
        click(target=""),
        click(target="x" * (MAX_TARGET_BYTES + 1)),
        click(target="\ud800"),
        click(readers=READER * (MAX_READERS + 1)),
        click(readers=(b"1234", b"123456")),
        click(readers=(b"1234",)),
        click(undo=b"u" * (MAX_UNDO_BYTES + 1)),
        Token("open", "acme", "01" * 16, 1, "identified", 0, "https://example.org/"),
        Token("click", "acme", "01" * 16, 1, "identified", 0, None),
        Token("click", "acme", "0G" * 16, 1, "identified", 0, "https://example.org/"),
        Token("click", "acme", "01" * 15, 1, "identified", 0, "https://example.org/"),
    ],
)
def test_a_token_that_cannot_stand_is_not_sealed(token: Token) -> None:
    with pytest.raises(ValueError, match=r"."):
        KEYRING.seal(token)


def test_the_longest_token_of_all_is_read() -> None:
    token = Token(
        "click",
        LONGEST_TENANT,
        "01" * 16,
        65535,
        "identified",
        65535,
        "t" * MAX_TARGET_BYTES,
        READER * MAX_READERS,
        b"u" * MAX_UNDO_BYTES,
    )
    assert len(KEYRING.seal(token)) == MAX_TEXT
    assert KEYRING.open(KEYRING.seal(token)) == token


@given(withdrawals)
def test_a_withdrawal_comes_back_as_it_went(withdrawal: Withdrawal) -> None:
    text = KEYRING.seal_withdrawal(withdrawal)
    assert set(text) <= set(URL_ALPHABET)
    assert KEYRING.open_withdrawal(text) == withdrawal


@given(withdrawals, tokens)
def test_a_token_of_one_kind_never_opens_as_the_other(withdrawal: Withdrawal, token: Token) -> None:
    assert refusal(KEYRING.seal_withdrawal(withdrawal)) == "forged"
    with pytest.raises(TokenError, match="forged"):
        KEYRING.open_withdrawal(KEYRING.seal(token))


@pytest.mark.parametrize(
    "withdrawal",
    [
        Withdrawal("Acme", "01" * 16),
        Withdrawal("acme", "01" * 15),
        Withdrawal("acme", "01" * 16, b"u" * (MAX_UNDO_BYTES + 1)),
    ],
)
def test_a_withdrawal_that_cannot_stand_is_not_sealed(withdrawal: Withdrawal) -> None:
    with pytest.raises(ValueError, match=r"."):
        KEYRING.seal_withdrawal(withdrawal)
