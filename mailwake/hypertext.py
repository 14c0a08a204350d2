"""HTML as bytes at positions: where the links and the ends of the body are, and nothing else.

The text is walked as a browser's tokeniser walks it (WHATWG HTML, section 13.2.5), in linear time,
and is never written again: what comes back are positions, so that an edit changes exactly those
characters. Comments and the content of script, style, textarea, title and the like hold no links.

Boring text and boring tags, which are nearly all, are passed over inside one regular expression;
its repeats are possessive, so nothing is ever tried twice.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from html.entities import html5

_SPACE = r"\t\n\f\r "
_QUOTED_VALUE = r"\"([^\"]*+)\"|'([^']*+)'"
_BARE_VALUE = rf"([^{_SPACE}>\"'][^{_SPACE}>]*+)"
_VALUE = rf"\"[^\"]*+\"|'[^']*+'|[^{_SPACE}>\"'][^{_SPACE}>]*+|(?=>)"
_EQUALS = rf"[{_SPACE}]*+=[{_SPACE}]*+"
_ATTRIBUTE = rf"[^{_SPACE}/>][^{_SPACE}/>=]*+(?:{_EQUALS}(?:{_VALUE})|(?![{_SPACE}]*+=))"
_REST = rf"(?: [a-z-]++=\"[^\"]*+\")*+(?:>|(?:[{_SPACE}/]++|{_ATTRIBUTE})*+>)"
"""The rest of a tag behind its name; attributes are nearly always written in the first way."""
_RAW = "title", "style", "script", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext"


def _any_case(name: str) -> str:
    """A name in any case, spelt out: a set is passed over faster than re.I passes a letter."""
    return "".join(f"[{letter.lower()}{letter.upper()}]" for letter in name)


def _boring(*wanted: str) -> re.Pattern[str]:
    """Text, and tags of no wanted name; ends at something wanted, at markup, or at a torn tag."""
    names = (*wanted, *_RAW)
    first = "".join({letter for name in names for letter in (name[0], name[0].upper())})
    second = "".join({letter for name in names for letter in (name[1:2], name[1:2].upper())})
    # Two letters tell nearly always.
    guard = rf"(?=[{first}][{second}{_SPACE}/>])"
    wanted_name = rf"/?{guard}(?:{'|'.join(map(_any_case, names))})[{_SPACE}/>]"
    return re.compile(
        rf"[^<]*+(?:(?:<(?!{wanted_name})/?[a-zA-Z][^{_SPACE}/>]*+{_REST}|<(?![a-zA-Z/!?]))[^<]*+)*+"
    )


_PAGE = "a", "area", "blockquote", "body", "head", "html"
_VML = "arc", "curve", "image", "line", "oval", "polyline", "rect", "roundrect", "shape", "group"
_BORING = _boring(*_PAGE)
_BORING_OF_REPLY = _boring(*_PAGE, "div")
_BORING_OF_CONDITION = _boring("a", "area", *(f"v:{shape}" for shape in _VML))
_TAG = re.compile(rf"<(/?[a-zA-Z][^{_SPACE}/>]*+)({_REST})")
_LINK = re.compile(
    rf"<[aA](?=[{_SPACE}/])(?:[{_SPACE}/]++|(?!{_any_case('href')}[{_SPACE}/>=]){_ATTRIBUTE})*+"
    rf"{_any_case('href')}{_EQUALS}(?:{_QUOTED_VALUE}|{_BARE_VALUE}){_REST}"
)
"""The usual link, read at once; it may still opt out."""
_ATTRIBUTES = re.compile(
    rf"[{_SPACE}/]*+([^{_SPACE}/>][^{_SPACE}/>=]*+)"
    rf"(?:{_EQUALS}(?:{_QUOTED_VALUE}|{_BARE_VALUE}|(?=>)))?+"
)
_HISTORY_SIGNS = (
    "gmail_quote",
    "appendonsend",  # Outlook
    "divRplyFwdMsg",
    "border-top:solid #",
    "yahoo_quoted",
    "moz-cite-prefix",  # Thunderbird
    "protonmail_quote",
)
_HISTORY = re.compile(
    r"gmail_quote|appendonsend|divRplyFwdMsg|yahoo_quoted|moz-cite-prefix|protonmail_quote"
    r"|border-top:solid #(?:E1E1E1|B5C4DF)|\btype=[\"']?cite"
)
"""How six mail programs mark what they quote, in the tag before it."""
_RAW_END = {name: re.compile(rf"</{name}(?=[{_SPACE}/>])", re.I | re.A) for name in _RAW}
_LETTER = re.compile(r"[a-zA-Z]")
_COMMENT_END = re.compile(r"--!?>")
_REFERENCE = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|([A-Za-z][A-Za-z0-9]*+)(;|(?!=))?+)")
_INNER_TAG = re.compile(r"<!--(?:[^-]++|-(?!->))*+(?:-->)?+|<[^>]*+>?+")
_ALT = re.compile(r"\balt\s*+=\s*+[\"']([^\"'<>]*+)", re.I | re.A)

_TEXT_SOURCE = 4096
TEXT_LENGTH = 256


@dataclass(slots=True)
class Anchor:
    """A link.

    Attributes:
        start, end: where its address stands, such as the value of href without its quotes.
        value: the address as a browser would see it: its character references are resolved.
        opted_out: an attribute says that it is not to be tracked.
        text: what a reader sees of the link, at most 256 characters.
        quoted: it stands in a quoted line of plain text.
    """

    start: int
    end: int
    value: str
    opted_out: bool
    text: str = ""
    quoted: bool = False


@dataclass(slots=True)
class Scan:
    """What there is in an HTML text.

    Attributes:
        anchors: in the order of the text.
        marks: where our own opt-out attributes stand, with the white space before each.
        top: behind `<body>`, or as near to there as the text allows.
        bottom: before the history that a reply quotes, or the last `</body>`, or where the text
            ends or breaks off; never in a quote, for what is quoted belongs to another mail.
    """

    anchors: list[Anchor] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    top: int = 0
    bottom: int = 0


def scan(text: str) -> Scan:
    """Finds the links and the ends of the body. Takes any text; never raises."""
    found = Scan()
    end = len(text)
    at = 0
    top_rank = 0
    bottom: int | None = None
    history: int | None = None
    boring_text = _BORING
    if any(sign in text for sign in _HISTORY_SIGNS):
        boring_text = _BORING_OF_REPLY
    quotes: list[int] = []  # where the quotes that are open begin
    opened: tuple[Anchor, int] | None = None

    def close(until: int) -> None:
        nonlocal opened
        if opened is not None:
            anchor, since = opened
            anchor.text = visible_text(text[since : min(until, since + _TEXT_SOURCE)])
            opened = None

    while True:
        boring = boring_text.match(text, at)
        at = boring.end() if boring else end
        if at >= end:
            break
        link = _LINK.match(text, at)
        if link is not None and not _may_opt_out(text[at : link.end()].lower()):
            close(at)
            start, stop = link.span(link.lastindex or 0)
            at = link.end()
            if start < stop:
                anchor = Anchor(start, stop, attribute_value(text[start:stop]), False)
                found.anchors.append(anchor)
                opened = anchor, at
            continue
        tag = _TAG.match(text, at)
        if tag is None:
            behind = _markup_end(text, at)
            if behind is None:
                break
            if text.startswith("<!--[if", at):
                _read_condition(text, at, behind, found)
            elif top_rank == 0 and text[at : at + 9].lower() == "<!doctype":
                found.top, top_rank = behind, 1
            at = behind
            continue
        name = tag[1].lower()
        if name in ("a", "area"):
            close(at)
            odd = _anchor(text, tag, found.marks)
            if odd is not None:
                found.anchors.append(odd)
                if name == "a":
                    opened = odd, tag.end()
        elif name == "/a":
            close(at)
        elif name in ("blockquote", "div") and history is None and _HISTORY.search(tag[2]):
            history = at
        elif name == "blockquote":
            quotes.append(at)
        elif name == "/blockquote":
            del quotes[-1:]
        elif name == "/body":
            bottom = bottom if quotes or history is not None else at
        elif name in _RAW_END:
            ending = _RAW_END[name].search(text, tag.end())
            if ending is None or name == "plaintext":
                break
            at = ending.start()
            continue
        else:
            rank = {"html": 2, "/head": 3, "body": 4}.get(name, 0)
            if rank > top_rank and not quotes and history is None:
                found.top, top_rank = tag.end(), rank
        at = tag.end()
    close(at)
    if bottom is None:
        bottom = history
    if bottom is None:
        # What is torn or never closed swallows the rest of the text: nothing may stand behind it.
        bottom = quotes[0] if quotes else len(text[:at].rstrip())
    found.bottom = bottom
    return found


def _markup_end(text: str, at: int) -> int | None:
    """Where a comment or a declaration ends; None when it never does, or is a torn tag."""
    if text.startswith("<!--", at):
        if text.startswith((">", "->"), at + 4):
            return text.index(">", at) + 1
        ending = _COMMENT_END.search(text, at + 4)
        return ending.end() if ending else None
    declaration = text.startswith(("<!", "<?"), at)
    if declaration or (text.startswith("</", at) and not _LETTER.match(text, at + 2)):
        return text.find(">", at + 2) + 1 or None
    return None


def _read_condition(text: str, at: int, end: int, found: Scan) -> None:
    """The links in a conditional comment, which Outlook reads as markup; VML's among them."""
    at = text.find("]>", at, end) + 2
    end -= len("-->")
    if at < 2 or "href" not in text[at:end].lower():
        return
    while True:
        boring = _BORING_OF_CONDITION.match(text, at, end)
        at = boring.end() if boring else end
        tag = _TAG.match(text, at, end)
        if tag is None:
            at = text.find(">", at + 1, end) + 1
            if not text.startswith(("<!", "<?"), boring.end() if boring else end) or at < 1:
                return  # a torn tag swallows the rest
            continue
        name = tag[1].lower()
        at = tag.end()
        if name in _RAW_END:
            ending = _RAW_END[name].search(text, at, end)
            if ending is None:
                return
            at = ending.start()
        elif not name.startswith("/"):
            anchor = _anchor(text, tag, found.marks)
            if anchor is not None:
                closing = text.find("</", at, min(end, at + _TEXT_SOURCE))
                anchor.text = anchor.text or visible_text(text[at : max(at, closing)])
                found.anchors.append(anchor)


