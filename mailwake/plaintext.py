"""The links of plain text: where each stands, without what only follows it.

Nobody has written down where an address in running text ends. The rule here is the one that most
mail programs follow: it ends at white space, at a quote or at an angle bracket; punctuation at its
end belongs to the sentence, and so does a closing bracket that nothing in the address opens.
"""

from __future__ import annotations

import re
from typing import Literal

from mailwake.hypertext import TEXT_LENGTH, Anchor

_LINK = re.compile(
    r"(?<![A-Za-z0-9_])https?://[^\s<>\"`\xab\xbb\u201c-\u201f\x00-\x1f]++", re.I | re.A
)
_QUOTED = re.compile(r"[ \t]*+>")
_TRAILING = ".,;:!?'*"
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_AMBIGUOUS = re.compile(r"[^\x00-\u058f]")
"""Characters that mail programs take for a part of an address or not: in such writing no space
need follow an address, nor a quotation mark be one of ours."""
_ARMOUR = re.compile(rb"^-----BEGIN PGP (SIGNED )?MESSAGE-----", re.M)


def armour_of(decoded: bytes) -> Literal["signed", "encrypted"] | None:
    """Whether a text holds one that OpenPGP has signed or encrypted (RFC 9580, section 6.2)."""
    found = _ARMOUR.search(decoded) if b"-----BEGIN PGP" in decoded else None
    return None if found is None else "signed" if found[1] else "encrypted"


def scan(text: str, *, joined: bool = False) -> list[Anchor]:
    """The links in the order of the text; those in lines that begin with `>` are quoted.

    What may be more or less than the address has the empty value: where mail programs differ; in
    angle brackets that a line end breaks; and, with `joined`, at the end of a line that goes on in
    the next (RFC 3676, `delsp=yes`).
    """
    found: list[Anchor] = []
    line = at = 0
    for link in _LINK.finditer(text):
        start, behind = link.span()
        line = max(line, text.rfind("\n", at, start) + 1)
        at = start
        end = start + _length(link[0])
        value = text[start:end]
        if value.endswith("/") and value.count("/") == 2:  # nothing but `https://`
            continue
        broken = start > 0 and text[start - 1] == "<" and not text.startswith(">", behind)
        broken |= joined and text.startswith((" \n", " \r\n"), behind)
        if broken or _AMBIGUOUS.search(link[0]):
            value = ""
        quoted = _QUOTED.match(text, line) is not None
        found.append(Anchor(start, end, value, False, value[:TEXT_LENGTH], quoted))
    return found


def _length(link: str) -> int:
    """How much of it is the address, without the punctuation that follows."""
    unopened = {
        closing: link.count(closing) - link.count(opening)
        for closing, opening in _BRACKETS.items()
        if closing in link
    }
    for length in range(len(link), 0, -1):
        last = link[length - 1]
        if unopened.get(last, 0) > 0:
            unopened[last] -= 1
        elif last not in _TRAILING:
            return length
    return 0
