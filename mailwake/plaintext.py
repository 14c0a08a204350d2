"""The links of plain text: where each stands, without what only follows it.

Nobody has written down where an address in running text ends. The rule here is the one that most
mail programs follow: it ends at white space, at a quote or at an angle bracket; punctuation at its
end belongs to the sentence, and so does a closing bracket that nothing in the address opens.
"""

from __future__ import annotations

import re

from mailwake.hypertext import TEXT_LENGTH, Anchor

_LINK = re.compile(
    r"^[ \t]*+>[^\n]*+"  # a quoted line
    r"|(?<![A-Za-z0-9_])(https?://[^\s<>\"`\u00ab\u00bb\u201c-\u201f\x00-\x1f]++)",
    re.I | re.M,
)
_TRAILING = ".,;:!?'*\u2018\u2019\u2026"
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def scan(text: str, *, joined: bool = False) -> list[Anchor]:
    """The links outside of quoted lines (those that begin with `>`), in the order of the text.

    What may be more or less than the address has the empty value: where characters beyond ASCII
    follow, for mail programs differ; in angle brackets that a line end breaks; and, with `joined`,
    at the end of a line that goes on in the next (RFC 3676, `delsp=yes`).
    """
    found: list[Anchor] = []
    for link in _LINK.finditer(text):
        if link[1] is None:
            continue
        start, behind = link.span()
        end = start + _length(link[1])
        value = text[start:end]
        broken = start > 0 and text[start - 1] == "<" and not text.startswith(">", behind)
        if not value.isascii() or broken or (joined and text.startswith((" \n", " \r\n"), behind)):
            value = ""
        found.append(Anchor(start, end, value, opted_out=False, text=value[:TEXT_LENGTH]))
    return found


def _length(link: str) -> int:
    """How much of it is the address, without the punctuation that follows."""
    open_ended = {
        closing: link.count(closing) - link.count(opening)
        for closing, opening in _BRACKETS.items()
        if closing in link
    }
    for length in range(len(link), 0, -1):
        last = link[length - 1]
        if open_ended.get(last, 0) > 0:
            open_ended[last] -= 1
        elif last not in _TRAILING:
            return length
    return 0
