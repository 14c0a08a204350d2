"""What the recent hits of a mail mean together: a function of the set of them, not of their order.

The marks of a track are walked in the order of time, from what is settled. The walk gives each its
state (a repeat, the first, …). It is done anew whenever a hit has come, and whatever gets another
state than before is counted and told again.

A hit that leaves the marks is settled: what it was, it stays. What hits around it still need of it
must not be lost. The signs of company are never taken back (`mailwake_enricher.company`); whether
the mail was opened and which links were clicked stands in the settled tally; and a hit that may
repeat a settled one stays what it was.
"""

from __future__ import annotations

from hashlib import blake2b

from mailwake.contracts import Mark, Tally, Track, TrackedSend
from mailwake_enricher import readers
from mailwake_enricher.marks import show, tidy
from mailwake_enricher.rules import Judgement, RuleSet
from mailwake_enricher.signs import (
    BURST,
    FIRST,
    FORWARD,
    IMPLIES,
    LASTING,
    READ_BEFORE,
    REPEAT,
    SIGNALS,
    WIDE,
    WITHHELD,
)

MARKS = 16
"""Most marks of a track."""

LEAST = 5
"""So many marks are kept whatever their texts: what it takes to see a burst."""

TEXTS_CHARS = 1000
"""Most characters of the marks' texts, where more than `LEAST` marks have them. Sixteen marks and
so many characters keep a track below 2 KB."""

LATE_MS = 480_000
"""Hits may be so late and are still taken for what they are. A hit stays a mark for so long and
the longest window."""

READERS_KEPT = 24
"""Most settled events whose readers are remembered to tell repeats."""

Weighed = list[tuple[int, Judgement]]
"""State and verdict of each mark."""


def judge(track: Track, mark: Mark, state: int, rules: RuleSet) -> Judgement:
    """The verdict of a mark in a state."""
    return rules.judge(show(track, mark, rules).reasons, state & SIGNALS)


def weigh(track: Track, new: Mark, send: TrackedSend, rules: RuleSet, window_ms: int) -> Weighed:
    """State and verdict of each mark; `window_ms` is that of repeats."""
    settled, texts = track.settled or _NOTHING, track.texts
    opened, clicked, until = settled.first_open_at, settled.clicked, settled.until
    known, people = settled.known, settled.people
    last: dict[tuple[int, int, int, int], int] = {}
    weighed: Weighed = []
    for mark in track.marks:
        at, link = mark.at, mark.link
        state = mark.state & LASTING
        if at - window_ms < until and mark is not new:
            state |= mark.state & REPEAT
        else:
            before = last.get((link, mark.recipient, mark.network, mark.agent))
            if before is None and track.readers:
                before = track.readers.get(_digest(mark, texts))
            if before is not None and -window_ms < at - before < window_ms:
                state |= REPEAT
        if state & BURST and not state & WIDE and opened and at - opened >= rules.read_ms:
            state |= READ_BEFORE
        shown = rules.show(texts[mark.agent], mark.asn, link >= 0, mark.flags)
        judgement = rules.judge(shown.reasons, state & SIGNALS)
        if not state & REPEAT:
            last[link, mark.recipient, mark.network, mark.agent] = at
            if judgement.person:
                if link >= 0:
                    if not opened:
                        state |= IMPLIES
                        opened = at
                    if link not in clicked:
                        state |= FIRST
                        clicked = [*clicked, link]
                else:
                    proxy = judgement.verdict == "proxy"
                    code = _code(texts[mark.network], shown.family, judgement)
                    who = readers.who_is(known, code)
                    if not who:
                        known, people = readers.meet(
                            known, people, code, send.recipient_count, proxy=proxy
                        )
                        who = readers.who_is(known, code)
                    if who == readers.FORWARD:
                        state |= FORWARD
                    elif not opened:
                        state |= FIRST
                        opened = at
        weighed.append((state, judgement))
    track.readers_about, track.readers_least = readers.about(known), readers.least(known, people)
    return weighed


def count_anew(track: Track, weighed: Weighed) -> None:
    """Counts all hits again: what is settled, and the marks."""
    tally = _copy(track.settled or _NOTHING)
    for mark, (state, judgement) in zip(track.marks, weighed, strict=True):
        count(tally, mark, state, judgement)
    track.opens, track.clicks = tally.opens, tally.clicks
    track.machine_opens, track.machine_clicks = tally.machine_opens, tally.machine_clicks
    track.repeats, track.forwards = tally.repeats, tally.forwards
    track.first_open_at, track.last_open_at = tally.first_open_at, tally.last_open_at
    track.first_click_at, track.last_click_at = tally.first_click_at, tally.last_click_at
    track.clicked = tally.clicked


