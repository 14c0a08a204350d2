"""Tokens: what stands in the address of a pixel or of a tracked link.

A token holds everything the edge needs and is authenticated encryption throughout, so that nobody
can read who a mail went to, and nobody can make the edge redirect to a place we did not sign
(docs/decisions/0002-tokens.md). Its bytes are

    version (1) · key id · AES-SIV tag, 16 bytes · encrypted:
        flags (bit 0: click, bit 1: identified) · message id, 16 bytes ·
        length of the tenant · tenant · recipient (varint) · of a click: link (varint) · target

with version and key id as associated data (RFC 5297), written as base64url without padding
(RFC 4648, section 5). One token has one text: whatever decodes to the same bytes in another way
is refused. A varint holds seven bits a byte, the lowest first, the high bit says "more follows".
"""

from __future__ import annotations

import binascii
import re
from typing import Literal

from msgspec import Struct

VERSION = 1
OVERHEAD = 60
"""Most bytes a click token has beside its URL, before base64, for indexes up to 16383."""
MAX_TARGET_BYTES = 8192
"""The longest target, as UTF-8; the contract of a hit allows no longer one."""
_TAG = 16
_LEAST = 2 + _TAG + 1 + 16 + 2 + 1
_MOST = 2 + _TAG + 1 + 16 + 21 + 3 + 3 + MAX_TARGET_BYTES
_LEAST_TEXT = (_LEAST * 4 + 2) // 3
MAX_TEXT = (_MOST * 4 + 2) // 3
"""The longest text of a token, in characters."""

_CLICK, _IDENTIFIED = 1, 2
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,19}")
_MESSAGE_ID = re.compile(r"[0-9a-f]{32}")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST = (_ALPHABET, "", _ALPHABET[::16], _ALPHABET[::4])
_PADDING = (b"", b"", b"==", b"=")
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/\x00\x00\x00")
_TO_URL = bytes.maketrans(b"+/", b"-_")

Reason = Literal["malformed", "unknown_key", "forged", "unknown_version"]


class TokenError(Exception):
    """A text that is no token of ours. It never holds the text itself, so it may be logged.

    Attributes:
        reason: malformed (no such text can be a token), unknown_version, unknown_key (never made
            here, or revoked), forged (it was not sealed with the key it names).
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Token(Struct, frozen=True, gc=False):
    """What the address of a pixel or of a link says. A Struct, for the edge makes one a request.

    Attributes:
        message_id: 32 hex digits (`mailwake.ids`).
        recipient: the recipient index, first is 1; 0 when all recipients share the body.
        mode: anonymous hits are counted without recipient, network and agent.
        link: of a click, its index in the mail; None for an open.
        target: of a click, the exact URL it leads to; None for an open.
    """

    kind: Literal["open", "click"]
    tenant: str
    message_id: str
    recipient: int
    mode: Literal["anonymous", "identified"]
    link: int | None = None
    target: str | None = None


def pack(token: Token) -> bytes:
    """The bytes of a token that are encrypted. Raises ValueError when a field cannot stand."""
    if not _TENANT.fullmatch(token.tenant):
        raise ValueError(
            "a tenant is 1 to 20 of a-z, 0-9, _ and -, the first of them a letter or digit, "
            f"not {token.tenant!r}"
        )
    if not _MESSAGE_ID.fullmatch(token.message_id):
        raise ValueError(f"a message_id is 32 hex digits, not {token.message_id!r}")
    click, identified = token.kind == "click", token.mode == "identified"
    if click != (token.link is not None and token.target is not None):
        raise ValueError("link and target belong to a click and to nothing else")
    packed = bytearray([click * _CLICK | identified * _IDENTIFIED])
    packed += bytes.fromhex(token.message_id)
    packed.append(len(token.tenant))
    packed += token.tenant.encode("ascii")
    _put_varint(packed, token.recipient)
    if token.link is not None and token.target is not None:
        _put_varint(packed, token.link)
        target = token.target.encode()
        if not 0 < len(target) <= MAX_TARGET_BYTES:
            raise ValueError(f"a target has 1 to {MAX_TARGET_BYTES} bytes, not {len(target)}")
        packed += target
    return bytes(packed)


def unpack(packed: bytes) -> Token:
    """The token whose bytes `pack` gave. Raises TokenError (malformed).

    Only authenticated bytes come here, so what is wrong with them was sealed wrong.
    """
    try:
        flags = packed[0]
        tenant_end = 18 + packed[17]
        tenant = packed[18:tenant_end].decode("ascii")
        recipient, at = _take_varint(packed, tenant_end)
        if flags & _CLICK:
            link, at = _take_varint(packed, at)
            target = packed[at:].decode()
            if not target:
                raise TokenError("malformed")
        elif at != len(packed):
            raise TokenError("malformed")
    except (IndexError, UnicodeDecodeError):
        raise TokenError("malformed") from None
    if flags & ~(_CLICK | _IDENTIFIED):
        raise TokenError("malformed")
    mode: Literal["anonymous", "identified"] = "identified" if flags & _IDENTIFIED else "anonymous"
    message_id = packed[1:17].hex()
    if flags & _CLICK:
        return Token("click", tenant, message_id, recipient, mode, link, target)
    return Token("open", tenant, message_id, recipient, mode)


def to_text(sealed: bytes) -> str:
    """base64url without padding."""
    return binascii.b2a_base64(sealed, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """The bytes of a token's text. Raises TokenError (malformed) for any but the one true text.

    Also for bytes that are too short or too long to be a token, before any cipher sees them.
    """
    rest = len(text) & 3
    # The last character may hold bits behind the last byte; base64 passes them over.
    if not _LEAST_TEXT <= len(text) <= MAX_TEXT or text[-1] not in _LAST[rest]:
        raise TokenError("malformed")
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD) + _PADDING[rest]
        return binascii.a2b_base64(standard, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise TokenError("malformed") from None


def _put_varint(packed: bytearray, number: int) -> None:
    if not 0 <= number < 1 << 16:
        raise ValueError(f"an index is a number from 0 to 65535, not {number}")
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def _take_varint(packed: bytes, at: int) -> tuple[int, int]:
    number = packed[at]
    if number < 0x80:  # nearly always
        return number, at + 1
    number &= 0x7F
    for shift in (7, 14):
        at += 1
        number |= (packed[at] & 0x7F) << shift
        if packed[at] < 0x80:
            return number, at + 1
    raise TokenError("malformed")