def _may_opt_out(tag: str) -> bool:
    return "data-" in tag or "ses:" in tag or "clicktracking" in tag


def _anchor(text: str, tag: re.Match[str], marks: list[tuple[int, int]]) -> Anchor | None:
    href: tuple[int, int] | None = None
    opted_out = False
    alt = ""
    for attribute in _ATTRIBUTES.finditer(text, *tag.span(2)):
        name = attribute[1].lower()
        group = attribute.lastindex or 1
        value = attribute[group] if group > 1 else ""
        if name == "href":
            if href is None:  # of two, the first counts
                href = attribute.span(group) if group > 1 else (0, 0)
        elif name == "data-mailwake" and value.lower() == "off":
            opted_out = True
            apart = text[attribute.end()] in "\t\n\f\r />"
            marks.append((attribute.start() if apart else attribute.start(1), attribute.end()))
        elif name == "alt":
            alt = value
        else:
            opted_out |= (
                name in ("data-skip-click", "ses:no-track")
                or (name == "clicktracking" and value.lower() == "off")
                or (name == "data-msys-clicktrack" and value == "0")
            )
    if href is None or href[0] == href[1]:
        return None
    value = attribute_value(text[slice(*href)])
    return Anchor(*href, value, opted_out, _one_line(alt[:_TEXT_SOURCE]))


