"""Rewrites the HTML of one mail: its links, our opt-out attributes and the pixel, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mailwake.hypertext import Anchor, scan
from mailwake.mime import Part, PartReason, codec_of
from mailwake.tokens import Token
from mailwake.transfer import Body, Edit, body_of

LinkReason = Literal[
    "scheme",
    "placeholder",
    "opted_out",
    "unsubscribe",
    "ours",
    "unreadable",
    "too_long",
    "line_too_long",
    "too_many",
]
"""Why a link was left as it is: it is no http(s) link; a template fills it in; it or the caller
opted it out; it unsubscribes; it leads to us already; its characters cannot be read surely; its
target is over 4096 bytes; the line would be over 998; it comes behind 5000 others or 400 kB of
them."""

MAX_LINKS, MAX_LINKS_BYTES = 5_000, 400_000
MAX_TARGET = 4096
"""Longest target that is tracked, in bytes: with its token a request line stays below the 8 KiB
that common proxies allow."""
CLIP_BYTES = 102 * 1024
"""The HTML that Gmail shows before it clips the rest."""
_EARLY_BYTES = 100_000
"""HTML over this has its pixel at the top, lest Gmail clips it."""

_URL = re.compile(r"https?://[^/\\?#]", re.I)
_PLACEHOLDER = re.compile(r"\{\{|\{%|\*\||%%|<%|\$\{|\[\[")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_UNSUBSCRIBE = re.compile(r"unsubscribe|list-manage\.com/unsub|opt-?out", re.I)
_EDGES = "".join(map(chr, range(0x21)))
_BREAKS = str.maketrans("", "", "\t\n\r")


@dataclass(frozen=True, slots=True)
class LeftLink:
    """A link that was left as it is."""

    target: str
    reason: LinkReason


@dataclass(frozen=True, slots=True)
class LeftPart:
    """A part that was left as it is."""

    content_type: str
    reason: PartReason


@dataclass(slots=True)
class Report:
    """What instrumenting did.

    Attributes:
        links: how many links were rewritten.
        pixel: whether the pixel was put in.
        left, parts: which links and which parts were left, and why.
        size_before, size_after: of the whole mail, in bytes.
        html_size: of the largest HTML part afterwards, decoded, in bytes.
        warnings: sentences for people.
    """

    links: int = 0
    pixel: bool = False
    left: list[LeftLink] = field(default_factory=list)
    parts: list[LeftPart] = field(default_factory=list)
    size_before: int = 0
    size_after: int = 0
    html_size: int = 0
    warnings: list[str] = field(default_factory=list)


class Rewriter:
    """Rewrites the parts of one mail.

    Attributes:
        targets, texts: of the links that were rewritten: where each leads, what its reader sees.
    """

    def __init__(
        self,
        token: Token,
        seal: Callable[[Token], str],
        tracking_url: str,
        *,
        opens: bool,
        clicks: bool,
        untouched: frozenset[str],
        report: Report,
    ) -> None:
        """`token` is the pixel's; the links' tokens take after it. `untouched` are targets."""
        self._token = token
        self._seal = seal
        self._open_url = f"{tracking_url}/o/"
        self._click_url = f"{tracking_url}/c/"
        self._opens = opens
        self._clicks = clicks
        self._untouched = untouched
        self._report = report
        self._links_bytes = 0
        self._texts_bytes = 0
        self.targets: list[str] = []
        self.texts: list[str] = []

    def rewrite(self, message: bytes, parts: list[Part]) -> bytes:
        """The mail with its HTML rewritten; what was done stands in the report."""
        pieces: list[bytes] = []
        at = 0
        for part in parts:
            outcome = part.reason or self._rewrite(part, message[part.start : part.end])
            if isinstance(outcome, bytes):
                pieces += message[at : part.start], outcome
                at = part.end
            else:
                self._report.parts.append(LeftPart(part.content_type, outcome))
        return b"".join([*pieces, message[at:]])

    def _rewrite(self, part: Part, encoded: bytes) -> bytes | PartReason:
        """The part's body with its edits, or why there are none."""
        body = body_of(encoded, part.encoding)
        if body is None:
            return "encoding"
        codec = codec_of(part.charset or "utf-8")
        if codec is None:
            return "charset"
        try:
            text = body.decoded.decode(codec, "surrogateescape")
        except UnicodeError:
            return "charset"
        found = scan(text)
        if found.conditional_links:
            self._report.warnings.append(
                "links inside Outlook's conditional comments are not tracked yet"
            )
        wanted: list[tuple[int, int, _Link | _Pixel | None]] = [
            (*mark, None) for mark in found.marks
        ]
        size = len(body.decoded)
        if self._clicks:
            for anchor in found.anchors:
                target = self._target(anchor, codec)
                if target is not None:
                    wanted.append((anchor.start, anchor.end, _Link(target, anchor.text)))
                    size += len(self._click_url) + 80 + len(target) // 3  # as it will be, nearly
        if self._opens and not self._report.pixel:
            place = found.top if size > _EARLY_BYTES else found.bottom
            wanted.append((place, place, _Pixel()))
        wanted.sort(key=lambda span: span[:2])
        offsets = _byte_offsets(
            text, [at for span in wanted for at in span[:2]], codec, body.decoded
        )
        if offsets is None:
            return "charset"
        edits: list[Edit] = []
        for number, (_, _, what) in enumerate(wanted):
            start, end = offsets[2 * number : 2 * number + 2]
            new = self._replacement(what, body, start, end)
            if new is not None:
                edits.append((start, end, new))
        grown = len(body.decoded) + sum(len(new) - end + start for start, end, new in edits)
        self._report.html_size = max(self._report.html_size, grown)
        if grown > CLIP_BYTES:
            self._report.warnings.append(
                f"the HTML has {grown:,} bytes; Gmail clips it after {CLIP_BYTES:,}"
            )
        return body.splice(edits)

    def _target(self, anchor: Anchor, codec: str) -> str | None:
        """Where a link leads, by the letter; None when it is to be left, which is reported."""
        target = anchor.value.strip(_EDGES).translate(_BREAKS)  # as the URL standard does
        reason: LinkReason | None = None
        if _PLACEHOLDER.search(anchor.value):
            reason = "placeholder"
        elif not _URL.match(target):
            reason = "scheme"
        elif anchor.opted_out:
            reason = "opted_out"
        elif target in self._untouched or _UNSUBSCRIBE.search(target):
            reason = "unsubscribe"
        elif target.startswith((self._click_url, self._open_url)):
            reason = "ours"
        elif _UNREADABLE.search(target) or _query_depends_on_charset(target, codec):
            reason = "unreadable"
        elif len(target.encode()) > MAX_TARGET:
            reason = "too_long"
        if reason is None:
            return target
        self._leave(target, reason)
        return None

    def _replacement(
        self, what: _Link | _Pixel | None, body: Body, start: int, end: int
    ) -> bytes | None:
        """What stands for a span; None when it stays."""
        if what is None:  # our own opt-out attribute
            body.fits(start, end, 0)
            return b""
        if isinstance(what, _Pixel):
            return self._pixel(body, start)
        size = len(what.target.encode())
        if len(self.targets) >= MAX_LINKS or self._links_bytes + size > MAX_LINKS_BYTES:
            self._leave(what.target, "too_many")
            return None
        token = self._token
        token = Token(
            "click",
            token.tenant,
            token.message_id,
            token.recipient,
            token.mode,
            len(self.targets),
            what.target,
        )
        new = (self._click_url + self._seal(token)).encode()
        if not body.fits(start, end, len(new)):
            self._leave(what.target, "line_too_long")
            return None
        self.targets.append(what.target)
        self._texts_bytes += len(what.text.encode())
        self.texts.append(what.text if self._texts_bytes <= MAX_LINKS_BYTES else "")
        self._links_bytes += size
        self._report.links += 1
        return new

    def _pixel(self, body: Body, at: int) -> bytes | None:
        source = self._open_url + self._seal(self._token)
        pixel = f'<img src="{source}" width="1" height="1" alt="" style="border:0">'.encode()
        if not body.fits(at, at, len(pixel)):
            # White space in a tag shows nowhere, so that is where a full line is broken.
            if not body.fits(at, at, len(b"<img>")):
                self._report.warnings.append("there is no room for the pixel: its line is full")
                return None
            newline = b"\r\n" if b"\r\n" in body.decoded else b"\n"
            pixel = pixel.replace(b"<img ", b"<img" + newline)[:-1] + newline + b">"
        self._report.pixel = True
        return pixel

    def _leave(self, target: str, reason: LinkReason) -> None:
        self._report.left.append(LeftLink(target, reason))


@dataclass(frozen=True, slots=True)
class _Link:
    target: str
    text: str


@dataclass(frozen=True, slots=True)
class _Pixel:
    pass


def _query_depends_on_charset(target: str, codec: str) -> bool:
    """Whether a browser would write the query in the page's charset, which the edge cannot know."""
    return codec not in ("utf-8", "ascii") and not target.partition("?")[2].isascii()


def _byte_offsets(text: str, positions: list[int], codec: str, decoded: bytes) -> list[int] | None:
    """Where positions of a text, in order, are in its bytes; None when that cannot be told surely.

    It is sure when the pieces between them, encoded one by one, give the bytes again.
    """
    pieces: list[bytes] = []
    offsets: list[int] = []
    at = offset = 0
    try:
        for position in [*positions, len(text)]:
            piece = text[at:position].encode(codec, "surrogateescape")
            pieces.append(piece)
            offset += len(piece)
            offsets.append(offset)
            at = position
    except UnicodeError:
        return None
    return offsets[:-1] if b"".join(pieces) == decoded else None
