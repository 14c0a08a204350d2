"""What a mail says to the relay: read from its header, removed, everything else kept."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import Toggles
from mailwake_relay.wishes import WishError, Wishes, take_letter, with_line_ends

BODY = b"\r\nX-Mailwake-Track: none\r\nBcc: not@a.header\r\n"


def letter(*fields: str) -> bytes:
    return "".join(f"{field}\r\n" for field in fields).encode() + BODY


@pytest.mark.parametrize(
    ("value", "toggles"),
    [
        ("opens, clicks", Toggles(opens=True, clicks=True)),
        ("Clicks,OPENS", Toggles(opens=True, clicks=True)),
        (" opens ", Toggles(opens=True, clicks=False)),
        ("\r\n\tclicks", Toggles(opens=False, clicks=True)),
        ("opens,\r\n clicks", Toggles(opens=True, clicks=True)),
        ("None", Toggles(opens=False, clicks=False)),
    ],
)
def test_track(value: str, toggles: Toggles) -> None:
    found = take_letter(letter(f"X-Mailwake-Track:{value}", "Message-ID: <1@x>"), "x.example")
    assert found.wishes == Wishes(track=toggles)
    assert found.message == letter("Message-ID: <1@x>")


def test_all_of_ours_are_removed_and_nothing_else() -> None:
    found = take_letter(
        letter(
            "Received: from a",
            " by b",
            "BCC: a@b,",
            "\tc@d",
            "Message-ID: <1@x>",
            "x-mailwake-SPLIT : YES",
            "Subject: =?utf-8?q?f=C3=BCr?=",
            " you",
            "X-Mailwake-Tag: =?utf-8?q?Fr=C3=BChling?=",
            "Resent-Bcc: e@f",
            "X-Mailwaker: stays",
            "To: a@b",
        ),
        "x.example",
    )
    assert found.message == letter(
        "Received: from a",
        " by b",
        "Message-ID: <1@x>",
        "Subject: =?utf-8?q?f=C3=BCr?=",
        " you",
        "X-Mailwaker: stays",
        "To: a@b",
    )
    assert found.wishes == Wishes(split=True, tag="Frühling")
    assert found.message_id == "<1@x>"
    assert found.ascii


@pytest.mark.parametrize(
    "field",
    [
        "X-Mailwake-Track:",
        "X-Mailwake-Track: true",
        "X-Mailwake-Track: opens clicks",
        "X-Mailwake-Track: none, clicks",
        "X-Mailwake-Split:",
        "X-Mailwake-Split: 1",
        "X-Mailwake-Tag: ",
        "X-Mailwake-Tag: " + 65 * "x",
        "X-Mailwake-Tag: =?utf-8?q?=00?=",
        "X-Mailwake-Network: 203.0.113.7",
        "X-Mailwake-Network: 203.0.113.7/24",
        "X-Mailwake-Network: home",
        "X-Mailwake-: x",
        "X-Mailwake-Other: x",
        "X-Mailwake-Track: opens\r\nx-mailwake-track: opens",
    ],
)
def test_what_makes_no_sense_is_refused(field: str) -> None:
    with pytest.raises(WishError, match="X-Mailwake-") as caught:
        take_letter(letter(field), "x.example")
    assert caught.value.status == "5.6.0"


@pytest.mark.parametrize("network", ["203.0.113.0/24", "2001:db8:1::/48"])
def test_where_the_sender_is(network: str) -> None:
    fields = (f"X-Mailwake-Network: {network}", "X-Mailwake-Agent: Gecko/1.0", "Message-ID: <1@x>")
    found = take_letter(letter(*fields), "x.example")
    assert found.wishes == Wishes(network=network, agent="Gecko/1.0")
    assert found.message == letter("Message-ID: <1@x>")


def test_a_mail_that_goes_in_a_circle_is_refused() -> None:
    take_letter(letter(*["Received: x"] * 99), "x.example")
    with pytest.raises(WishError) as caught:
        take_letter(letter(*["Received: x"] * 100), "x.example")
    assert caught.value.status == "5.4.6"


def test_a_message_id_is_added_and_is_the_same_the_next_time() -> None:
    first, second = (take_letter(letter("Date: now", "To: a"), "x.example") for _ in range(2))
    assert re.fullmatch(r"<[0-9a-f]{32}@x\.example>", first.message_id)
    assert first == second
    assert first.message == f"Message-ID: {first.message_id}\r\n".encode() + letter(
        "Date: now", "To: a"
    )


def test_without_a_date_equal_mails_are_two() -> None:
    """A machine that says the same thing twice has said it twice."""
    first, second = (take_letter(letter("To: a"), "x.example") for _ in range(2))
    assert first.message_id != second.message_id


def test_a_signed_mail_is_told() -> None:
    assert take_letter(letter("dkim-signature: v=1;", " b=x"), "x.example").signed
    assert not take_letter(letter("Subject: DKIM-Signature: x"), "x.example").signed


def test_what_is_no_mail_is_left_as_it_is() -> None:
    assert take_letter(b"no header at all\r\n", "x.example").message == b"no header at all\r\n"
    found = take_letter(b"\r\nbody\r\n", "x.example")
    assert found.message.endswith(b"\r\n\r\nbody\r\n")
    assert found.message.startswith(b"Message-ID: <")
    assert take_letter(b"", "not a domain").message.endswith(b"@localhost>\r\n")


def test_the_identity_is_of_the_message_id_and_the_body() -> None:
    one = take_letter(letter("Message-ID: <1@x>", "Date: a"), "x").identity
    assert take_letter(letter("Message-ID: <1@x>", "Date: b"), "x").identity == one
    assert take_letter(letter("Message-ID: <2@x>", "Date: a"), "x").identity != one
    assert take_letter(b"Message-ID: <1@x>\r\n\r\nother\r\n", "x").identity != one


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a\r\nb\r\n"),
        (b"a\r\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\n\n.\nb\r\n", b"a\r\n\r\n.\r\nb\r\n"),
        (b"a\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"", b""),
    ],
)
def test_line_ends(given: bytes, made: bytes) -> None:
    assert with_line_ends(given) == made


@given(st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n", b"\x00"])).map(b"".join))
def test_line_ends_are_crlf_and_nothing_else_changes(data: bytes) -> None:
    made = with_line_ends(data)
    assert made.replace(b"\r\n", b"").translate(None, b"\r\n") == made.replace(b"\r\n", b"")
    assert made.translate(None, b"\r\n") == data.translate(None, b"\r\n")
    assert with_line_ends(made) == made


NAMES = st.sampled_from(["To", "Subject", "X-Mailwake-Track", "bcc", "DKIM-Signature", "X-A"])
VALUES = st.sampled_from(["none", " none", "\r\n none", "none\r\n\t", "\tnone "])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.binary(max_size=50))
def test_only_our_fields_go(fields: list[tuple[str, str]], body: bytes) -> None:
    ours = ("X-Mailwake-Track", "bcc")
    body = with_line_ends(body)
    given_ = [f"{name}:{value}\r\n" for name, value in [("Message-ID", "<1@x>"), *fields]]
    kept = [text for text in given_ if text.partition(":")[0] not in ours]
    data = "".join(given_).encode() + b"\r\n" + body
    if sum(name == "X-Mailwake-Track" for name, _ in fields) > 1:
        with pytest.raises(WishError, match="stands twice"):
            take_letter(data, "x.example")
        return
    found = take_letter(data, "x.example")
    assert found.message == "".join(kept).encode() + b"\r\n" + body


def test_hostile_headers_take_linear_time() -> None:
    for part in (b"\r", b"X-Mailwake-Track:\r\n ", b"a:\r\n", b"\r\n ", b"bcc:" + b" " * 9):
        data = b"A: b\r\n" + part * (2_000_000 // len(part))
        try:
            take_letter(data, "x.example")
        except WishError:
            continue
