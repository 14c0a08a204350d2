"""What instrumenting a mail did, and what it left as it was, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mailwake.mime import PartReason

LinkReason = Literal[
    "scheme",
    "placeholder",
    "opted_out",
    "quoted",
    "unsubscribe",
    "ours",
    "unreadable",
    "too_long",
    "line_too_long",
    "too_many",
    "not_restorable",
]
"""Why a link was left as it is: it is no http(s) link; a template fills it in; it or the caller
opted it out; it stands in a quoted line of plain text; it unsubscribes; it leads to us already; its
characters cannot be read surely; its target is over 4096 bytes; the line would be over 998; it
comes behind 5000 others or 400 kB of them; the way it is written could not be given back."""


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
        pixel, footer: whether they were put in.
        left, parts: which links and which parts were left, and why.
        size_before, size_after: of the whole mail, in bytes.
        html_size: of the largest HTML part afterwards, decoded, in bytes.
        warnings: sentences for people.
    """

    links: int = 0
    pixel: bool = False
    footer: bool = False
    left: list[LeftLink] = field(default_factory=list)
    parts: list[LeftPart] = field(default_factory=list)
    size_before: int = 0
    size_after: int = 0
    html_size: int = 0
    warnings: list[str] = field(default_factory=list)
