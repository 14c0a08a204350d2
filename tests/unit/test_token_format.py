"""The bytes of tokens, written out: mails that lie in mailboxes for years hold such tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mailwake.keyring import Keyring, read_keyring
from mailwake.tokens import (
    MAX_TEXT,
    Reason,
    Token,
    TokenError,
    Withdrawal,
    from_text,
    pack,
    pack_withdrawal,
    to_text,
    unpack,
    unpack_withdrawal,
)

ID = "00112233445566778899aabbccddeeff"
LONG = Token(
    "click",
    "t" * 20,
    ID,
    65535,
    "identified",
    200,
    "https://example.org/?a=1&b=é",
    (b"\xff" * 5, b"\x00" * 5),
    b"undo",
)
TOKENS = [
    (
        Token("open", "a", ID, 0, "anonymous"),
        f"00 {ID} 01 68 00",
        "AQKUHUPXj6NxmpXOTqbdw1lJllGouG2nOfyhkyjrhmonHoSGoec",
    ),
    (
        Token("open", "acme-2_b", ID, 1, "identified", readers=(b"\x01\x02\x03\x04\x05",)),
        f"0a {ID} 08 69c99efb6fdb 0102030405 01",
        "AQJrJhdxmbmwOTDGHbYlbNOP-JEAdLAH80INQFobFQkYGhPAoYg2qi6L_usA2Qvy",
    ),
    (
        LONG,
        f"17 {ID} 14 {'b6db6d' * 5} ffffffffff 0000000000 ffff03 04 756e646f c801"
        " 68747470733a2f2f6578616d706c652e6f72672f3f613d3126623dc3a9",
        "AQKL3VPQh0GcIGFsUTxPW3HU2pqEzKVeaY8PDwlKPyd2KNsEBWDdbh1Mv_My4mnJrsqT5YlB6z1XEzH9fXpQY7Wrd071"
        "hQTdbuIzMEONVICSEn1v-sjrYd80NllMA4NEK6kIUA",
    ),
    (
        Token("click", "acme", ID, 128, "anonymous", 0, "x"),
        f"01 {ID} 04 69c99e 8001 00 78",
        "AQJEx3mc1aI5i6v4brkdaTZCT5WqYZ4_fpjjVXBxZnhN-ps-eXn7MoHfBQ",
    ),
]
WITHDRAWAL = Withdrawal("acme", ID, b"back")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LEAST, MOST = 36, 12_427
"""Bytes of the shortest token (a withdrawal) and of the longest."""


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """A keyring whose keys everybody knows; key 1 was current before key 2, key 3 is revoked."""
    file: Path = tmp_path_factory.mktemp("keys") / "keys.json"
    keys = [
        {
            "id": number,
            "made": f"2026-0{number}-05T10:00:00Z",
            "key": base64.b64encode(bytes(range(64 * number - 64, 64 * number))).decode(),
        }
        for number in (1, 2)
    ]
    file.write_text(
        json.dumps(
            {
                "version": 1,
                "current": 2,
                "keys": keys,
                "revoked": [{"id": 3, "revoked": "2026-05-01T00:00:00Z"}],
                "recipients": base64.b64encode(bytes(32)).decode(),
            }
        )
    )
    return read_keyring(file)


@pytest.mark.parametrize(("token", "packed", "text"), TOKENS)
def test_a_token_is_these_bytes_for_ever(
    keyring: Keyring, token: Token, packed: str, text: str
) -> None:
    assert pack(token).hex() == packed.replace(" ", "")
    assert unpack(bytes.fromhex(packed)) == token
    assert keyring.seal(token) == text
    assert keyring.open(text) == token


def test_a_withdrawal_is_these_bytes_for_ever(keyring: Keyring) -> None:
    packed = bytes.fromhex(f"{ID} 04 69c99e") + b"back"
    text = "AQIerMGS4q3YNboVV9WHyUmS_zU7UsO7fVhRSasRLfJz1XGGU6amslhv"
    assert pack_withdrawal(WITHDRAWAL) == packed
    assert unpack_withdrawal(packed) == WITHDRAWAL
    assert keyring.seal_withdrawal(WITHDRAWAL) == text
    assert keyring.open_withdrawal(text) == WITHDRAWAL
    assert keyring.open_withdrawal(keyring.seal_withdrawal(Withdrawal("a", ID))).undo == b""


def test_what_was_opened_never_changes(keyring: Keyring) -> None:
    for value, name in (
        (LONG, "tenant"),
        (WITHDRAWAL, "tenant"),
        (keyring.keys[0], "id"),
        (keyring.revoked[0], "id"),
    ):
        with pytest.raises(AttributeError):
            setattr(value, name, getattr(value, name))


def test_a_webhooks_secret_opens_for_that_webhook_alone(keyring: Keyring) -> None:
    text = "AQKSD36wEG37UIA-RuT3heyMm7PSuLnXqs3E-SZha-DPp_NAVcL_0ujL"
    assert keyring.seal_secret(b"s" * 24, b"acme/hook") == text
    assert keyring.open_secret(text, b"acme/hook") == b"s" * 24
    for wrong in (b"acme/other", b""):
        assert refusal(partial(keyring.open_secret, text, wrong)) == "forged"
    assert refusal(partial(keyring.open, text)) == "forged"
    assert refusal(partial(keyring.open_withdrawal, text)) == "forged"


def test_a_recipients_id_is_this_for_ever(keyring: Keyring) -> None:
    assert keyring.recipient_id("acme", "Anna@Example.org") == "747b2618af6084e5c2685d8544bd6a6c"
    assert keyring.recipient_id("globex", "anna@example.org") == "41702e2149c841811b082b7bbd65f349"


@pytest.mark.parametrize(
    ("number", "packed"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (129, "8101"),
        (16383, "ff7f"),
        (16384, "808001"),
        (65535, "ffff03"),
    ],
)
def test_an_index_has_seven_bits_a_byte(number: int, packed: str) -> None:
    token = Token("open", "acme", ID, number, "anonymous")
    assert pack(token).hex().endswith("69c99e" + packed)
    assert unpack(pack(token)).recipient == number
    click = Token("click", "acme", ID, 0, "anonymous", number, "x")
    assert unpack(pack(click)).link == number


@pytest.mark.parametrize(
    ("packed", "what"),
    [
        ("", "nothing"),
        (f"00 {ID}", "no tenant"),
        (f"00 {ID} 04 69c99e", "no recipient"),
        (f"00 {ID} 04 69c99e 00 00", "a byte too many"),
        (f"00 {ID} 00 00", "a tenant of no characters"),
        (f"00 {ID} 15 {'b6db6d' * 5} b0 00", "a tenant of 21"),
        (f"00 {ID} 04 69c9", "a tenant that is cut off"),
        (f"00 {ID} 04 007010 00", "a tenant with a capital letter"),
        (f"00 {ID} 04 69c99e 80", "an index that is cut off"),
        (f"00 {ID} 04 69c99e 8080", "an index that is cut off later"),
        (f"00 {ID} 04 69c99e 80808001", "an index of four bytes"),
        (f"08 {ID} 04 69c99e 01020304", "a reader that is cut off"),
        (f"04 {ID} 04 69c99e 00 02 41", "an undo that is cut off"),
        (f"01 {ID} 04 69c99e 00 00", "a click that leads nowhere"),
        (f"01 {ID} 04 69c99e 00", "a click without a link"),
        (f"01 {ID} 04 69c99e 00 00 ff", "a target that is no UTF-8"),
    ],
)
def test_what_was_sealed_wrong_is_refused(packed: str, what: str) -> None:
    assert refusal(partial(unpack, bytes.fromhex(packed))) == "malformed", what


def test_a_withdrawal_that_was_sealed_wrong_is_refused() -> None:
    cut_off = f"{ID} 02 6a"  # the bits that are there, and nothing behind, would be the tenant `ag`
    for packed in ("", ID, f"{ID} 04 69c9", cut_off, f"{ID} 00", f"{ID} 15 {'b6db6d' * 5} b0"):
        assert refusal(partial(unpack_withdrawal, bytes.fromhex(packed))) == "malformed"


def test_the_limits_are_these() -> None:
    reader = (b"12345",)
    pack(Token("click", "acme", ID, 1, "identified", 0, "x" * 8192, reader * 16, b"u" * 4096))
    pack_withdrawal(Withdrawal("acme", ID, b"u" * 4096))
    for wrong, told in (
        (Token("click", "acme", ID, 1, "identified", 0, "x" * 8193), "1 to 8192 bytes"),
        (Token("click", "acme", ID, 1, "identified", 0, "x" * 8191 + "é"), "1 to 8192 bytes"),
        (Token("open", "acme", ID, 1, "identified", readers=reader * 17), "at most 16 readers"),
        (Token("open", "acme", ID, 1, "identified", undo=b"u" * 4097), "at most 4096 bytes"),
        (Token("open", "acme", ID, 65536, "identified"), "from 0 to 65535, not 65536"),
        (Token("open", "acme", ID, -1, "identified"), "from 0 to 65535, not -1"),
        (Token("open", "acme", ID, 1, "identified", None, "https://x.example/"), "link and target"),
    ):
        with pytest.raises(ValueError, match=told):
            pack(wrong)
    with pytest.raises(ValueError, match="4096"):
        pack_withdrawal(Withdrawal("acme", ID, b"u" * 4097))


def test_a_text_is_as_long_as_a_token_can_be_and_as_short(keyring: Keyring) -> None:
    def sealed(size: int) -> str:
        return to_text(bytes([1, 2]) + bytes(size - 2))

    assert len(sealed(MOST)) == MAX_TEXT
    for size in (LEAST, MOST):
        assert refusal(partial(keyring.open, sealed(size))) == "forged"
    for size in (2, LEAST - 1, MOST + 1):
        assert refusal(partial(keyring.open, sealed(size))) == "malformed"


@pytest.mark.parametrize(("size", "step"), [(36, 1), (37, 16), (38, 4)])
def test_one_token_has_one_text_and_no_other_characters(size: int, step: int) -> None:
    sealed = (b"\xfb\xff" * 20)[:size]
    text = to_text(sealed)
    assert from_text(text) == sealed
    assert {"-", "_"} < set(text) < set(ALPHABET)
    wrong = [text + "=", text[:-1] + "=", text[:-2] + "é" + text[-1:], text[:5] + "\n" + text[6:]]
    wrong += [text.replace("-", "+"), text.replace("_", "/"), text[:4] + "=" + text[5:]]
    # Of the last character of 37 or 38 bytes some bits belong to no byte: they must be 0.
    place = ALPHABET.index(text[-1])
    assert place % step == 0
    wrong += [text[:-1] + ALPHABET[place + more] for more in range(1, step)]
    wrong += [text + "A" * (1 - len(text) % 4)] if size == 36 else []
    for other in wrong:
        assert refusal(partial(from_text, other)) == "malformed", other


@pytest.mark.parametrize("size", [36, 37, 38])
def test_a_text_is_base64url_whatever_it_ends_with(size: int) -> None:
    for last in range(256):
        sealed = bytes(size - 1) + bytes([last])
        text = to_text(sealed)
        assert text == base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        assert from_text(text) == sealed


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ((1, 2), "forged"),
        ((1, 1), "forged"),
        ((0, 2), "unknown_version"),
        ((2, 2), "unknown_version"),
        ((1, 0), "unknown_key"),
        ((1, 3), "unknown_key"),
        ((1, 4), "unknown_key"),
    ],
)
def test_why_a_token_does_not_open(keyring: Keyring, head: tuple[int, int], reason: Reason) -> None:
    text = to_text(bytes(head) + bytes(40))
    for opening in (keyring.open, keyring.open_withdrawal):
        with pytest.raises(TokenError) as error:
            opening(text)
        assert error.value.reason == str(error.value) == reason


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(TokenError) as error:
        work()
    return error.value.reason
