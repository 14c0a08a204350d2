"""Transfer encodings: reads a part's body, and changes spans of it without writing the rest anew.

An edit is a span of the decoded bytes and what stands there instead, in order and apart from each
other. What no edit touches keeps its encoded bytes (RFC 2045, section 6): of quoted-printable every
line that no edit is on, of base64 all before the first edit and the length of the lines.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

Edit = tuple[int, int, bytes]

MAX_LINE = 998
"""The longest line mail may have, without its end (RFC 5322, section 2.1.1)."""
_QP_LINE = 76
_ESCAPE = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*+\r?\n)")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]*+(?:=\s*+){0,2}")


class Body(Protocol):
    """A part's body.

    Attributes:
        decoded: its bytes without the transfer encoding.
    """

    decoded: bytes

    def fits(self, start: int, end: int, length: int) -> bool:
        """Whether `length` bytes can stand for a span; when so, they are counted in.

        To be asked in the order of the text.
        """

    def splice(self, edits: Sequence[Edit]) -> bytes:
        """The encoded body with the edits made."""


def body_of(encoded: bytes, encoding: str) -> Body | None:
    """The body of a part with that transfer encoding; None when it cannot be read surely."""
    if encoding in ("", "7bit", "8bit", "binary"):
        return Plain(encoded)
    if encoding == "quoted-printable":
        return QuotedPrintable(encoded)
    if encoding == "base64" and _BASE64.fullmatch(encoded):
        try:
            return Base64(encoded)
        except binascii.Error:
            return None
    return None


class Plain:
    """A body that is not encoded. Its lines cannot be broken, so they must not grow too long."""

    def __init__(self, encoded: bytes) -> None:
        self.decoded = encoded
        self._line = (0, 0)
        self._grown = 0
        self._line = (0, self._line_end(0))

    def _line_end(self, at: int) -> int:
        end = self.decoded.find(b"\n", at)
        return len(self.decoded) if end < 0 else end

    def fits(self, start: int, end: int, length: int) -> bool:
        """Whether the line stays within 998 bytes; one that was longer before may grow."""
        first, last = self._line
        while last < start:
            first, last = last + 1, self._line_end(last + 1)
            self._grown = 0
        self._line = first, last
        before = last - first - self.decoded.endswith(b"\r", first, last)
        grown = self._grown + length - (end - start)
        if before <= MAX_LINE < before + grown:
            return False
        self._grown = grown
        return True

    def splice(self, edits: Sequence[Edit]) -> bytes:
        """The body with the edits made."""
        return _spliced(self.decoded, edits)


class Base64:
    """A base64 body. Raises binascii.Error."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self.decoded = binascii.a2b_base64(encoded)

    def fits(self, start: int, end: int, length: int) -> bool:
        """Anything fits."""
        return True

    def splice(self, edits: Sequence[Edit]) -> bytes:
        """The body encoded anew, with the same length and ends of lines."""
        text = self._encoded.strip()
        at = self._encoded.find(text)
        lines = text.splitlines()
        length = len(lines[0]) if len(lines) > 1 else _QP_LINE
        newline = _newline(self._encoded)
        encoded = binascii.b2a_base64(_spliced(self.decoded, edits), newline=False)
        cut = newline.join(encoded[i : i + length] for i in range(0, len(encoded), length))
        return self._encoded[:at] + cut + self._encoded[at + len(text) :]


class QuotedPrintable:
    """A quoted-printable body, as lenient decoders read it: what is no escape stands for itself."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        pieces: list[bytes] = []
        # After each escape, where decoded and encoded text go on together.
        self._decoded_at = [0]
        self._encoded_at = [0]
        decoded_at = at = 0
        for escape in _ESCAPE.finditer(encoded):
            pieces.append(encoded[at : escape.start()])
            decoded_at += escape.start() - at
            at = escape.end()
            if escape[1] is not None:
                pieces.append(binascii.unhexlify(escape[1]))
                decoded_at += 1
            self._decoded_at.append(decoded_at)
            self._encoded_at.append(at)
        pieces.append(encoded[at:])
        self.decoded = b"".join(pieces)

    def fits(self, start: int, end: int, length: int) -> bool:
        """Anything fits: lines are broken softly."""
        return True

    def splice(self, edits: Sequence[Edit]) -> bytes:
        """The body with the edits made, and soft line breaks where a line would pass 76."""
        spans = [self._span(start, end) for start, end, _ in edits]
        soft = b"=" + _newline(self._encoded)
        encoded = self._encoded
        pieces: list[bytes] = []
        at = column = 0
        for number, ((start, end), edit) in enumerate(zip(spans, edits, strict=True)):
            new = edit[2].replace(b"=", b"=3D")
            newline = encoded.rfind(b"\n", at, start)
            column = column + start - at if newline < 0 else start - newline - 1
            if new and column >= _QP_LINE > column - (start - at):
                back = 3 if _ESCAPE.fullmatch(encoded, max(at, start - 3), start) else 1
                new = encoded[start - back : start] + new
                start -= back
                column -= back
            pieces.append(encoded[at:start])
            while column + len(new) >= _QP_LINE:
                cut = max(_QP_LINE - 1 - column, 0)
                cut -= (
                    1 if new[cut - 1 : cut] == b"=" else 2 if new[cut - 2 : cut - 1] == b"=" else 0
                )
                pieces += new[: max(cut, 0)], soft
                new = new[max(cut, 0) :]
                column = 0
            pieces.append(new)
            column += len(new)
            until = spans[number + 1][0] if number + 1 < len(spans) else len(encoded)
            line_end = encoded.find(b"\n", end, until)
            rest = until - end if line_end < 0 else line_end - end
            rest -= line_end > end and encoded[line_end - 1] == 0x0D
            more = number + 1 < len(spans) and line_end < 0
            if rest and edit[2] and column + rest > _QP_LINE - more:
                pieces.append(soft)
                column = 0
            at = end
        pieces.append(encoded[at:])
        return b"".join(pieces)

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """Where a decoded span is encoded, without soft breaks before and behind it."""
        first = self._where(start)
        if end == start:
            return first, first
        last = self._where(end - 1)
        return first, last + (3 if _ESCAPE.match(self._encoded, last) else 1)

    def _where(self, decoded: int) -> int:
        i = bisect_right(self._decoded_at, decoded) - 1
        return self._encoded_at[i] + decoded - self._decoded_at[i]


def _newline(text: bytes) -> bytes:
    at = text.find(b"\n")
    return b"\n" if (at > 0 and text[at - 1] != 0x0D) or at == 0 else b"\r\n"


def _spliced(text: bytes, edits: Sequence[Edit]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for start, end, new in edits:
        pieces += text[at:start], new
        at = end
    return b"".join([*pieces, text[at:]])
