"""Where a link leads, and whether it may be tracked."""

from __future__ import annotations

import re

from mailwake.hypertext import Anchor
from mailwake.report import LinkReason

MAX_TARGET = 4096
"""Longest target that is tracked, in bytes: with its token a request line stays below the 8 KiB
that common proxies allow."""

_URL = re.compile(r"https?://[^/\\?#]", re.I)
_USUAL = re.compile(
    r"https?://[A-Za-z0-9](?:[A-Za-z0-9._~:/?#@!&'()+,;=-]++|%[0-9A-Fa-f]{2}|\$(?!\{))*+"
)
"""Nearly every link: no template's sign is in it, and nothing that could be read in two ways."""
_PLACEHOLDER = re.compile(r"\{\{|\{%|\*\||%%|<%|\$\{|\[\[")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_UNSUBSCRIBE = re.compile(r"unsubscribe|list-manage\.com/unsub|opt-?out", re.I)
_EDGES = "".join(map(chr, range(0x21)))
_BREAKS = str.maketrans("", "", "\t\n\r")


class Targets:
    """Says of the links of one mail where they lead and why one is left."""

    def __init__(self, untouched: frozenset[str], ours: tuple[str, ...]) -> None:
        """`untouched` are targets without a fragment; `ours` is what our own addresses begin with.

        Both are left.
        """
        self._untouched = untouched
        self._ours = ours

    def of(self, anchor: Anchor, codec: str, *, plain: bool) -> tuple[str, LinkReason | None]:
        """Where a link leads, by the letter, and why it is left, if it is.

        `codec` is that of the text; `plain` says that it is plain text, else it is HTML.
        """
        target = anchor.value
        usual = _USUAL.fullmatch(target) is not None
        if not usual:
            target = target.strip(_EDGES).translate(_BREAKS)  # as the URL standard does
        reason: LinkReason | None = None
        if not usual and _PLACEHOLDER.search(anchor.value):
            reason = "placeholder"
        elif not usual and not _URL.match(target):
            reason = "unreadable" if plain else "scheme"
        elif anchor.opted_out:
            reason = "opted_out"
        elif anchor.quoted:
            reason = "quoted"
        elif _unsubscribes(target) or (
            self._untouched and target.partition("#")[0] in self._untouched
        ):
            reason = "unsubscribe"
        elif target.startswith(self._ours):
            reason = "ours"
        elif not usual and (_UNREADABLE.search(target) or _depends_on_charset(target, codec)):
            reason = "unreadable"
        elif len(target) * 4 > MAX_TARGET and len(target.encode()) > MAX_TARGET:
            reason = "too_long"
        return target, reason


def _unsubscribes(target: str) -> bool:
    lower = target.lower()
    return ("unsub" in lower or "opt" in lower) and _UNSUBSCRIBE.search(lower) is not None


def _depends_on_charset(target: str, codec: str) -> bool:
    """Whether a browser would write the query in the page's charset, which the edge cannot know."""
    return codec not in ("utf-8", "ascii") and not target.partition("?")[2].isascii()
