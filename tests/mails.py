"""The mails of tests/corpus, and how a reader that is not ours takes a mail apart."""

from __future__ import annotations

import email
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAILS = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))}
SEALED = ("multipart/signed", "multipart/encrypted", "multipart/report", "message/rfc822")
"""What is one thing to whoever looks at a mail, whatever is inside."""


@dataclass(frozen=True)
class Leaf:
    """A part without parts of its own, as the standard library reads it.

    Attributes:
        header: its header fields, as they were written.
        encoded, body: its content, with and without the transfer encoding.
        shown: whether it is HTML or text that a reader sees, and neither a file nor sealed.
    """

    content_type: str
    charset: str
    header: list[tuple[str, str]]
    encoded: bytes
    body: bytes
    shown: bool

    @property
    def html(self) -> bool:
        """Whether it is HTML that a reader sees."""
        return self.shown and self.content_type == "text/html"

    @property
    def text(self) -> str:
        """The content as characters, as a browser would read it."""
        charset = "utf-8" if self.charset in ("", "us-ascii") else self.charset
        return self.body.decode(charset, "replace")


def leaves(message: bytes) -> list[Leaf]:
    """The leaves of a mail, in their order."""

    def walk(part: Message, sealed: bool) -> Iterator[Leaf]:
        sealed |= part.get_content_type() in SEALED
        if part.is_multipart():
            for child in part.get_payload():
                assert isinstance(child, Message)
                yield from walk(child, sealed)
            return
        encoded, body = vars(part)["_payload"], part.get_payload(decode=True)
        assert isinstance(body, bytes)
        kind = part.get_content_type()
        file = bool(part.get_filename()) or part.get_content_disposition() == "attachment"
        shown = not sealed and not file and kind in ("text/html", "text/plain")
        yield Leaf(
            kind,
            part.get_content_charset(""),
            list(part.raw_items()),
            encoded.encode("ascii", "surrogateescape"),
            body,
            shown,
        )

    return list(walk(email.message_from_bytes(message), False))


def pages(message: bytes) -> list[str]:
    """The HTML of a mail that a reader sees."""
    return [leaf.text for leaf in leaves(message) if leaf.html]
