"""Marks: recent hits as a track keeps them, compactly.

Texts that marks share (streams, networks, agents, targets) stand once in the track's `texts`; a
mark holds their places.
"""

from __future__ import annotations

from bisect import insort

from mailwake.contracts import Hit, Mode
from mailwake.ids import split_hit_id
from mailwake.track import Mark, Track
from mailwake_enricher.signs import AHEAD, HEAD, REFERER, WITHHELD

AHEAD_WORDS = ("prefetch", "preview", "prerender")
"""What the headers Sec-Purpose, Purpose, X-Purpose and X-Moz hold of a request made in advance."""


def make_mark(texts: list[str], hit: Hit, mode: Mode, came: int) -> Mark:
    """The mark of a mail's `came`-th hit, its texts among `texts`.

    In mode anonymous it keeps neither recipient nor anything of the reader.
    """
    stream, number = split_hit_id(hit.hit_id)
    flags = HEAD if hit.method == "HEAD" else 0
    if hit.purpose and any(word in hit.purpose.lower() for word in AHEAD_WORDS):
        flags |= AHEAD
    if mode == "anonymous":
        flags |= WITHHELD
        recipient = asn = 0
        network = agent = ""
    else:
        if hit.referer:
            flags |= REFERER
        recipient, asn, network, agent = hit.recipient, hit.asn, hit.network, hit.agent
    link = -1 if hit.link is None else hit.link
    target = hit.target or ""
    if not texts and len({stream, network, agent, target}) == 4:
        texts += (stream, network, agent, target)
        return Mark(hit.at, 0, number, link, recipient, flags, asn, 1, 2, 3, came)
    return Mark(
        hit.at,
        _place(texts, stream),
        number,
        link,
        recipient,
        flags,
        asn,
        _place(texts, network),
        _place(texts, agent),
        _place(texts, target),
        came,
    )


def insert_mark(track: Track, mark: Mark) -> None:
    """Puts a mark in its place among the track's: by time, of the same time by hit_id."""
    marks, texts = track.marks, track.texts
    if not marks or marks[-1].at < mark.at:
        marks.append(mark)
    else:
        insort(marks, mark, key=lambda each: (each.at, texts[each.stream], each.number))


def _place(texts: list[str], text: str) -> int:
    """Where a text stands among others; it is added where it does not."""
    try:
        return texts.index(text)
    except ValueError:
        texts.append(text)
        return len(texts) - 1


def tidy(track: Track) -> None:
    """Drops the texts that no mark points to."""
    marks, old = track.marks, track.texts
    used = {each for mark in marks for each in (mark.stream, mark.network, mark.agent, mark.target)}
    if len(used) == len(old):
        return
    new = {was: now for now, was in enumerate(sorted(used))}
    track.texts = [old[was] for was in new]
    for mark in marks:
        mark.stream, mark.network = new[mark.stream], new[mark.network]
        mark.agent, mark.target = new[mark.agent], new[mark.target]


def hit_id_of(texts: list[str], mark: Mark) -> str:
    """The id of a mark's hit."""
    return f"{texts[mark.stream]}{mark.number:016x}"
