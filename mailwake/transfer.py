"""Transfer encodings: reads a part's body, and changes spans of it without writing the rest anew.

Edits are made on a body's *source*: what of it can be kept to the byte. That is the encoded text
itself where nothing is encoded and in quoted-printable (RFC 2045, section 6.7), and the decoded
text in base64, which is only read when it can be written again from its lines' length.

An edit is a span of the source and the decoded text that is to stand there. Edits come in the order
of the text and apart from each other.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, chain, repeat
from operator import add
from typing import Protocol

Edit = tuple[int, int, bytes]

MAX_LINE = 998
"""The longest line mail may have, without its end (RFC 5322, section 2.1.1)."""
LINE = 76
"""The longest line of encoded text, without its end (RFC 2045)."""
_ESCAPE = re.compile(rb"=([0-9A-Fa-f]{2}|[ \t]*+\r?\n)")
_UNSAFE = re.compile(rb"[^\t\r\n -<>-~]")
_BASE64 = re.compile(rb"(\s*+)([A-Za-z0-9+/\s]*+(?:=\s*+){0,2})")


class Body(Protocol):
    """A part's body.

    Attributes:
        decoded: its bytes without the transfer encoding.
        source: what edits are made on.
        newline: how its lines end.
        quoted: whether the source is quoted-printable.
    """

    decoded: bytes
    source: bytes
    newline: bytes
    quoted: bool

    def region(self, start: int, end: int) -> tuple[int, int]:
        """Where a decoded span stands in the source, with the soft breaks on both sides of it."""

    def inside(self, start: int, end: int) -> tuple[int, int]:
        """Where a decoded span, which is not empty, stands in the source, without those."""

    def fits(self, start: int, end: int, length: int) -> bool:
        """Whether `length` bytes can stand for a decoded span; when so, they are counted in.

        To be asked in the order of the text.
        """

    def crowded(self, at: int) -> bool:
        """Whether what is put in at a place of the source has to begin with a line end."""

    def spliced(self, edits: Sequence[Edit]) -> bytes:
        """The source with the edits made."""

    def written(self, source: bytes) -> bytes:
        """The body with another source."""

    def encoded(self, source: bytes) -> bytes | None:
        """The same; None when from that this body could not be told again."""


def body_of(encoded: bytes, encoding: str, newline: bytes = b"\r\n") -> Body | None:
    """The body of a part with that transfer encoding; None when it cannot be read surely.

    `newline` is how the lines of the mail end, for a body that has but one.
    """
    if encoding in ("", "7bit", "8bit", "binary"):
        return Plain(encoded, newline)
    if encoding == "quoted-printable":
        return QuotedPrintable(encoded, newline)
    if encoding == "base64":
        return Base64.read(encoded, newline)
    return None


class _Identity:
    """What bodies share whose source is the decoded text."""

    quoted = False

    def __init__(self, decoded: bytes, newline: bytes) -> None:
        self.decoded = self.source = decoded
        self.newline = newline_of(decoded, newline)

    def region(self, start: int, end: int) -> tuple[int, int]:
        """The span itself."""
        return start, end

    inside = region

    def fits(self, start: int, end: int, length: int) -> bool:
        """Anything fits."""
        return True

    def crowded(self, at: int) -> bool:
        """Never."""
        return False

    def spliced(self, edits: Sequence[Edit]) -> bytes:
        """The source with the edits made."""
        return spliced(self.source, edits)

    def written(self, source: bytes) -> bytes:
        """The source."""
        return source

    def encoded(self, source: bytes) -> bytes | None:
        """The source."""
        return source


class Loose(_Identity):
    """A text that is in no mail yet: its lines may have any length."""


class Plain(_Identity):
    """A body that is not encoded. Its lines cannot be broken, so they must not grow too long."""

    def __init__(self, encoded: bytes, newline: bytes = b"\r\n") -> None:
        super().__init__(encoded, newline)
        self._grown = 0
        self._line = (0, self._line_end(0))

    def _line_end(self, at: int) -> int:
        end = self.decoded.find(b"\n", at)
        return len(self.decoded) if end < 0 else end

    def fits(self, start: int, end: int, length: int) -> bool:
        """Whether the line stays within 998 bytes; one that was longer before may grow."""
        first, last = self._line
        if last < start:
            first, last = self.decoded.rfind(b"\n", last, start) + 1, self._line_end(start)
            self._line = first, last
            self._grown = 0
        grown = self._grown + length - (end - start)
        before = last - first
        if before + grown > MAX_LINE:  # only then does it matter whether a CR counts
            before -= self.decoded.endswith(b"\r", first, last)
            if before <= MAX_LINE < before + grown:
                return False
        self._grown = grown
        return True


class Base64(_Identity):
    """A base64 body, of lines of one length and one end."""

    def __init__(
        self, decoded: bytes, around: tuple[bytes, bytes], width: int, end: bytes, lines: bool
    ) -> None:
        """`around` is the white space before and behind, `lines` whether there is more than one;
        `width` and `end` are those of a line, width 0 is that of a single overlong one."""
        super().__init__(decoded, end)
        self._around = around
        self._width = width
        self._end = end
        self._lines = lines

    @classmethod
    def read(cls, encoded: bytes, newline: bytes) -> Base64 | None:
        """The body of an encoded text; None when it cannot be read, or written again."""
        text = _BASE64.fullmatch(encoded)
        if text is None:
            return None
        core = text[2].rstrip()
        try:
            decoded = binascii.a2b_base64(core)
        except binascii.Error:
            return None
        width, end = _layout(core)
        around = text[1], encoded[text.start(2) + len(core) :]
        if not core:
            around = b"", encoded
        body = cls(decoded, around, width, end or newline_of(encoded, newline), bool(end))
        return body if body.written(decoded) == encoded else None

    def written(self, source: bytes) -> bytes:
        """The source encoded, in lines as they were."""
        core = binascii.b2a_base64(source, newline=False)
        width = self._width or len(core) or 1
        lines = self._end.join([core[at : at + width] for at in range(0, len(core), width)])
        return self._around[0] + lines + self._around[1]

    def encoded(self, source: bytes) -> bytes | None:
        """The source encoded; None when the length of its lines could not be told from it."""
        encoded = self.written(source)
        before, behind = self._around
        core = encoded[len(before) : len(encoded) - len(behind)]
        width, end = _layout(core)
        if width != self._width or (self._lines and not end):
            return None
        if not width and len(core) > MAX_LINE >= (len(self.source) + 2) // 3 * 4:
            return None
        return encoded


def _layout(core: bytes) -> tuple[int, bytes]:
    """The length of the lines of a base64 text, 0 for a single overlong one; and their end."""
    first = core.find(b"\n")
    if first < 0:
        return (LINE if len(core) <= LINE else 0), b""
    crlf = core[first - 1 : first] == b"\r"
    return first - crlf, b"\r\n" if crlf else b"\n"


class QuotedPrintable:
    """A quoted-printable body, as lenient decoders read it: what is no escape stands for itself."""

    quoted = True

    def __init__(self, encoded: bytes, newline: bytes = b"\r\n") -> None:
        self.source = encoded
        self.newline = newline_of(encoded, newline)
        # Literal text and escapes in turns; all of it in C, for there are thousands of them.
        pieces = _ESCAPE.split(encoded)
        self._literals, self._escapes = pieces[::2], pieces[1::2]
        self._values = list(map(_VALUES.get, self._escapes, repeat(b"")))
        turns = zip(self._literals, [*self._values, b""], strict=True)
        self.decoded = b"".join(chain.from_iterable(turns))

    @cached_property
    def _starts(self) -> tuple[list[int], list[int]]:
        """Where each literal begins, decoded and in the source."""
        lengths = list(map(len, self._literals))
        decoded = accumulate(map(add, lengths, map(len, self._values)), initial=0)
        leaps = map(add, map(add, lengths, map(len, self._escapes)), repeat(1))
        return list(decoded), list(accumulate(leaps, initial=0))

    def region(self, start: int, end: int) -> tuple[int, int]:
        """The span and the soft breaks on both sides, so that none stands beside it."""
        return self._before(start), self._behind(end)

    def inside(self, start: int, end: int) -> tuple[int, int]:
        """The span without soft breaks beside it."""
        return self._behind(start), self._before(end)

    def _behind(self, decoded: int) -> int:
        decoded_at, source_at = self._starts
        i = bisect_right(decoded_at, decoded) - 1
        return source_at[i] + decoded - decoded_at[i]

    def _before(self, decoded: int) -> int:
        decoded_at, source_at = self._starts
        i = bisect_right(decoded_at, decoded) - 1
        at = source_at[i] + decoded - decoded_at[i]
        while i and at == source_at[i] and self._escapes[i - 1].endswith(b"\n"):
            i -= 1
            at -= 1 + len(self._escapes[i])
        return at

    def fits(self, start: int, end: int, length: int) -> bool:
        """Anything fits: lines are broken softly."""
        return True

    def crowded(self, at: int) -> bool:
        """Whether the line is so full that no soft break can stand there."""
        return at - self.source.rfind(b"\n", 0, at) > LINE

    def spliced(self, edits: Sequence[Edit]) -> bytes:
        """The source with the edits made, and soft breaks where a line would pass 76.

        Soft breaks are put inside and right beside what is put in, and nowhere else.
        """
        source = self.source
        soft = b"=" + self.newline
        pieces: list[bytes] = []
        at = column = 0
        for number, (start, end, new) in enumerate(edits):
            line = source.rfind(b"\n", at, start)
            column = column + start - at if line < 0 else start - line - 1
            pieces.append(source[at:start])
            at = end
            if new:
                wrapped, column = _wrapped(quoted_text(new), column, self.newline)
                pieces.append(wrapped)
                rest, more = self._rest(edits, number)
                if rest and column + rest > LINE - more:
                    pieces.append(soft)
                    column = 0
        pieces.append(source[at:])
        return b"".join(pieces)

    def _rest(self, edits: Sequence[Edit], number: int) -> tuple[int, bool]:
        """How much text follows an edit on its line, and whether another edit's does."""
        source = self.source
        at = edits[number][1]
        rest = 0
        for i in range(number + 1, len(edits)):
            start, end, new = edits[i]
            line = source.find(b"\n", at, start)
            if line >= 0:
                return rest + line - at - (source[line - 1 : line] == b"\r"), False
            rest += start - at
            if new:
                return rest, True
            at = end
        line = source.find(b"\n", at)
        if line < 0:
            return rest + len(source) - at, False
        return rest + line - at - (source[max(at, line - 1) : line] == b"\r"), False

    def written(self, source: bytes) -> bytes:
        """The source."""
        return source

    def encoded(self, source: bytes) -> bytes | None:
        """The source."""
        return source


