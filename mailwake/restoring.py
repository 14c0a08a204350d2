"""Undoes instrumenting: gives the original bytes back, from the tokens in the text alone.

A token is authenticated, so what is found is surely ours, and it says what stood in its place
(`mailwake.undo`). No markup is read. Tokens that our keys do not open are left as they are. What
another mail program has quoted and written anew is undone as well as can be: a link leads to its
target again, and of the pixel nothing stays.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Sequence

from mailwake import undo
from mailwake.keyring import Keyring
from mailwake.plaintext import armour_of
from mailwake.tokens import TokenError
from mailwake.transfer import (
    Body,
    Edit,
    Loose,
    QuotedPrintable,
    body_of,
    soft_lines,
    spliced,
)

PIXEL = (
    b'<img src="',
    b'" width="1" height="1" alt="" style="border:0;position:absolute;margin-top:-1px">',
)
"""What stands before and behind a pixel's address. Out of the flow it moves nothing."""
_PASSES = 8
_TAG = 4096


class Restorer:
    """Finds and undoes the tracking of one keyring and its addresses. Thread-safe."""

    def __init__(self, keyring: Keyring, tracking_urls: Sequence[str], withdrawal_url: str) -> None:
        self._keyring = keyring
        tracking, withdrawal = [url.encode() for url in tracking_urls], withdrawal_url.encode()
        self._bases = {base + b"/" for base in (*tracking, withdrawal)}
        places = [re.escape(base) + rb"/(?=[oc])" for base in tracking]
        places.append(re.escape(withdrawal) + rb"/(?=w)")
        self._address = re.compile(
            rb"(?:" + rb"|".join(places) + rb")([ocw])/([A-Za-z0-9_-]{48,}+)"
        )

    def part(self, encoded: bytes, encoding: str, newline: bytes, *, text: bool) -> bytes:
        """A part's body restored; `text` says that it is plain text, else it is HTML.

        A body that cannot be read stays as it is, and so does what OpenPGP has signed.
        """
        for _ in range(_PASSES):  # what is joined anew may be an address again
            body = body_of(encoded, encoding, newline)
            if body is None or (text and armour_of(body.decoded)):
                break
            source = self._undone(body, text)
            if source is None:
                break
            encoded = body.written(source)
        return encoded

    def loose(self, content: bytes, *, text: bool) -> bytes:
        """A text that is in no mail, restored."""
        for _ in range(_PASSES):
            source = self._undone(Loose(content, b"\n"), text)
            if source is None:
                break
            content = source
        return content

    def occurs(self, decoded: bytes) -> bool:
        """Whether there may be something to undo; cheap."""
        return any(base in decoded for base in self._bases)

    def _undone(self, body: Body, text: bool) -> bytes | None:
        """The source of a body without our tracking; None when there is none."""
        if not self.occurs(body.decoded):
            return None
        edits: list[Edit] = []
        marks: list[undo.Marks] = []
        done = 0
        for address in self._address.finditer(body.decoded):
            edit = self._edit(body, address, text, marks)
            if edit is None or edit[1] <= done:
                continue
            edits.append((max(edit[0], done), *edit[1:]))
            done = edit[1]
        if not edits:
            return None
        source = spliced(body.source, edits)
        checksum = zlib.crc32(source) if marks else 0
        for taken in marks:
            if taken.checksum == checksum:
                return spliced(source, [(place, place, mark) for place, mark in taken.places])
        return source

    def _edit(
        self, body: Body, address: re.Match[bytes], text: bool, marks: list[undo.Marks]
    ) -> Edit | None:
        """What undoes one address; None when its token is none of ours."""
        kind, token_text = address[1], address[2].decode("ascii")
        try:
            if kind == b"w":
                packed, target = self._keyring.open_withdrawal(token_text).undo, None
                if not packed:
                    return None  # the sender's own link to the page
            else:
                token = self._keyring.open(token_text)
                packed, target = token.undo, token.target
            if (target is not None) != (kind == b"c"):
                return None
            known = undo.unpack(packed, (target or "").encode())
        except (TokenError, ValueError):
            return None
        if known.marks is not None:
            marks.append(known.marks)
        if target is not None:
            return *body.region(*address.span()), _written(known, target, body, text)
        start, end, exact = _reach(body.decoded, address, known, text)
        source = known.source if exact and known.quoted == body.quoted else b""
        return *body.region(start, end), source


def _reach(
    decoded: bytes, address: re.Match[bytes], known: undo.Undo, text: bool
) -> tuple[int, int, bool]:
    """What was put in together with an address, and whether it is still as it was."""
    start, end = address.span()
    around = known.around
    if around is None:
        before, behind = PIXEL
        if decoded.endswith(before, 0, start) and decoded.startswith(behind, end):
            return start - len(before), end + len(behind), True
    else:
        first, last = start - around.before, end + around.behind
        if first >= 0 and zlib.crc32(decoded[first:start] + decoded[end:last]) == around.checksum:
            return first, last, True
    if not text:
        first = decoded.rfind(b"<", max(0, start - _TAG), start)
        last = decoded.find(b">", end, end + _TAG)
        tag = decoded[first : first + 4].lower() == b"<img" and b">" not in decoded[first:start]
        if 0 <= first < last and tag:
            return first, last + 1, False
    return start, end, False


def _written(known: undo.Undo, target: str, body: Body, text: bool) -> bytes:
    """What stands for a link again, in the source of a body that may be another than it was."""
    if (known.text, known.quoted) == (text, body.quoted):
        return known.source
    if known.text == text:
        written = QuotedPrintable(known.source).decoded if known.quoted else known.source
    else:
        written = (target if text else html.escape(target)).encode()
    return soft_lines(written, body.newline) if body.quoted else written
