"""The laws that hold for any bytes: a target raises when they do not hold for its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from mailwake.codec import Codec, RejectReason
from mailwake.contracts import HIT, SEND, Hit, Send
from mailwake.hypertext import scan
from mailwake.keyring import new_keyring
from mailwake.tokens import (
    Token,
    TokenError,
    Withdrawal,
    pack,
    pack_withdrawal,
    unpack,
    unpack_withdrawal,
)
from mailwake.track import TRACK, Track
from mailwake.tracker import Tracker
from mailwake_enricher.decide import Rules, take_hit, take_send
from mailwake_enricher.telling import Outcome

KEYRING = new_keyring()
TRACKER = Tracker(KEYRING, "https://t.example.com")
RULES = Rules(repeat_window_ms=60_000, join_wait_ms=86_400_000, keep_ms=180 * 86_400_000)
REASONS = get_args(RejectReason)
LINK = KEYRING.seal(
    Token("click", "acme", "ab" * 16, 1, "identified", 3, "https://example.com/", (b"12345",), b"u")
)


def token(data: bytes) -> None:
    """A text opens only when it was sealed here; what is unpacked packs into the same bytes."""
    at, put = (data[0], data[1:]) if data else (0, b"")
    for text in (put.decode("latin-1"), LINK[:at] + put.decode("latin-1") + LINK[at + len(put) :]):
        try:
            KEYRING.open(text)
        except TokenError:
            continue
        assert text == LINK, "opened, though nobody sealed it"
    _packed(data, unpack, pack)
    _packed(data, unpack_withdrawal, pack_withdrawal)


def _packed(data: bytes, read: Callable[[bytes], object], write: Callable[..., bytes]) -> None:
    try:
        found = read(data)
    except TokenError:
        return
    assert isinstance(found, Token | Withdrawal)
    try:
        again = write(found)
    except ValueError:
        return  # sealed by nobody of ours: we would not have packed it
    assert read(again) == found


def hit(data: bytes) -> None:
    """A record of hits is read or rejected, part by part, and what is read can be judged."""
    _read(HIT, data)
    for each in HIT.read(data)[0]:
        send = Send(
            message_id=each.message_id,
            tenant=each.tenant,
            user="u",
            sent_at=each.at,
            recipient_count=1,
            mode=each.mode,
            opens=True,
            clicks=True,
            recipients=["cd" * 16] if each.mode == "identified" else [],
            links=["https://example.com/"],
        )
        _judged(send, each)


def send(data: bytes) -> None:
    """A record of sends is read or rejected, part by part, and hits can join what is read."""
    _read(SEND, data)
    for each in SEND.read(data)[0]:
        opened = Hit(
            hit_id="1a" * 16,
            kind="open",
            at=each.sent_at,
            tenant=each.tenant,
            message_id=each.message_id,
            recipient=0,
            mode=each.mode,
        )
        _judged(each, opened)


def _read(codec: Codec[Hit] | Codec[Send], data: bytes) -> None:
    values, bad = codec.read(data)
    for value in values:
        again, none = codec.read(codec.encode(value))  # type: ignore[arg-type]
        assert (again, none) == ([value], []), "written, it is another"
    for part, error in bad:
        assert isinstance(part, bytes)
        assert error.reason in REASONS


def _judged(send: Send, hit: Hit) -> None:
    """A track takes both, in either order."""
    for order in ((send, hit), (hit, send)):
        track, outcome = Track(), Outcome()
        for value in order:
            if isinstance(value, Send):
                take_send(track, value, RULES, outcome)
            else:
                take_hit(track, value, RULES, outcome)
        TRACK.decode(TRACK.encode(track))


def html(data: bytes) -> None:
    """Any text is scanned and tracked, and restored as it was."""
    text = data.decode("utf-8", "replace")
    found = scan(text)
    assert 0 <= found.top <= len(text)
    assert 0 <= found.bottom <= len(text)
    made = TRACKER.instrument_html(text, tenant="acme", user="ben", recipients=["a@example.org"])
    original = TRACKER.restore_html(text)
    assert TRACKER.restore_html(made.text) == original, "restored, it is another"


TARGETS: dict[str, Callable[[bytes], None]] = {
    "token": token,
    "hit": hit,
    "send": send,
    "html": html,
}