_HEX = "0123456789abcdefABCDEF"
_VALUES = {f"{high}{low}".encode(): bytes.fromhex(high + low) for high in _HEX for low in _HEX}


def quoted_text(text: bytes) -> bytes:
    """A text as quoted-printable without soft breaks, in the form our own edits have."""
    return _UNSAFE.sub(lambda byte: b"=%02X" % byte[0][0], text)


def _wrapped(quoted: bytes, column: int, newline: bytes) -> tuple[bytes, int]:
    """A quoted text in lines that leave room for a soft break; the column behind it."""
    pieces: list[bytes] = []
    for number, line in enumerate(quoted.split(newline)):
        if number:
            pieces.append(newline)
            column = 0
        while column + len(line) >= LINE:
            cut = max(LINE - 1 - column, 0)
            if line[cut - 1 : cut] == b"=":
                cut -= 1
            elif line[cut - 2 : cut - 1] == b"=":
                cut -= 2
            cut = max(cut, 0)
            pieces += line[:cut], b"=", newline
            line = line[cut:]
            column = 0
        pieces.append(line)
        column += len(line)
    return b"".join(pieces), column


def soft_lines(text: bytes, newline: bytes) -> bytes:
    """A text as quoted-printable, with soft breaks before and behind it and wherever it is long."""
    return _wrapped(quoted_text(text), LINE - 1, newline)[0] + b"=" + newline


def newline_of(text: bytes, default: bytes = b"\r\n") -> bytes:
    """How the lines of a text end."""
    at = text.find(b"\n")
    if at < 0:
        return default
    return b"\r\n" if text[at - 1 : at] == b"\r" else b"\n"


def spliced(text: bytes, edits: Sequence[Edit]) -> bytes:
    """A text with edits made on it."""
    pieces: list[bytes] = []
    at = 0
    for start, end, new in edits:
        pieces += text[at:start], new
        at = end
    return b"".join([*pieces, text[at:]])
