"""What a token says of how to undo what it stands in (docs/decisions/0008-restore.md).

A tracked link's token holds the link's target. What was there before was the target as it was
written: with `&amp;` for `&`, with `=3D` for `=` and soft breaks in quoted-printable, or in some
way of its own. This says which, in as few bytes as can be; nothing at all where it was the target
to the letter. Of what was put in (the pixel, the sentence with the withdrawal page) it says how far
it reaches beyond its address, and what it took the place of.

    flags (1) · of AROUND: two varints and a CRC-32 · of MARKS: a CRC-32, the number of marks,
    and of each two varints and its bytes · the rest: with LITERAL the source, compressed with
    the plain form as its dictionary; else varints, each the way to the next soft break
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from msgspec import Struct

from mailwake.transfer import quoted_text, spliced

_AMP, _QUOTED, _TEXT, _CRLF, _LITERAL, _MARKS, _AROUND = 1, 2, 4, 8, 16, 32, 64
_ESCAPED = bytes([_AMP])


@dataclass(frozen=True, slots=True)
class Marks:
    """Our own opt-out attributes that were taken out of a body.

    Attributes:
        checksum: the CRC-32 of the body's source without them; they only fit into that one.
        places: where each stood in that source, and its bytes.
    """

    checksum: int
    places: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Around:
    """How far what was put in reaches beyond its address.

    Attributes:
        before, behind: decoded bytes on each side of the address.
        checksum: the CRC-32 of those bytes.
    """

    before: int
    behind: int
    checksum: int

    @classmethod
    def of(cls, before: bytes, behind: bytes) -> Around:
        """The two sides of an address."""
        return cls(len(before), len(behind), zlib.crc32(before + behind))


class Undo(Struct, frozen=True):
    """How to undo one edit.

    Attributes:
        source: what stood in the source of the body, soft breaks on both sides among it.
        quoted: whether that source was quoted-printable.
        text: whether the body was plain text; else it was HTML.
    """

    source: bytes
    quoted: bool = False
    text: bool = False
    around: Around | None = None
    marks: Marks | None = None


def pack(
    source: bytes,
    target: bytes,
    *,
    quoted: bool = False,
    text: bool = False,
    around: Around | None = None,
    marks: Marks | None = None,
) -> bytes:
    """The bytes of an `Undo` beside the target (UTF-8; empty for what was put in)."""
    if not (quoted or text or around or marks):  # nearly always
        if source == target:
            return b""
        if source == target.replace(b"&", b"&amp;"):
            return _ESCAPED
    flags, rest = _recipe(source, target, quoted=quoted, text=text)
    head = bytearray()
    if around is not None:
        flags |= _AROUND
        _put(head, around.before)
        _put(head, around.behind)
        head += around.checksum.to_bytes(4, "big")
    if marks is not None:
        flags |= _MARKS
        head += marks.checksum.to_bytes(4, "big")
        _put(head, len(marks.places))
        at = 0
        for place, mark in marks.places:
            _put(head, place - at)
            _put(head, len(mark))
            head += mark
            at = place
    return bytes([flags]) + head + rest if flags else b""


def unpack(packed: bytes, target: bytes) -> Undo:
    """The undo that `pack` packed, with the same target. Raises ValueError for other bytes."""
    if not packed:
        return Undo(target)
    flags = packed[0]
    around: Around | None = None
    marks: Marks | None = None
    at = 1
    try:
        if flags & _AROUND:
            before, at = _take(packed, at)
            behind, at = _take(packed, at)
            around = Around(before, behind, int.from_bytes(packed[at : at + 4], "big"))
            at += 4
        if flags & _MARKS:
            checksum = int.from_bytes(packed[at : at + 4], "big")
            count, at = _take(packed, at + 4)
            places: list[tuple[int, bytes]] = []
            place = 0
            for _ in range(count):
                way, at = _take(packed, at)
                length, at = _take(packed, at)
                place += way
                places.append((place, packed[at : at + length]))
                at += length
            marks = Marks(checksum, tuple(places))
        source = _source(flags, packed[at:], target)
    except (IndexError, zlib.error) as error:
        raise ValueError("this is no undo") from error
    return Undo(source, bool(flags & _QUOTED), bool(flags & _TEXT), around, marks)


def _plain(flags: int, target: bytes) -> bytes:
    """How a target is written without soft breaks."""
    written = target.replace(b"&", b"&amp;") if flags & _AMP else target
    return quoted_text(written) if flags & _QUOTED else written


def _recipe(source: bytes, target: bytes, *, quoted: bool, text: bool) -> tuple[int, bytes]:
    flags = quoted * _QUOTED | text * _TEXT | (b"&amp;" in source) * _AMP
    plain = _plain(flags, target)
    if plain == source:
        return flags, b""
    if quoted:
        newline = b"\r\n" if b"=\r\n" in source else b"\n"
        pieces = source.split(b"=" + newline)
        if b"".join(pieces) == plain:
            gaps = bytearray()
            for piece in pieces[:-1]:
                _put(gaps, len(piece))
            return flags | (newline == b"\r\n") * _CRLF, bytes(gaps)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=plain)
    return flags | _LITERAL, packer.compress(source) + packer.flush()


def _source(flags: int, rest: bytes, target: bytes) -> bytes:
    plain = _plain(flags, target)
    if flags & _LITERAL:
        return zlib.decompressobj(-15, zdict=plain).decompress(rest)
    if not rest:
        return plain
    soft = b"=\r\n" if flags & _CRLF else b"=\n"
    place = at = 0
    edits: list[tuple[int, int, bytes]] = []
    while at < len(rest):
        way, at = _take(rest, at)
        place += way
        edits.append((place, place, soft))
    return spliced(plain, edits)


def _put(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def _take(packed: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = packed[at]
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return number, at
