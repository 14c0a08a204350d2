"""Rewrites the texts of one mail: links, our opt-out attributes, pixel and footer, nothing else.

Whatever is changed can be undone (`mailwake.restoring`); what could not is left as it is.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from mailwake import plaintext, undo
from mailwake.hypertext import Anchor, Scan, scan
from mailwake.keyring import Keyring
from mailwake.mime import Part, PartReason, codec_of
from mailwake.report import LeftLink, LeftPart, LinkReason, Report
from mailwake.restoring import PIXEL, Restorer
from mailwake.tokens import Token, Withdrawal
from mailwake.transfer import LINE, Body, Edit, Loose, body_of, spliced

MAX_LINKS, MAX_LINKS_BYTES = 5_000, 400_000
MAX_TARGET = 4096
"""Longest target that is tracked, in bytes: with its token a request line stays below the 8 KiB
that common proxies allow."""
_MAX_UNDO = 1000
MAX_FOOTER = 300
"""Longest footer, in characters."""
CLIP_BYTES = 102 * 1024
"""The HTML that Gmail shows before it clips the rest."""
_EARLY_BYTES = 100_000
"""HTML over this has its pixel at the top, lest Gmail clips it."""

_FOOTER = (
    b'<p style="font-size:12px;color:#666"><a href="',
    b'" style="color:#666">',
    b"</a></p>",
)
_URL = re.compile(r"https?://[^/\\?#]", re.I)
_PLACEHOLDER = re.compile(r"\{\{|\{%|\*\||%%|<%|\$\{|\[\[")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_UNSUBSCRIBE = re.compile(r"unsubscribe|list-manage\.com/unsub|opt-?out", re.I)
_EDGES = "".join(map(chr, range(0x21)))
_BREAKS = str.maketrans("", "", "\t\n\r")


@dataclass(slots=True)
class _Plan:
    """A part, read; and what is to be rewritten in it.

    Attributes:
        encoded: without old tracking of ours.
        plain: whether it is plain text.
        ascii: whether its encoding allows nothing else.
        links: each with its target.
    """

    encoded: bytes
    body: Body
    codec: str
    text: str
    plain: bool
    ascii: bool
    found: Scan
    links: list[tuple[Anchor, str]]


@dataclass(frozen=True, slots=True)
class _Link:
    target: str
    text: str


What = _Link | Literal["footer", "pixel"]


class Rewriter:
    """Rewrites the texts of one mail.

    Attributes:
        targets, texts: of the links that were rewritten: where each leads, what its reader sees.
    """

    def __init__(
        self,
        token: Token,
        keyring: Keyring,
        tracking_url: str,
        withdrawal_url: str,
        *,
        restorer: Restorer,
        opens: bool,
        clicks: bool,
        footer: tuple[str, Withdrawal] | None,
        untouched: frozenset[str],
        targets: Sequence[str],
        texts: Sequence[str],
        report: Report,
    ) -> None:
        """`token` is the pixel's; the links' tokens take after it.

        `footer` is a sentence and whom its page is for; `untouched` are targets; `targets` and
        `texts` those of the links of an earlier text of the same mail.
        """
        self._token = token
        self._keyring = keyring
        self._open_url = f"{tracking_url}/o/"
        self._click_url = f"{tracking_url}/c/"
        self._withdrawal_url = f"{withdrawal_url}/w/"
        self._ours = (self._click_url, self._open_url, self._withdrawal_url)
        self._restorer = restorer
        self._opens = opens
        self._clicks = clicks
        self._footer = footer
        self._untouched = untouched
        self._report = report
        self.targets = list(targets)
        self.texts = list(texts)
        self._links_bytes = sum(len(target.encode()) for target in targets)
        self._texts_bytes = sum(len(text.encode()) for text in texts)

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
                target = self._target(anchor, codec, plain)
                if target is not None:
                    links.append((anchor, target))
        ascii_only = part.encoding in ("", "7bit")
        return _Plan(encoded, body, codec, text, plain, ascii_only, found, links)

    def _footers(self, plans: list[_Plan]) -> list[_Plan]:
        """Where the footer goes: the first HTML and the first plain text, if any is tracked."""
        if self._footer is None:
            return []
        pages = [plan for plan in plans if not plan.plain]
        texts = [plan for plan in plans if plan.plain]
        if not (self._opens and pages) and not any(plan.links for plan in plans):
            self._report.warnings.append("nothing is tracked, so there is no footer")
            return []
        return pages[:1] + texts[:1]

    def _rewritten(self, plan: _Plan, footer: bool) -> tuple[bytes, PartReason | None]:
        """A part with its edits; or without them, and why."""
        wanted: list[tuple[int, int, What]] = [
            (anchor.start, anchor.end, _Link(target, anchor.text)) for anchor, target in plan.links
        ]
        size = len(plan.body.decoded) + sum(
            len(self._click_url) + 80 + len(target) // 3 for _, target in plan.links
        )
        bottom = len(plan.text) if plan.plain else plan.found.bottom
        pixel = self._opens and not plan.plain and not self._report.pixel
        if footer:
            wanted.append((bottom, bottom, "footer"))
        if pixel:
            place = plan.found.top if size > _EARLY_BYTES else bottom
            wanted.append((place, place, "pixel"))
        wanted.sort(key=lambda span: span[0])  # which leaves the footer before the pixel
        offsets = _byte_offsets(plan, [at for span in wanted for at in span[:2]])
        marks = _byte_offsets(plan, [at for mark in _joined(plan.found.marks) for at in mark])
        if offsets is None or marks is None:
            return plan.encoded, "charset"
        whats = [what for _, _, what in wanted]
        spans = list(zip(offsets[::2], offsets[1::2], whats, strict=True))
        removals = [plan.body.inside(*mark) for mark in zip(marks[::2], marks[1::2], strict=True)]
        counts = len(self.targets), len(self._report.left), self._report.pixel, self._report.footer
        edits, grown = self._edits(plan, spans, removals)
        encoded = plan.body.encoded(plan.body.spliced(edits)) if edits else plan.encoded
        if encoded is None:
            self._forget(*counts)
            return plan.encoded, "encoding"
        if not plan.plain:
            self._note_size(len(plan.body.decoded) + grown)
        return encoded, None

    def _forget(self, links: int, left: int, pixel: bool, footer: bool) -> None:
        """Takes back what was noted since then, for it did not come about."""
        self._report.links -= len(self.targets) - links
        del self.targets[links:], self.texts[links:], self._report.left[left:]
        self._report.pixel, self._report.footer = pixel, footer

    def _edits(
        self, plan: _Plan, spans: list[tuple[int, int, What]], removals: list[tuple[int, int]]
    ) -> tuple[list[Edit], int]:
        """The edits on the source of a part, and by how much its decoded text grows.

        Our opt-out attributes are only removed when a token could take them along.
        """
        body = plan.body
        marks = _marks(body.source, removals)
        whats = [what for _, _, what in spans]
        links = [number for number, what in enumerate(whats) if isinstance(what, _Link)]
        carrier = whats.index("pixel") if "pixel" in whats else links[-1] if links else -1
        edits: list[Edit] = []
        done = grown = 0
        for number, (start, end, what) in enumerate(spans):
            first, last = body.region(start, end)
            first = max(first, done)
            place = _Place(plan, start, end, first, body.source[first:last])
            carried = marks if number == carrier else None
            if isinstance(what, _Link):
                made = self._link(place, what, carried)
            else:
                made = self._pixel(place, carried) if what == "pixel" else self._footing(place)
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

    def _target(self, anchor: Anchor, codec: str, plain: bool) -> str | None:
        """Where a link leads, by the letter; None when it is to be left, which is reported."""
        target = anchor.value.strip(_EDGES).translate(_BREAKS)  # as the URL standard does
        reason: LinkReason | None = None
        if _PLACEHOLDER.search(anchor.value):
            reason = "placeholder"
        elif not _URL.match(target):
            reason = "unreadable" if plain else "scheme"
        elif anchor.opted_out:
            reason = "opted_out"
        elif anchor.quoted:
            reason = "quoted"
        elif target.partition("#")[0] in self._untouched or _UNSUBSCRIBE.search(target):
            reason = "unsubscribe"
        elif target.startswith(self._ours):
            reason = "ours"
        elif _UNREADABLE.search(target) or _query_depends_on_charset(target, codec):
            reason = "unreadable"
        elif len(target.encode()) > MAX_TARGET:
            reason = "too_long"
        if reason is None:
            return target
        self._leave(target, reason)
        return None

    def _link(
        self, place: _Place, link: _Link, marks: undo.Marks | None
    ) -> tuple[bytes, bool] | None:
        """The tracked address that stands for a link, and whether it took the marks along."""
        target, token = link.target, self._token
        size = len(target.encode())
        if len(self.targets) >= MAX_LINKS or self._links_bytes + size > MAX_LINKS_BYTES:
            self._leave(target, "too_many")
            return None
        reason: LinkReason = "not_restorable"
        for carried in (marks, None) if marks else (None,):
            packed = place.undo(target, None, carried)
            if packed is None:
                continue
            sealed = self._keyring.seal(
                Token(
                    "click",
                    token.tenant,
                    token.message_id,
                    token.recipient,
                    token.mode,
                    len(self.targets),
                    target,
                    token.readers,
                    packed,
                )
            )
            new = (self._click_url + sealed).encode()
            if place.fits(len(new)):
                self.targets.append(target)
                self._texts_bytes += len(link.text.encode())
                self.texts.append(link.text if self._texts_bytes <= MAX_LINKS_BYTES else "")
                self._links_bytes += size
                self._report.links += 1
                return new, carried is not None
            reason = "line_too_long"
        self._leave(target, reason)
        return None

    def _pixel(self, place: _Place, marks: undo.Marks | None) -> tuple[bytes, bool] | None:
        newline = place.plan.body.newline
        before, behind = PIXEL
        if place.crowded:
            before = newline + before
        # White space in a tag shows nowhere, so that is where a full line is broken.
        folded = before.replace(b"<img ", b"<img" + newline), behind[:-1] + newline + b">"
        for carried in (marks, None) if marks else (None,):
            for sides in (before, behind), folded:
                around = None if sides == PIXEL else undo.Around.of(*sides)
                packed = place.undo("", around, carried)
                if packed is None:
                    continue
                token = msgspec.structs.replace(self._token, undo=packed)
                address = (self._open_url + self._keyring.seal(token)).encode()
                new = sides[0] + address + sides[1]
                if place.fits(len(b"<img>") if sides is folded else len(new)):
                    self._report.pixel = True
                    return new, carried is not None
        self._report.warnings.append("there is no room for the pixel: its line is full")
        return None

    def _footing(self, place: _Place) -> tuple[bytes, bool] | None:
        """The footer, on lines of its own."""
        if self._footer is None:
            return None
        sentence, withdrawal = self._footer
        plan = place.plan
        newline = plan.body.newline
        if plan.plain:
            try:
                shown = sentence.encode("ascii" if plan.ascii else plan.codec)
            except UnicodeError:
                self._report.warnings.append("the plain text cannot hold the footer's characters")
                return None
            ended = plan.body.decoded.endswith(b"\n") or not plan.body.decoded
            before = (b"" if ended else newline) + newline + shown + newline
            behind = newline
        else:
            shown = html.escape(sentence).encode("ascii", "xmlcharrefreplace")
            before = newline + _FOOTER[0]
            behind = _FOOTER[1] + shown + _FOOTER[2] + newline
        packed = place.undo("", undo.Around.of(before, behind), None)
        if packed is None:
            self._report.warnings.append("there is no room for the footer")
            return None
        sealed = self._keyring.seal_withdrawal(msgspec.structs.replace(withdrawal, undo=packed))
        self._report.footer = True
        return before + (self._withdrawal_url + sealed).encode() + behind, False

    def _leave(self, target: str, reason: LinkReason) -> None:
        self._report.left.append(LeftLink(target, reason))

    def _note_size(self, size: int) -> None:
        self._report.html_size = max(self._report.html_size, size)
        if size > CLIP_BYTES:
            self._report.warnings.append(
                f"the HTML has {size:,} bytes; Gmail clips it after {CLIP_BYTES:,}"
            )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is to stand: a decoded span, and the source that it takes the place of."""

    plan: _Plan
    start: int
    end: int
    first: int
    source: bytes

    @property
    def crowded(self) -> bool:
        return self.plan.body.crowded(self.first)

    def fits(self, length: int) -> bool:
        return self.plan.body.fits(self.start, self.end, length)

    def undo(
        self, target: str, around: undo.Around | None, marks: undo.Marks | None
    ) -> bytes | None:
        """What gives the source back; None when it could not surely, or would take too much."""
        body = self.plan.body
        if (
            body.quoted
            and b"=" in body.source[max(0, self.first - LINE) : self.first].rstrip(b" \t")[-2:]
        ):
            return None  # an `=` that is no escape might become one
        quoted = body.quoted and bool(self.source)
        packed = undo.pack(undo.Undo(self.source, quoted, self.plan.plain, around, marks), target)
        return packed if len(packed) <= _MAX_UNDO else None


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


def _query_depends_on_charset(target: str, codec: str) -> bool:
    """Whether a browser would write the query in the page's charset, which the edge cannot know."""
    return codec not in ("utf-8", "ascii") and not target.partition("?")[2].isascii()


def _byte_offsets(plan: _Plan, positions: list[int]) -> list[int] | None:
    """Where positions of a text, in order, are in its bytes; None when that cannot be told surely.

    It is sure when the pieces between them, encoded one by one, give the bytes again.
    """
    text, decoded = plan.text, plan.body.decoded
    if len(text) == len(decoded) or not positions:  # each character is one byte
        return positions
    pieces: list[bytes] = []
    offsets: list[int] = []
    at = offset = 0
    try:
        for position in [*positions, len(text)]:
            piece = text[at:position].encode(plan.codec, "surrogateescape")
            pieces.append(piece)
            offset += len(piece)
            offsets.append(offset)
            at = position
    except UnicodeError:
        return None
    return offsets[:-1] if b"".join(pieces) == decoded else None
