"""What instrumenting gives: the text or mail to send, and what to publish before it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from mailwake.contracts import Display, Send
from mailwake.report import Report


@dataclass(frozen=True, slots=True)
class Instrumented:
    """An instrumented mail, and what to publish before it is sent.

    Attributes:
        message: the mail to send.
        original: the mail as it was given: what belongs into the sender's Sent folder.
    """

    message: bytes
    original: bytes
    send: Send
    display: Display
    report: Report


@dataclass(frozen=True, slots=True)
class InstrumentedText:
    """An instrumented text of a mail that is yet to be put together, and what to publish.

    Attributes:
        text: the HTML or plain text to send.
        original: the text as it was given.
        send, display: of this text, and of the earlier one of the same mail, if one was given.
    """

    text: str
    original: str
    send: Send
    display: Display
    report: Report
