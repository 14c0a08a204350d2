"""What a mail says to the relay in its own header, and the mail without it: pure, on bytes.

    X-Mailwake-Track: opens, clicks     or one of them, or none
    X-Mailwake-Split: yes               or no
    X-Mailwake-Tag: spring-offer        a label that reports group by

A program that sends for others may say where the sender is, which tells the opens of the sender:

    X-Mailwake-Network: 203.0.113.0/24  the sender's network, /24 or /48, never an address
    X-Mailwake-Agent: Mozilla/5.0 …     the sender's browser or mail program

These fields are removed on the way, and Bcc with them (RFC 5322, 3.6.3); a Message-ID is added
where there is none (RFC 6409, 8.3). Every other byte stays, so that DKIM can sign afterwards.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from mailwake.contracts import Toggles
from mailwake.mime import Headers, decode_words
from mailwake.networks import cut

MAX_HOPS = 100
"""A mail with so many Received fields goes in a circle (RFC 5321, 6.3)."""

MAX_AGENT = 512
"""As much is kept of an agent."""

_LINE_END = re.compile(rb"\r++\n?|\n")
_BLANK = re.compile(rb"(?:\A|\r\n)\r\n")
_OURS = re.compile(
    rb"^(x-mailwake-[!-9;-~]*+|(?:resent-)?bcc)[ \t]*+:"
    rb"([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)(?:\r\n|\Z)",
    re.I | re.M,
)
_FIELD = re.compile(rb"[!-9;-~]++[ \t]*+:")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,255}")
_TRACK = "X-Mailwake-Track"
_SPLIT = "X-Mailwake-Split"
_TAG = "X-Mailwake-Tag"
_NETWORK = "X-Mailwake-Network"
_AGENT = "X-Mailwake-Agent"
_KNOWN = {name.lower(): name for name in (_TRACK, _SPLIT, _TAG, _NETWORK, _AGENT)}


class WishError(ValueError):
    """A mail asks for what there is not; its text says what there is.

    Attributes:
        status: the enhanced status code (RFC 3463).
    """

    def __init__(self, text: str, status: str = "5.6.0") -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a mail asks for.

    Attributes:
        track: what to track; None where it does not say.
        split: whether each recipient gets a body of its own.
        tag: the label; None where it has none.
        network, agent: where the sender sends from, and with what; empty where it does not say.
            They count for a login alone that sends on behalf of others.
    """

    track: Toggles | None = None
    split: bool = False
    tag: str | None = None
    network: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as it goes on.

    Attributes:
        message: without our fields, with a Message-ID, its line ends CRLF.
        identity: the same for each attempt at the same mail: of its Message-ID (of all of it,
            where it came without) and its body.
        ascii: whether it holds no byte above 127.
        signed: whether a DKIM signature stands in it, which a change would break.
        agent: the mail program that made it, by its User-Agent or X-Mailer; empty when it has none.
    """

    message: bytes
    wishes: Wishes
    identity: bytes
    message_id: str
    ascii: bool
    signed: bool
    agent: str = ""


def take_letter(data: bytes, domain: str) -> Letter:
    """The mail that goes on, and what it wishes. Raises WishError.

    `domain` is what a Message-ID that is added ends with.
    """
    data = with_line_ends(data)
    blank = _BLANK.search(data)
    end = 0 if data.startswith(b"\r\n") else blank.end() - 2 if blank else len(data)
    head, body = data[:end], data[end:]
    wishes = _wishes(head)
    headers = Headers(head)
    if len(headers.all("received")) >= MAX_HOPS:
        raise WishError("the mail goes in a circle: it has been through 100 hosts", "5.4.6")
    kept = _OURS.sub(b"", head)
    given = " ".join(headers.all("message-id")).strip()
    signed = bool(headers.all("dkim-signature"))
    added = b""
    if given:
        identity = _digest(given.encode(errors="surrogateescape"), body)
    else:
        identity = _digest(data, b"")
        if not head.strip() or _FIELD.match(head):
            # Without a Date another mail may be the same by the letter, and is not the same mail.
            unique = identity if headers.all("date") else os.urandom(16)
            domain = domain if _DOMAIN.fullmatch(domain) else "localhost"
            given = f"<{unique.hex()}@{domain}>"
            added = f"Message-ID: {given}\r\n".encode()
    message = added + kept + body
    agent = next(iter(headers.all("user-agent") + headers.all("x-mailer")), "")
    return Letter(message, wishes, identity, given, message.isascii(), signed, agent)


def with_line_ends(data: bytes) -> bytes:
    """The same text with CRLF for every line end, as SMTP wants it (RFC 5321, 2.3.8).

    A lone LF or CR would be one to some hosts and none to others, and what is read in two ways can
    smuggle a second mail. CRs before a line end go with it.
    """
    ends = data.count(b"\r\n")
    if data.count(b"\n") != ends or data.count(b"\r") != ends:
        data = _LINE_END.sub(b"\r\n", data)
    return data if data.endswith(b"\r\n") or not data else data + b"\r\n"


def _wishes(head: bytes) -> Wishes:
    told: dict[str, str] = {}
    for field in _OURS.finditer(head):
        name = field[1].decode("ascii")
        if name.lower().endswith("bcc"):
            continue
        known = _KNOWN.get(name.lower())
        if known is None:
            raise WishError(f"{name} is no header of Mailwake; there are {', '.join(_sorted())}")
        if known in told:
            raise WishError(f"{known} stands twice; say it once")
        value = field[2].replace(b"\r\n", b"").decode("utf-8", "replace")
        told[known] = decode_words(value)
    return Wishes(
        _track(told[_TRACK]) if _TRACK in told else None,
        _split(told[_SPLIT]) if _SPLIT in told else False,
        _tag(told[_TAG]) if _TAG in told else None,
        _network(told[_NETWORK]) if _NETWORK in told else "",
        told.get(_AGENT, "")[:MAX_AGENT],
    )


def _sorted() -> list[str]:
    return sorted(_KNOWN.values())


def _track(value: str) -> Toggles:
    words = [word.strip() for word in value.lower().split(",")]
    if words == ["none"]:
        return Toggles(opens=False, clicks=False)
    if not set(words) <= {"opens", "clicks"}:
        raise WishError(f'{_TRACK} must be "opens", "clicks", "opens, clicks" or "none"')
    return Toggles(opens="opens" in words, clicks="clicks" in words)


def _split(value: str) -> bool:
    if value.lower() not in ("yes", "no"):
        raise WishError(f'{_SPLIT} must be "yes" or "no"')
    return value.lower() == "yes"


def _tag(value: str) -> str:
    if not 1 <= len(value) <= 64 or not value.isprintable():
        raise WishError(f"{_TAG} must be a label of 1 to 64 characters")
    return value


def _network(value: str) -> str:
    if value and cut(value.partition("/")[0]) != value:
        raise WishError(f"{_NETWORK} must be a network such as 203.0.113.0/24 or 2001:db8:1::/48")
    return value


def _digest(first: bytes, second: bytes) -> bytes:
    digest = hashlib.blake2b(len(first).to_bytes(8, "big"), digest_size=16)
    digest.update(first)
    digest.update(second)
    return digest.digest()
