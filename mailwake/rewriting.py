"""Rewrites the texts of one mail: links, our opt-out attributes, pixel and footer, nothing else.

Whatever is changed can be undone (`mailwake.restoring`); what could not is left as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mailwake import plaintext, undo
from mailwake.hypertext import Anchor, Scan, scan
from mailwake.mime import Part, PartReason, codec_of
from mailwake.pieces import Pieces, Place
from mailwake.report import LeftLink, LeftPart, Report
from mailwake.restoring import Restorer
from mailwake.targets import Targets
from mailwake.transfer import Body, Edit, Loose, body_of, spliced

CLIP_BYTES = 102 * 1024
"""The HTML that Gmail shows before it clips the rest."""
_EARLY_BYTES = 100_000
"""HTML over this has its pixel at the top, lest Gmail clips it."""


@dataclass(slots=True)
class _Plan:
    """A part, read; and what is to be rewritten in it.

    Attributes:
        encoded: without old tracking of ours.
        plain: whether it is plain text; else it is HTML.
        links: each with its target.
    """

    part: Part
    encoded: bytes
    body: Body
    codec: str
    text: str
    plain: bool
    found: Scan
    links: list[tuple[Anchor, str]]


_What = tuple[str, str] | Literal["footer", "pixel"]
"""What is to stand in a place; of a link its target and its text."""


class Rewriter:
    """Rewrites the texts of one mail."""

    def __init__(
        self,
        pieces: Pieces,
        restorer: Restorer,
        *,
        opens: bool,
        clicks: bool,
        untouched: frozenset[str],
        report: Report,
    ) -> None:
        """`untouched` are targets, without a fragment, that are left."""
        self._pieces = pieces
        self._restorer = restorer
        self._opens = opens
        self._clicks = clicks
        self._targets = Targets(untouched, pieces.ours)
        self._report = report

    def message(self, message: bytes, parts: Sequence[Part], newline: bytes) -> bytes:
        """The mail with its texts rewritten; what was done stands in the report."""
        plans = [
            part.reason or self._plan(part, message[part.start : part.end], newline)
            for part in parts
        ]
        footers = self._footers([plan for plan in plans if isinstance(plan, _Plan)])
        pieces: list[bytes] = []
        at = 0
        for part, plan in zip(parts, plans, strict=True):
            encoded: bytes | None
            reason: PartReason | None
            if isinstance(plan, _Plan):
                encoded, reason = self._rewritten(plan, plan in footers)
            elif isinstance(plan, tuple):
                encoded, reason = plan
            else:
                encoded, reason = None, plan
            if encoded is not None:
                pieces += message[at : part.start], encoded
                at = part.end
            if reason is not None:
                self._report.parts.append(LeftPart(part.content_type, reason))
        return b"".join([*pieces, message[at:]])

    def loose(self, content: bytes, *, plain: bool) -> bytes:
        """A text that is in no mail, rewritten."""
        content = self._restorer.loose(content, text=plain)
        part = Part(0, 0, "text/plain" if plain else "text/html", "8bit")
        plan = self._read(part, content, Loose(content, b"\n"), "utf-8")
        return self._rewritten(plan, bool(self._footers([plan])))[0]

    def _plan(
        self, part: Part, encoded: bytes, newline: bytes
    ) -> _Plan | tuple[bytes, PartReason] | PartReason:
        """A part read; or why it is left, perhaps without old tracking of ours."""
        plain = part.content_type == "text/plain"
        body = body_of(encoded, part.encoding, newline)
        if body is None:
            return "encoding"
        armour = plaintext.armour_of(body.decoded) if plain else None
        if armour is not None:
            return armour
        if self._restorer.occurs(body.decoded):
            encoded = self._restorer.part(encoded, part.encoding, newline, text=plain)
            body = body_of(encoded, part.encoding, newline)
            if body is None:
                return encoded, "encoding"
        codec = codec_of(part.charset or "utf-8")
        if codec is None:
            return encoded, "charset"
        try:
            return self._read(part, encoded, body, codec)
        except UnicodeError:
            return encoded, "charset"

    def _read(self, part: Part, encoded: bytes, body: Body, codec: str) -> _Plan:
        plain = part.content_type == "text/plain"
        text = body.decoded.decode(codec, "surrogateescape")
        found = Scan(plaintext.scan(text, joined=part.joined)) if plain else scan(text)
        links: list[tuple[Anchor, str]] = []
        if self._clicks:
            for anchor in found.anchors:
                target, reason = self._targets.of(anchor, codec, plain=plain)
                if reason is None:
                    links.append((anchor, target))
                else:
                    self._report.left.append(LeftLink(target, reason))
        return _Plan(part, encoded, body, codec, text, plain, found, links)

    def _footers(self, plans: list[_Plan]) -> list[_Plan]:
        """Where the footer goes: the first HTML and the first plain text, if any is tracked."""
        if self._pieces.footer is None:
            return []
        pages = [plan for plan in plans if not plan.plain]
        texts = [plan for plan in plans if plan.plain]
        if not (self._opens and pages) and not any(plan.links for plan in plans):
            self._report.warnings.append("nothing is tracked, so there is no footer")
            return []
        return pages[:1] + texts[:1]

    def _rewritten(self, plan: _Plan, footer: bool) -> tuple[bytes, PartReason | None]:
        """A part with its edits; or without them, and why."""
        body, report = plan.body, self._report
        wanted: list[tuple[int, int, _What]] = [
            (anchor.start, anchor.end, (target, anchor.text)) for anchor, target in plan.links
        ]
        bottom = len(plan.text) if plan.plain else plan.found.bottom
        if footer:
            wanted.append((bottom, bottom, "footer"))
        if self._opens and not plan.plain and not report.pixel:
            growth = self._pieces.growth_of([target for _, target in plan.links])
            large = len(body.decoded) + growth > _EARLY_BYTES
            place = plan.found.top if large else bottom
            wanted.append((place, place, "pixel"))
        wanted.sort(key=lambda span: span[0])  # which leaves the footer before the pixel
        offsets = _byte_offsets(plan, [at for span in wanted for at in span[:2]])
        marks = _byte_offsets(plan, [at for mark in _joined(plan.found.marks) for at in mark])
        if offsets is None or marks is None:
            return plan.encoded, "charset"
        whats = [what for _, _, what in wanted]
        spans = list(zip(offsets[::2], offsets[1::2], whats, strict=True))
        removals = [body.inside(*mark) for mark in zip(marks[::2], marks[1::2], strict=True)]
        noted = len(self._pieces.targets), len(report.left), report.pixel, report.footer
        edits, grown = self._edits(plan, spans, removals)
        encoded = body.encoded(body.spliced(edits)) if edits else plan.encoded
        if encoded is None:
            self._pieces.forget(noted[0])
            del report.left[noted[1] :]
            report.pixel, report.footer = noted[2:]
            return plan.encoded, "encoding"
        if not plan.plain:
            self._note_size(len(body.decoded) + grown)
        return encoded, None

    def _edits(
        self, plan: _Plan, spans: list[tuple[int, int, _What]], removals: list[tuple[int, int]]
    ) -> tuple[list[Edit], int]:
        """The edits on the source of a part, and by how much its decoded text grows.

        Our opt-out attributes are only removed when a token takes them along: the pixel's, or that
        of the last link.
        """
        body = plan.body
        marks = _marks(body.source, removals)
        links = [number for number, (_, _, what) in enumerate(spans) if isinstance(what, tuple)]
        pixels = [number for number, (_, _, what) in enumerate(spans) if what == "pixel"]
        carrier = (*pixels, *links[-1:], -1)[0]
        edits: list[Edit] = []
        done = grown = 0
        for number, (start, end, what) in enumerate(spans):
            first, last = body.region(start, end)
            if first < done:
                first = done
            place = Place(body, start, end, first, body.source[first:last], plan.plain)
            carried = marks if number == carrier else None
            if isinstance(what, tuple):
                made = self._pieces.link(place, *what, carried)
            elif what == "pixel":
                made = self._pieces.pixel(place, carried)
            else:
                seven_bits = plan.part.encoding in ("", "7bit")
                made = self._pieces.footing(place, "ascii" if seven_bits else plan.codec)
            if made is None:
                continue
            new, took_marks = made
            edits.append((first, last, new))
            done = last
            grown += len(new) - (end - start)
            if took_marks:
                edits += [(*removal, b"") for removal in removals]
        edits.sort(key=lambda edit: edit[0])
        return edits, grown

    def _note_size(self, size: int) -> None:
        self._report.html_size = max(self._report.html_size, size)
        if size > CLIP_BYTES:
            self._report.warnings.append(
                f"the HTML has {size:,} bytes; Gmail clips it after {CLIP_BYTES:,}"
            )


def _joined(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The marks in their order, those that touch taken as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def _marks(source: bytes, removals: list[tuple[int, int]]) -> undo.Marks | None:
    """What puts our opt-out attributes back; None when there are none."""
    if not removals:
        return None
    places: list[tuple[int, bytes]] = []
    removed = 0
    for start, end in removals:
        places.append((start - removed, source[start:end]))
        removed += end - start
    without = spliced(source, [(start, end, b"") for start, end in removals])
    return undo.Marks(zlib.crc32(without), tuple(places))


def _byte_offsets(plan: _Plan, positions: list[int]) -> list[int] | None:
    """Where positions of a text, in order, are in its bytes; None when that cannot be told surely.

    It is sure when the pieces between them, encoded one by one, give the bytes again.
    """
    text, decoded = plan.text, plan.body.decoded
    if len(text) == len(decoded) or not positions:  # each character is one byte
        return positions
    offsets: list[int] = []
    at = offset = 0
    if plan.codec == "utf-8":  # which is never in doubt
        for position in positions:
            piece = text[at:position]
            offset += len(piece) if piece.isascii() else len(piece.encode(*_UTF_8))
            offsets.append(offset)
            at = position
        return offsets
    pieces: list[bytes] = []
    try:
        for position in [*positions, len(text)]:
            encoded = text[at:position].encode(plan.codec, "surrogateescape")
            pieces.append(encoded)
            offset += len(encoded)
            offsets.append(offset)
            at = position
    except UnicodeError:
        return None
    return offsets[:-1] if b"".join(pieces) == decoded else None


_UTF_8 = "utf-8", "surrogateescape"
