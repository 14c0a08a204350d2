"""Marks: recent hits as a track keeps them, compactly.

Texts that marks share (streams, networks, agents, targets) stand once in the track's `texts`; a
mark holds their places.
"""

from __future__ import annotations

from bisect import insort

from mailwake.contracts import Hit, Mark, Mode, Track
from mailwake.ids import split_hit_id
from mailwake_enricher.rules import RuleSet, Shown
from mailwake_enricher.signs import AHEAD, HEAD, REFERER, WITHHELD

AHEAD_WORDS = ("prefetch", "preview", "prerender")
"""What the headers Sec-Purpose, Purpose, X-Purpose and X-Moz hold of a request made in advance."""


def add_mark(track: Track, hit: Hit, mode: Mode) -> Mark:
    """Makes a hit's mark and puts it in its place: by time, of the same time by hit_id.

    In mode anonymous it keeps neither recipient nor anything of the reader.
    """
    stream, number = split_hit_id(hit.hit_id)
    marks, texts = track.marks, track.texts
    flags = 0
    if hit.method == "HEAD":
        flags |= HEAD
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
    if not marks and len({stream, network, agent, target}) == 4:
        track.texts = [stream, network, agent, target]
        mark = Mark(hit.at, 0, number, link, recipient, flags, asn, 1, 2, 3)
        marks.append(mark)
        return mark
    mark = Mark(
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
    )
    if not marks or marks[-1].at < mark.at:
        marks.append(mark)
    else:
        insort(marks, mark, key=lambda each: (each.at, texts[each.stream], each.number))
    return mark


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
    if not marks:
        track.texts = []
        return
    used = {each for mark in marks for each in (mark.stream, mark.network, mark.agent, mark.target)}
    if len(used) == len(old):
        return
    new = {was: now for now, was in enumerate(sorted(used))}
    track.texts = [old[was] for was in new]
    for mark in marks:
        mark.stream, mark.network = new[mark.stream], new[mark.network]
        mark.agent, mark.target = new[mark.agent], new[mark.target]


def hit_id_of(track: Track, mark: Mark) -> str:
    """The id of a mark's hit."""
    return f"{track.texts[mark.stream]}{mark.number:016x}"


def show(track: Track, mark: Mark, rules: RuleSet) -> Shown:
    """What a mark's hit showed by itself."""
    return rules.show(track.texts[mark.agent], mark.asn, mark.link >= 0, mark.flags)
