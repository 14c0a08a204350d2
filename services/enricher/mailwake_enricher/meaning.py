"""What the recent hits of a mail mean together: a function of the set of them, not of their order.

The marks of a track are walked in the order of time, from what is settled. The walk gives each its
state (a repeat, the first, …) and the tally of all. It is done anew whenever a hit has come, and
whatever gets another state than before is told again.

A hit that leaves the marks is settled: what it was, it stays. What hits around it still need of it
must not be lost. The signs of company are never taken back (`mailwake_enricher.company`); whether
the mail was opened and which links were clicked stands in the settled tally; and a hit that may
repeat a settled one stays what it was.
"""

from __future__ import annotations

from hashlib import blake2b

from mailwake.contracts import Mark, Tally, Track, TrackedSend
from mailwake_enricher.marks import show, tidy
from mailwake_enricher.readers import Readers
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


def judge(track: Track, mark: Mark, state: int, rules: RuleSet) -> Judgement:
    """The verdict of a mark in a state."""
    return rules.judge(show(track, mark, rules).reasons, state & SIGNALS)


def weigh(
    track: Track, new: Mark, send: TrackedSend, rules: RuleSet, window_ms: int
) -> list[tuple[int, Judgement]]:
    """State and verdict of each mark; the track's counts become what they come to.

    `window_ms` is that of repeats.
    """
    tally = _copy(track.settled)
    until, texts = tally.until, track.texts
    readers = Readers(tally.known, tally.people, send.recipient_count)
    last: dict[tuple[int, int, int, int], int] = {}
    weighed: list[tuple[int, Judgement]] = []
    for mark in track.marks:
        state = mark.state & LASTING
        reader = (mark.link, mark.recipient, mark.network, mark.agent)
        if mark is not new and mark.at - window_ms < until:
            state |= mark.state & REPEAT
        else:
            before = last.get(reader)
            if before is None and track.readers:
                before = track.readers.get(_digest(mark, texts))
            if before is not None and abs(mark.at - before) < window_ms:
                state |= REPEAT
        if not state & REPEAT:
            last[reader] = mark.at
        opened = tally.first_open_at
        if (
            state & BURST
            and not state & WIDE
            and opened
            and mark.at - opened >= rules.times.read_s * 1000
        ):
            state |= READ_BEFORE
        judgement = judge(track, mark, state, rules)
        if judgement.person and not state & REPEAT:
            if mark.link >= 0:
                if not opened:
                    state |= IMPLIES
                if mark.link not in tally.clicked:
                    state |= FIRST
            elif _meet(readers, track, mark, judgement, rules):
                state |= FORWARD
            elif not opened:
                state |= FIRST
        _count(tally, mark, state, judgement)
        weighed.append((state, judgement))
    _tell(track, tally, readers)
    return weighed


def settle(track: Track, newest: int, send: TrackedSend, rules: RuleSet, window_ms: int) -> None:
    """Settles the marks for which there is no room, and those that are old beside `newest`."""
    marks, gone = track.marks, 0
    since = newest - LATE_MS - max(rules.longest_ms, window_ms)
    chars = sum(map(len, track.texts)) if len(marks) > LEAST else 0
    tally: Tally | None = None
    while gone < len(marks) and (
        marks[gone].at < since
        or len(marks) - gone > MARKS
        or (chars > TEXTS_CHARS and len(marks) - gone > LEAST)
    ):
        mark = marks[gone]
        gone += 1
        if tally is None:
            tally = track.settled = track.settled or Tally()
        judgement = judge(track, mark, mark.state, rules)
        _count(tally, mark, mark.state, judgement)
        tally.until = max(tally.until, mark.at)
        if not mark.state & REPEAT:
            if mark.link < 0 and judgement.person:
                readers = Readers(tally.known, tally.people, send.recipient_count)
                _meet(readers, track, mark, judgement, rules)
                tally.known, tally.people = readers.text, readers.people
            if mark.at >= since:
                track.readers[_digest(mark, track.texts)] = mark.at
        if chars > TEXTS_CHARS:
            chars = _chars(track, gone)
    if gone:
        del marks[:gone]
        tidy(track)
    if track.readers:
        _forget_readers(track, window_ms)


def begin(track: Track) -> None:
    """Makes a track without marks ready for its first: all it counts is settled."""
    if not track.marks and track.settled is None and track.send is not None:
        counts = (track.opens, track.clicks, track.machine_opens, track.machine_clicks)
        if any(counts) or track.repeats:
            track.settled = Tally(
                *counts,
                track.repeats,
                *(track.first_open_at, track.last_open_at),
                *(track.first_click_at, track.last_click_at),
                list(track.clicked),
                track.forwards,
            )


def _copy(tally: Tally | None) -> Tally:
    if tally is None:
        return Tally()
    return Tally(
        *(tally.opens, tally.clicks, tally.machine_opens, tally.machine_clicks, tally.repeats),
        *(tally.first_open_at, tally.last_open_at, tally.first_click_at, tally.last_click_at),
        list(tally.clicked),
        *(tally.forwards, tally.people, tally.known, tally.until),
    )


def _count(tally: Tally, mark: Mark, state: int, judgement: Judgement) -> None:
    """Adds what a mark is to a tally."""
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
        tally.first_click_at = min(tally.first_click_at or at, at)
        tally.last_click_at = max(tally.last_click_at, at)
        if state & FIRST:
            tally.clicked.append(mark.link)


def _count_open(tally: Tally, at: int) -> None:
    tally.opens += 1
    tally.first_open_at = min(tally.first_open_at or at, at)
    tally.last_open_at = max(tally.last_open_at, at)


def _tell(track: Track, tally: Tally, readers: Readers) -> None:
    """Makes a tally the track's counts."""
    track.opens, track.clicks = tally.opens, tally.clicks
    track.machine_opens, track.machine_clicks = tally.machine_opens, tally.machine_clicks
    track.repeats, track.forwards = tally.repeats, tally.forwards
    track.first_open_at, track.last_open_at = tally.first_open_at, tally.last_open_at
    track.first_click_at, track.last_click_at = tally.first_click_at, tally.last_click_at
    track.clicked = tally.clicked
    track.readers_about, track.readers_least = readers.about, readers.least


def _meet(readers: Readers, track: Track, mark: Mark, judgement: Judgement, rules: RuleSet) -> bool:
    """Notes who opened; whether it is one more than the mail has recipients."""
    if judgement.verdict == "proxy":
        return readers.add("", judgement.reasons[0], proxy=True)
    family = show(track, mark, rules).family
    return readers.add(track.texts[mark.network], family, proxy=False)


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
