"""What is put into a mail: the address of a tracked link, the pixel, the footer.

Each holds a token that says how to undo it (`mailwake.undo`); where that cannot be said, nothing is
put in.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from mailwake import undo
from mailwake.keyring import Keyring
from mailwake.report import LeftLink, LinkReason, Report
from mailwake.restoring import PIXEL
from mailwake.tokens import Token, Withdrawal
from mailwake.transfer import LINE, Body

MAX_LINKS, MAX_LINKS_BYTES = 5_000, 400_000
MAX_FOOTER = 300
"""Longest footer, in characters."""
_MAX_UNDO = 1000
_FOOTER = (
    b'<p style="font-size:12px;color:#666"><a href="',
    b'" style="color:#666">',
    b"</a></p>",
)

Made = tuple[bytes, bool]
"""What is to stand in a place, and whether it took our opt-out attributes along."""


class Place(Struct, gc=False):
    """Where something is to stand.

    Attributes:
        start, end: the decoded span that it takes the place of.
        first: where that begins in the source of the body.
        source: what it takes the place of there.
        plain: whether the text is plain; else it is HTML.
    """

    body: Body
    start: int
    end: int
    first: int
    source: bytes
    plain: bool

    def undo(
        self, target: bytes, around: undo.Around | None, marks: undo.Marks | None
    ) -> bytes | None:
        """What gives the source back; None when it could not surely, or would take too much."""
        quoted = self.body.quoted
        if quoted:
            before = self.body.source[max(0, self.first - LINE) : self.first].rstrip(b" \t")
            if b"=" in before[-2:]:
                return None  # an `=` that is no escape might become one
            quoted = bool(self.source)
        packed = undo.pack(
            self.source, target, quoted=quoted, text=self.plain, around=around, marks=marks
        )
        return packed if len(packed) <= _MAX_UNDO else None


class Pieces:
    """Makes what is put into one mail.

    Attributes:
        targets, texts: of the links that are tracked: where each leads, what its reader sees.
    """

    def __init__(
        self,
        token: Token,
        keyring: Keyring,
        tracking_url: str,
        withdrawal_url: str,
        *,
        footer: tuple[str, Withdrawal] | None,
        targets: Sequence[str],
        texts: Sequence[str],
        report: Report,
    ) -> None:
        """`token` is the pixel's; the links' tokens take after it.

        `footer` is a sentence and whom its page is for; `targets` and `texts` are those of the
        links of an earlier text of the same mail.
        """
        self._token = token
        self._keyring = keyring
        self._open_url = f"{tracking_url}/o/"
        self._click_url = f"{tracking_url}/c/"
        self._withdrawal_url = f"{withdrawal_url}/w/"
        self.ours = self._open_url, self._click_url, self._withdrawal_url
        self.footer = footer
        self._report = report
        self.targets = list(targets)
        self.texts = list(texts)
        self._links_bytes = sum(len(target.encode()) for target in targets)
        self._texts_bytes = sum(len(text.encode()) for text in texts)

    def growth_of(self, targets: Sequence[str]) -> int:
        """By how much a text grows when these links are tracked, nearly."""
        return len(targets) * (len(self._click_url) + 80) + sum(map(len, targets)) // 3

    def link(self, place: Place, target: str, text: str, marks: undo.Marks | None) -> Made | None:
        """The address that stands for a link; None when the link stays, which is reported."""
        written = target.encode()
        number = len(self.targets)
        if number >= MAX_LINKS or self._links_bytes + len(written) > MAX_LINKS_BYTES:
            self._leave(target, "too_many")
            return None
        packed = place.undo(written, None, marks)
        if packed is None:
            if marks is not None:
                return self.link(place, target, text, None)
            self._leave(target, "not_restorable")
            return None
        of = self._token
        token = Token(
            "click",
            of.tenant,
            of.message_id,
            of.recipient,
            of.mode,
            number,
            target,
            of.readers,
            packed,
        )
        new = (self._click_url + self._keyring.seal(token)).encode()
        if not place.body.fits(place.start, place.end, len(new)):
            if marks is not None:
                return self.link(place, target, text, None)
            self._leave(target, "line_too_long")
            return None
        self._links_bytes += len(written)
        self._texts_bytes += len(text) if text.isascii() else len(text.encode())
        self.targets.append(target)
        self.texts.append(text if self._texts_bytes <= MAX_LINKS_BYTES else "")
        self._report.links += 1
        return new, marks is not None

    def pixel(self, place: Place, marks: undo.Marks | None) -> Made | None:
        """The pixel; None when there is no room for it, which is reported."""
        newline = place.body.newline
        before, behind = PIXEL
        if place.body.crowded(place.first):
            before = newline + before
        # White space in a tag shows nowhere, so that is where a full line is broken.
        folded = before.replace(b"<img ", b"<img" + newline), behind[:-1] + newline + b">"
        for carried in (marks, None) if marks else (None,):
            for sides in (before, behind), folded:
                around = None if sides == PIXEL else undo.Around.of(*sides)
                packed = place.undo(b"", around, carried)
                if packed is None:
                    continue
                token = replace(self._token, undo=packed)
                address = (self._open_url + self._keyring.seal(token)).encode()
                new = sides[0] + address + sides[1]
                length = len(b"<img>") if sides is folded else len(new)
                if place.body.fits(place.start, place.end, length):
                    self._report.pixel = True
                    return new, carried is not None
        self._report.warnings.append("there is no room for the pixel: its line is full")
        return None

    def footing(self, place: Place, codec: str) -> Made | None:
        """The footer, on lines of its own; None when it cannot be, which is reported.

        `codec` is what plain text is written in.
        """
        if self.footer is None:
            return None
        sentence, withdrawal = self.footer
        newline = place.body.newline
        if place.plain:
            try:
                shown = sentence.encode(codec)
            except UnicodeError:
                self._report.warnings.append("the plain text cannot hold the footer's characters")
                return None
            ended = place.start == 0 or place.body.decoded.endswith(b"\n", 0, place.start)
            before = (b"" if ended else newline) + newline + shown + newline
            behind = newline
        else:
            shown = html.escape(sentence).encode("ascii", "xmlcharrefreplace")
            before = newline + _FOOTER[0]
            behind = _FOOTER[1] + shown + _FOOTER[2] + newline
        packed = place.undo(b"", undo.Around.of(before, behind), None)
        if packed is None:
            self._report.warnings.append("there is no room for the footer")
            return None
        sealed = self._keyring.seal_withdrawal(replace(withdrawal, undo=packed))
        self._report.footer = True
        return before + (self._withdrawal_url + sealed).encode() + behind, False

    def forget(self, links: int) -> None:
        """Takes the links from a number on back, for their part was not rewritten after all."""
        self._report.links -= len(self.targets) - links
        del self.targets[links:], self.texts[links:]

    def _leave(self, target: str, reason: LinkReason) -> None:
        self._report.left.append(LeftLink(target, reason))