def attribute_value(raw: str) -> str:
    """The value of an attribute, its character references resolved once, by the attribute rules.

    `&copy=2` stays as it is there, `&amp;copy=2` gives `&copy=2` (WHATWG HTML, section 13.2.5.73).
    """
    if "&" not in raw:
        return raw
    if raw.count("&") == raw.count("&amp;"):  # nearly always
        return raw.replace("&amp;", "&")
    return _REFERENCE.sub(_resolve, raw)


def _resolve(reference: re.Match[str]) -> str:
    name, closed = reference[1], reference[2]
    if name is None:
        return html.unescape(reference[0])
    if closed is None:
        return reference[0]
    return html5.get(name + closed, reference[0])


def visible_text(source: str) -> str:
    """What a reader sees of a piece of HTML, on one line, at most 256 characters.

    When there is no text, the first alternative text of an image.
    """
    if "<" not in source:
        return _one_line(source)
    text = _one_line(_INNER_TAG.sub(" ", source))
    if not text:
        alt = _ALT.search(source)
        text = _one_line(alt[1]) if alt else ""
    return text


def _one_line(source: str) -> str:
    text = html.unescape(source) if "&" in source else source
    text = " ".join(text.split())[:TEXT_LENGTH]
    # No half of a surrogate pair gets out.
    return text if text.isascii() else text.encode(errors="replace").decode()
