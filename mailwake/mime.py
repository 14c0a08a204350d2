"""A mail as bytes at positions: its header fields and the parts a reader sees (RFC 5322, 2046).

Nothing is parsed into a message and written again. What is not plainly well-formed is not guessed
at: such a part is reported with a reason and left as it is.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass
from email.utils import getaddresses
from typing import Literal

from mailwake.errors import MailwakeError

PartReason = Literal[
    "not_text", "attachment", "signed", "encrypted", "broken", "encoding", "charset", "too_many"
]
"""Why a part was left as it is: it is neither HTML nor plain text, it is a file, it is signed or
encrypted, its MIME structure is broken, its transfer encoding or its charset cannot be read surely
or could not be written again as it was, or it lies too deep or behind too many others."""

_DEPTH, _PARTS = 20, 1000
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_BLANK = re.compile(rb"\n\r?\n")
_TYPE = re.compile(r"[\s]*+([a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)[\s]*+(?:;|\Z)", re.I | re.A)
_PARAMETER = re.compile(r";\s*+([^\s=;\"]++)\s*+=\s*+(?:\"((?:[^\"\\]++|\\.)*+)\"|([^\s;\"]++))")
_WORD = re.compile(r"=\?([A-Za-z0-9_.:-]{1,40})(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_IDENTITY = ("", "7bit", "8bit", "binary")
_CHARSET = re.compile(
    r"ascii|utf-8|iso8859|cp\d|koi8|mac-|tis-620|gb|big5|shift_jis|euc_|iso2022|johab"
)
_SYNTAX = "<img src=\"https://a.b-c_d/o/\" width='1'>"
_BARE = re.compile(r"[A-Za-z0-9_.+-]++@[A-Za-z0-9.-]++")
_AROUND_ADDRESS = re.compile(r"[\s<>,;:\"()]+")
_ADDRESS = re.compile(r"[^@]++@[^@]++")


class Headers:
    """The fields of a header, unfolded.

    Attributes:
        broken: something stands between them that is no field.
    """

    def __init__(self, block: bytes) -> None:
        self._fields: list[tuple[str, str]] = []
        at = 0
        while field := _FIELD.match(block, at):
            value = field[2].replace(b"\r", b"").replace(b"\n", b"").strip()
            self._fields.append((field[1].decode("ascii").lower(), value.decode(errors="replace")))
            at = field.end()
        self.broken = at < len(block.rstrip(b"\r\n"))

    def __bool__(self) -> bool:
        return bool(self._fields)

    def all(self, name: str) -> list[str]:
        """The values of all fields of a name (lower case), in their order."""
        return [value for field, value in self._fields if field == name]


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is no multipart.

    Attributes:
        start, end: where its body stands in the mail.
        content_type: lower case, such as `text/html`.
        encoding: its Content-Transfer-Encoding, lower case.
        charset: as it was given, empty when it was not.
        reason: why it is to be left as it is; None when it is text that may be changed.
        joined: of plain text: lines that end with a space go on in the next without it (RFC 3676).
    """

    start: int
    end: int
    content_type: str
    encoding: str = ""
    charset: str = ""
    reason: PartReason | None = None
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """What there is in a mail: its header, and its parts in their order."""

    headers: Headers
    parts: list[Part]


def read_mail(message: bytes) -> Mail:
    """Finds the header fields and parts of a mail, in linear time.

    Raises MailwakeError for bytes that do not begin as a mail; whatever follows is taken as it is.
    """
    start = message.find(b"\n") + 1 if message.startswith((b"From ", b">From ")) else 0
    head, _ = _split(message, start, len(message))
    headers = Headers(message[start:head])
    if not headers:
        raise MailwakeError(
            "this is no e-mail: it does not begin with a header field such as `From: …`; give the "
            "whole message, as it goes to SMTP"
        )
    found: list[Part] = []
    _walk(message, start, len(message), 0, found)
    return Mail(headers, found)


