"""Tokens: what stands in the address of a pixel or of a tracked link.

A token holds everything the edge needs and is authenticated encryption throughout, so that nobody
can read who a mail went to, and nobody can make the edge redirect to a place we did not sign
(docs/decisions/0002-tokens.md). Its bytes are

    version (1) · key id · AES-SIV tag, 16 bytes · encrypted:
        flags (bit 0: click, bit 1: identified, bit 2: undo, bits 3 to 7: number of readers) ·
        message id, 16 bytes · length of the tenant · tenant, 6 bits a character ·
        readers, 5 bytes each · recipient (varint) · of undo: its length (varint), undo ·
        of a click: link (varint) · target

with version and key id as associated data (RFC 5297), written as base64url without padding
(RFC 4648, section 5). One token has one text: whatever decodes to the same bytes in another way
is refused. A varint holds seven bits a byte, the lowest first, the high bit says "more follows".

A withdrawal token stands in the address of the page where one recipient changes what was agreed.
It is sealed with the word `withdrawal` as further associated data, so that neither kind opens as
the other, and holds the recipient id, 16 bytes · length of the tenant · tenant · undo.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

VERSION = 1
OVERHEAD = 60
"""Most bytes a click token has beside its URL, before base64, for indexes up to 16383."""
MAX_TARGET_BYTES = 8192
"""The longest target, as UTF-8; the contract of a hit allows no longer one."""
MAX_READERS = 16
"""Most recipients of a shared body whose withdrawn consent the edge can see in its tokens."""
MAX_UNDO_BYTES = 4096
_TAG = 16
_READER = 5
_LEAST = 2 + _TAG + 16 + 2  # of a withdrawal
_MOST = (
    (2 + _TAG + 1 + 16 + 1 + 15 + 3 + 2 + 3)
    + MAX_READERS * _READER
    + MAX_UNDO_BYTES
    + MAX_TARGET_BYTES
)
_LEAST_TEXT = (_LEAST * 4 + 2) // 3
MAX_TEXT = (_MOST * 4 + 2) // 3
"""The longest text of a token, in characters."""

_CLICK, _IDENTIFIED, _UNDO, _READERS_SHIFT = 1, 2, 4, 3
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,19}")
_ID = re.compile(r"[0-9a-f]{32}")
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
        readers: who may be the reader, so that a withdrawn consent is honoured at the hit: of each
            recipient what `mailwake.ids.reader_of` gives; empty in mode anonymous.
        undo: what `mailwake.restoring` needs beside the target; means nothing to the edge.
    """

    kind: Literal["open", "click"]
    tenant: str
    message_id: str
    recipient: int
    mode: Literal["anonymous", "identified"]
    link: int | None = None
    target: str | None = None
    readers: tuple[bytes, ...] = ()
    undo: bytes = b""


class Withdrawal(Struct, frozen=True):
    """What the address of a recipient's withdrawal page says.

    Attributes:
        recipient_id: 32 hex digits (`mailwake.ids`).
        undo: as in a token.
    """

    tenant: str
    recipient_id: str
    undo: bytes = b""


def pack(token: Token) -> bytes:
    """The bytes of a token that are encrypted. Raises ValueError when a field cannot stand."""
    click, identified = token.kind == "click", token.mode == "identified"
    if not click == (token.link is not None) == (token.target is not None):
        raise ValueError("link and target belong to a click and to nothing else")
    body = _packed_body(token.message_id, token.tenant, token.readers)
    flags = click * _CLICK | identified * _IDENTIFIED | bool(token.undo) * _UNDO
    packed = bytearray([flags | len(token.readers) << _READERS_SHIFT])
    packed += body
    _put_varint(packed, token.recipient)
    if token.undo:
        _check_undo(token.undo)
        _put_varint(packed, len(token.undo))
        packed += token.undo
    if token.link is not None and token.target is not None:
        _put_varint(packed, token.link)
        target = token.target.encode()
        if not 0 < len(target) <= MAX_TARGET_BYTES:
            raise ValueError(f"a target has 1 to {MAX_TARGET_BYTES} bytes, not {len(target)}")
        packed += target
    return bytes(packed)