def begin(track: Track) -> None:
    """Makes a track without marks ready for its first: all it counts is settled."""
    if track.settled is None:
        counts = (track.opens, track.clicks, track.machine_opens, track.machine_clicks)
        if any(counts) or track.repeats:
            track.settled = _copy(track)


def remembered_since(newest: int, rules: RuleSet, window_ms: int) -> int:
    """From when on hits are marks when the newest is of that time."""
    return newest - LATE_MS - max(rules.longest_ms, window_ms)


def is_full(track: Track, since: int) -> bool:
    """Whether some marks are to be settled."""
    marks = track.marks
    return marks[0].at < since or (
        len(marks) > LEAST and (len(marks) > MARKS or sum(map(len, track.texts)) > TEXTS_CHARS)
    )


def settle(track: Track, since: int, send: TrackedSend, rules: RuleSet, window_ms: int) -> None:
    """Settles the marks for which there is no room, and those from before `since`."""
    marks, gone = track.marks, 0
    chars = sum(map(len, track.texts)) if len(marks) > LEAST else 0
    tally = track.settled
    if tally is None:
        tally = track.settled = Tally()
    while gone < len(marks) and (
        marks[gone].at < since
        or len(marks) - gone > MARKS
        or (chars > TEXTS_CHARS and len(marks) - gone > LEAST)
    ):
        mark = marks[gone]
        shown = show(track, mark, rules)
        judgement = rules.judge(shown.reasons, mark.state & SIGNALS)
        count(tally, mark, mark.state, judgement)
        tally.until = max(tally.until, mark.at)
        if not mark.state & REPEAT:
            if mark.link < 0 and judgement.person:
                code = _code(track.texts[mark.network], shown.family, judgement)
                if not readers.who_is(tally.known, code):
                    proxy = judgement.verdict == "proxy"
                    tally.known, tally.people = readers.meet(
                        tally.known, tally.people, code, send.recipient_count, proxy=proxy
                    )
            if mark.at >= since:
                track.readers[_digest(mark, track.texts)] = mark.at
        gone += 1
        if chars > TEXTS_CHARS:
            chars = _chars(track, gone)
    if gone:
        del marks[:gone]
        tidy(track)
    if track.readers:
        _forget_readers(track, window_ms)


_NOTHING = Tally()


def _copy(tally: Tally | Track) -> Tally:
    return Tally(
        *(tally.opens, tally.clicks, tally.machine_opens, tally.machine_clicks, tally.repeats),
        *(tally.first_open_at, tally.last_open_at, tally.first_click_at, tally.last_click_at),
        list(tally.clicked),
        tally.forwards,
    )


def count(tally: Tally | Track, mark: Mark, state: int, judgement: Judgement) -> None:
    """Adds what a mark is to the counts of a tally or a track."""
    at = mark.at
    if state & REPEAT:
        tally.repeats += 1
    elif mark.link < 0:
        if not judgement.person:
            tally.machine_opens += 1
        elif state & FORWARD:
            tally.forwards += 1
        else:
            _count_open(tally, at)
    elif not judgement.person:
        tally.machine_clicks += 1
    else:
        if state & IMPLIES:
            _count_open(tally, at)
        tally.clicks += 1
        if not tally.first_click_at or at < tally.first_click_at:
            tally.first_click_at = at
        if at > tally.last_click_at:
            tally.last_click_at = at
        if state & FIRST:
            tally.clicked.append(mark.link)


def _count_open(tally: Tally | Track, at: int) -> None:
    tally.opens += 1
    if not tally.first_open_at or at < tally.first_open_at:
        tally.first_open_at = at
    if at > tally.last_open_at:
        tally.last_open_at = at


def _code(network: str, family: str, judgement: Judgement) -> str:
    """The code of who opened; of all behind a proxy it is the same."""
    if judgement.verdict == "proxy":
        return readers.code_of("", judgement.reasons[0])
    return readers.code_of(network, family)


def _digest(mark: Mark, texts: list[str]) -> str:
    """Who asked for what: 40 bits of a digest."""
    told = "open\0None" if mark.link < 0 else f"click\0{mark.link}"
    if not mark.flags & WITHHELD:
        told = f"{told}\0{mark.recipient}\0{texts[mark.network]}\0{texts[mark.agent]}"
    return blake2b(told.encode(), digest_size=5).hexdigest()


def _forget_readers(track: Track, window_ms: int) -> None:
    since = track.marks[0].at - window_ms if track.marks else 0
    kept = sorted((at, reader) for reader, at in track.readers.items() if at > since)
    track.readers = {reader: at for at, reader in kept[-READERS_KEPT:]}


def _chars(track: Track, gone: int) -> int:
    """The characters of the texts that the marks from `gone` on point to."""
    used = {
        place
        for mark in track.marks[gone:]
        for place in (mark.stream, mark.network, mark.agent, mark.target)
    }
    return sum(len(track.texts[place]) for place in used)