def _split(message: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the header ends and where the body starts."""
    first = message[start : min(start + 2, end)]
    if first[:1] == b"\n" or first == b"\r\n":
        return start, start + (1 if first[:1] == b"\n" else 2)
    blank = _BLANK.search(message, start, end)
    return (blank.start() + 1, blank.end()) if blank else (end, end)


def _walk(message: bytes, start: int, end: int, depth: int, found: list[Part]) -> None:
    head, body = _split(message, start, end)
    headers = Headers(message[start:head])
    content_type, parameters = _content_type(headers)
    encoding = " ".join(headers.all("content-transfer-encoding")).lower()
    reason: PartReason | None = None
    if headers.broken or not content_type:
        reason = "broken"
    elif content_type == "multipart/signed":
        reason = "signed"
    elif content_type == "multipart/encrypted" or content_type.endswith("pkcs7-mime"):
        reason = "encrypted"
    elif content_type.startswith("multipart/") and content_type != "multipart/report":
        if encoding in _IDENTITY and parameters.get("boundary"):
            spans = _children(message, body, end, parameters["boundary"].encode())
            if spans and depth < _DEPTH and len(found) + len(spans) <= _PARTS:
                for span in spans:
                    _walk(message, *span, depth + 1, found)
                return
            reason = "too_many" if spans else "broken"
        else:
            reason = "broken"
    elif content_type not in ("text/html", "text/plain"):
        reason = "not_text"
    elif _is_file(headers, parameters):
        reason = "attachment"
    charset = parameters.get("charset", "")
    joined = parameters.get("delsp", "").lower() == "yes"
    found.append(Part(body, end, content_type, encoding, charset, reason, joined))


def _content_type(headers: Headers) -> tuple[str, dict[str, str]]:
    """The type and its parameters; the type is empty when it cannot be told surely."""
    values = headers.all("content-type")
    if not values:
        return "text/plain", {}
    content_type = _TYPE.match(values[0])
    if len(values) > 1 or content_type is None:
        return "", {}
    parameters: dict[str, str] = {}
    for parameter in _PARAMETER.finditer(values[0], content_type.end(1)):
        quoted, bare = parameter[2], parameter[3]
        value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        parameters.setdefault(parameter[1].lower(), value)
    return content_type[1].lower(), parameters


def _is_file(headers: Headers, parameters: dict[str, str]) -> bool:
    disposition = " ".join(headers.all("content-disposition")).strip().lower()
    return (
        disposition.startswith("attachment")
        or "filename" in disposition
        or any(name == "name" or name.startswith("name*") for name in parameters)
    )


def _children(message: bytes, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
    """Where the parts of a multipart stand; the last may lack its closing delimiter."""
    delimiter = b"--" + boundary
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    at = message.find(delimiter, start, end)
    while at >= 0:
        behind = at + len(delimiter)
        if at == start or message[at - 1] == 0x0A:
            line_end = message.find(b"\n", behind, end)
            line_end = end if line_end < 0 else line_end
            rest = message[behind:line_end].rstrip(b" \t\r")
            if rest in (b"", b"--"):
                if opened is not None:
                    before = at - 2 if message[at - 2 : at] == b"\r\n" else at - 1
                    spans.append((opened, max(opened, before)))
                opened = None if rest else min(line_end + 1, end)
                if rest:
                    break
        at = message.find(delimiter, behind, end)
    if opened is not None:
        spans.append((opened, end))
    return spans


def codec_of(charset: str) -> str | None:
    """Python's codec for a charset of mail; None for an unknown one and for what is no charset."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,40}", charset):
        return None
    try:
        name = codecs.lookup(charset).name
        ascii_stays = _SYNTAX.encode(name) == _SYNTAX.encode()
    except (LookupError, ValueError):
        return None
    return name if _CHARSET.match(name) and ascii_stays else None


def decode_words(value: str) -> str:
    """A header's value as its reader sees it: encoded words (RFC 2047) read, on one line."""
    pieces: list[str] = []
    held: list[bytes] = []  # a character may be split over two words of one charset
    held_codec = ""
    at = 0
    for word in _WORD.finditer(value):
        data = _word_bytes(word)
        if data is None:
            continue
        between = value[at : word.start()]
        codec = codec_of(word[1]) or "latin-1"
        if at and not between.strip() and codec == held_codec:
            held.append(data)
        else:
            pieces.append(b"".join(held).decode(held_codec or "ascii", "replace"))
            if not at or between.strip():  # white space between two words is not shown
                pieces.append(between)
            held, held_codec = [data], codec
        at = word.end()
    pieces += b"".join(held).decode(held_codec or "ascii", "replace"), value[at:]
    return " ".join("".join(pieces).split())


def _word_bytes(word: re.Match[str]) -> bytes | None:
    try:
        text = word[3].encode("ascii")
        if word[2] in "qQ":
            return binascii.a2b_qp(text, header=True)
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        return None


def addresses(values: list[str]) -> list[tuple[str, str]]:
    """The (name, address) pairs of address fields, in their order; what is no address is left out.

    Never raises: where the standard library gives up on a field, the addresses alone are taken.
    """
    found: list[tuple[str, str]] = []
    for value in values:
        if _BARE.fullmatch(value):  # by far the most common, and not worth a parser
            found.append(("", value))
            continue
        try:
            pairs = getaddresses([value])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pairs = []
        good = [(decode_words(name), address.strip()) for name, address in pairs if "@" in address]
        found += good or [
            ("", word) for word in _AROUND_ADDRESS.split(value) if _ADDRESS.fullmatch(word)
        ]
    return found