@lru_cache(maxsize=256)  # a mail has many links, and all of them say the same here
def _packed_body(message_id: str, tenant: str, readers: tuple[bytes, ...]) -> bytes:
    if not _ID.fullmatch(message_id):
        raise ValueError(f"a message_id is 32 hex digits, not {message_id!r}")
    if len(readers) > MAX_READERS or any(len(reader) != _READER for reader in readers):
        raise ValueError(f"a token has at most {MAX_READERS} readers of {_READER} bytes each")
    return bytes.fromhex(message_id) + _packed_tenant(tenant) + b"".join(readers)


def unpack(packed: bytes) -> Token:
    """The token whose bytes `pack` gave. Raises TokenError (malformed).

    Only authenticated bytes come here, so what is wrong with them was sealed wrong.
    """
    try:
        flags = packed[0]
        tenant, at = _take_tenant(packed, 17)
        readers: tuple[bytes, ...] = ()
        count = flags >> _READERS_SHIFT
        if count:
            end = at + count * _READER
            readers = tuple([packed[i : i + _READER] for i in range(at, end, _READER)])
            at = end
        recipient, at = _take_varint(packed, at)
        undo = b""
        if flags & _UNDO:
            length, at = _take_varint(packed, at)
            undo = packed[at : at + length]
            at += length
        message_id = packed[1:17].hex()
        mode: Literal["anonymous", "identified"] = (
            "identified" if flags & _IDENTIFIED else "anonymous"
        )
        if flags & _CLICK:
            link, at = _take_varint(packed, at)
            target = packed[at:].decode()
            if target:
                return Token(
                    "click", tenant, message_id, recipient, mode, link, target, readers, undo
                )
        elif at == len(packed):
            return Token("open", tenant, message_id, recipient, mode, None, None, readers, undo)
    except (IndexError, UnicodeDecodeError):
        pass
    raise TokenError("malformed")


def pack_withdrawal(withdrawal: Withdrawal) -> bytes:
    """The bytes of a withdrawal token that are encrypted. Raises ValueError."""
    if not _ID.fullmatch(withdrawal.recipient_id):
        raise ValueError(f"a recipient_id is 32 hex digits, not {withdrawal.recipient_id!r}")
    _check_undo(withdrawal.undo)
    tenant = _packed_tenant(withdrawal.tenant)
    return bytes.fromhex(withdrawal.recipient_id) + tenant + withdrawal.undo


def unpack_withdrawal(packed: bytes) -> Withdrawal:
    """What `pack_withdrawal` packed. Raises TokenError (malformed)."""
    try:
        tenant, at = _take_tenant(packed, 16)
    except IndexError:
        raise TokenError("malformed") from None
    return Withdrawal(tenant, packed[:16].hex(), packed[at:])


def _packed_tenant(tenant: str) -> bytes:
    if not _TENANT.fullmatch(tenant):
        raise ValueError(
            "a tenant is 1 to 20 of a-z, 0-9, _ and -, the first of them a letter or digit, "
            f"not {tenant!r}"
        )
    # All its characters are of the base64url alphabet: read as base64 they take 6 bits each.
    whole = tenant + "A" * (-len(tenant) % 4)
    packed = binascii.a2b_base64(whole.encode().translate(_TO_STANDARD))
    return bytes([len(tenant)]) + packed[: _packed_length(len(tenant))]


def _take_tenant(packed: bytes, at: int) -> tuple[str, int]:
    length = packed[at]
    end = at + 1 + _packed_length(length)
    if end > len(packed):
        raise TokenError("malformed")
    return _unpacked_tenant(length, packed[at + 1 : end]), end


@lru_cache(maxsize=4096)  # only what we sealed comes here, and tenants repeat
def _unpacked_tenant(length: int, packed: bytes) -> str:
    tenant = binascii.b2a_base64(packed).translate(_TO_URL)[:length].decode()
    if not _TENANT.fullmatch(tenant):
        raise TokenError("malformed")
    return tenant


def _packed_length(characters: int) -> int:
    return (characters * 6 + 7) // 8


def _check_undo(undo: bytes) -> None:
    if len(undo) > MAX_UNDO_BYTES:
        raise ValueError(f"undo has at most {MAX_UNDO_BYTES} bytes, not {len(undo)}")


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
