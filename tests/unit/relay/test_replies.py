"""Answers of the next host as our client hears them, and the notice of what was refused."""

from __future__ import annotations

import email
from email.message import Message

import pytest

from mailwake_relay.bounce import bounce
from mailwake_relay.next_host import Reply, _reply
from mailwake_relay.wishes import with_line_ends


@pytest.mark.parametrize(
    ("reply", "text", "line"),
    [
        (Reply(250, "2.0.0 OK"), "250 2.0.0 OK", "250 2.0.0 OK"),
        (Reply(550, "a\nb"), "550-a\r\n550 b", "550 a b"),
        (Reply(450, ""), "450 ", "450 "),
        (Reply(550, "a\r\n250 b"), "550-a\r\n550 250 b", "550 a 250 b"),
        (Reply(550, "\udcff"), "550 ?", "550 ?"),
    ],
)
def test_a_reply_is_written_as_smtp_wants_it(reply: Reply, text: str, line: str) -> None:
    assert (str(reply), reply.line) == (text, line)


@pytest.mark.parametrize(
    ("code", "heard", "lost"),
    [(250, 250, False), (421, 451, True), (199, 451, True), (600, 451, True), (554, 554, False)],
)
def test_what_the_next_host_says_is_what_the_client_hears(
    code: int, heard: int, lost: bool
) -> None:
    reply = _reply(code, "text")
    assert (reply.code, reply.lost) == (heard, lost)
    assert (reply.good, reply.permanent) == (heard < 300, heard >= 500)


@pytest.mark.parametrize("address", ["anna@example.org", "änna@exämple.org"])
def test_a_notice_says_who_was_refused_and_why(address: str) -> None:
    refused = {address: Reply(550, "5.1.1 no\nsuch user"), "o@x": Reply(552, "too large")}
    notice = bounce("relay.example", "ben@example.com", b"Subject: a\r\n\r\nsecret", refused)
    assert with_line_ends(notice) == notice
    assert notice.isascii() == address.isascii()
    assert b"secret" not in notice
    told = email.message_from_bytes(notice)
    assert told["To"] == "<ben@example.com>"
    assert told["Auto-Submitted"] == "auto-replied"
    parts = told.get_payload()
    assert isinstance(parts, list)
    text, status, original = parts
    assert isinstance(text, Message)
    words = text.get_payload(decode=True)
    assert isinstance(words, bytes)
    assert f"{address}\r\n    550 5.1.1 no such user" in words.decode()
    assert isinstance(status, Message)
    blocks = status.get_payload()
    assert isinstance(blocks, list)
    found = [block["Status"] for block in blocks[1:] if isinstance(block, Message)]
    assert found == ["5.1.1", "5.0.0"]
    assert isinstance(original, Message)
    assert original.get_payload(decode=True) == b"Subject: a\r\n"
