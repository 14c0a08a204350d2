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

from collections.abc import Sequence
from hashlib import blake2b

from mailwake.track import Mark, Tally, Track, TrackedSend
from mailwake_enricher import readers
from mailwake_enricher.marks import tidy
from mailwake_enricher.rules import Judgement, RuleSet, Shown
from mailwake_enricher.signs import (
    AHEAD,
    BURST,
    FIRST,
    FORWARD,
    IMPLIES,
    LASTING,
    PERSON,
    READ_BEFORE,
    REPEAT,
    RETURNED,
    SIGNALS,
    WIDE,
    WITHHELD,
)

MARKS = 16
"""Most marks of a track."""

LEAST = 5
"""So many marks are kept whatever their texts: what it takes to see a burst."""

TEXTS_CHARS = 512
"""Most characters of the marks' texts, where more than `LEAST` marks have them: it keeps the track
of a mail that everybody opens at once below 2 KB."""

LATE_MS = 480_000
"""Hits may be so late and are still taken for what they are. A hit stays a mark for so long and
the longest window."""

READERS_KEPT = 6
"""Most settled events whose readers are remembered to tell repeats."""

Weighed = list[tuple[int, Judgement]]
"""State and verdict of each mark."""


def judge(texts: list[str], mark: Mark, state: int, rules: RuleSet) -> tuple[Shown, Judgement]:
    """What a mark's hit shows by itself, and its verdict in a state."""
    return rules.weigh(texts[mark.agent], mark.asn, mark.link >= 0, mark.flags, state & SIGNALS)


class Walk:
    """A walk over a track's marks: what is known on the way.

    Attributes:
        opened: when a person first opened the mail; 0 when none has.
        clicked: the links that persons have clicked.
        openers: persons' recent opens.
        known, people: the readers (`mailwake_enricher.readers`).
        acted: when a person last opened or clicked, forwards aside; 0 when none has.
    """

    __slots__ = (
        *("_return_ms", "_rules", "_send", "_texts"),
        *("acted", "clicked", "known", "opened", "openers", "people"),
    )

    def __init__(
        self,
        settled: Tally,
        texts: list[str],
        send: TrackedSend,
        rules: RuleSet,
        return_ms: int = 0,
    ) -> None:
        """Begins after what is settled."""
        self._texts, self._rules, self._return_ms = texts, rules, return_ms
        self._send = send
        self.acted = max(settled.last_open_at, settled.last_click_at)
        self.opened, self.clicked = settled.first_open_at, settled.clicked
        self.openers: list[Mark] = []
        self.known, self.people = settled.known, settled.people

    def step(self, mark: Mark, repeat: int) -> tuple[int, Judgement]:
        """State and verdict of the next mark; `repeat` is its bit."""
        rules, texts, link, opened = self._rules, self._texts, mark.link, self.opened
        state = mark.state & LASTING | repeat
        if state & BURST and not state & WIDE and self._was_read(mark):
            state |= READ_BEFORE
        shown, judgement = judge(texts, mark, state, rules)
        if judgement.person:
            state |= PERSON
            if repeat:
                return state, judgement
            if link < 0:
                self.openers.append(mark)
                if self.meet(mark, shown, judgement):
                    return state | FORWARD, judgement
                if not opened:
                    state |= FIRST
                    self.opened = mark.at
            else:
                if not opened and self._send.opens:
                    state |= IMPLIES
                    self.opened = mark.at
                if link not in self.clicked:
                    state |= FIRST
                    self.clicked = [*self.clicked, link]
            if self.acted and mark.at - self.acted >= self._return_ms:
                state |= RETURNED
            self.acted = max(self.acted, mark.at)
        return state, judgement

    def _was_read(self, mark: Mark) -> bool:
        """Whether a person had opened the mail before a burst that comes from one network.

        A scanner's visit takes seconds and may begin with the pixel: an open counts that is older,
        or of another network or program than the burst. Where several have the mail, another's open
        says little, unless so much time has passed that scanners have been.
        """
        since, several = mark.at - self._rules.read_ms, self._send.recipient_count > 1
        scanned = not several or mark.at - self._send.sent_at >= self._rules.scanned_ms
        if self.opened and self.opened <= since and scanned:
            return True
        shared = several and mark.recipient == 0
        return any(
            opener.recipient == mark.recipient
            and (opener.network == mark.network or not shared)
            and (opener.at <= since or opener.network != mark.network or opener.agent != mark.agent)
            for opener in self.openers
        )

    def meet(self, mark: Mark, shown: Shown, judgement: Judgement) -> bool:
        """Notes who opened; whether it is one more than the mail has recipients."""
        code = _reader(self._texts, mark, shown, judgement)
        who = readers.who_is(self.known, code)
        if not who:
            self.known, self.people = readers.meet(
                self.known,
                self.people,
                code,
                self._send.recipient_count,
                proxy=judgement.verdict == "proxy",
            )
            who = readers.who_is(self.known, code)
        return who == readers.FORWARD


def weigh_alone(
    track: Track,
    texts: list[str],
    new: Mark,
    marks: Sequence[Mark],
    send: TrackedSend,
    rules: RuleSet,
    window_ms: int,
    return_ms: int,
) -> Judgement:
    """Gives one mark its state, where `marks`, those before it, stay what they were; counts it."""
    repeat, since, opens = 0, new.at - window_ms, new.link < 0
    before: list[Mark] = []
    for mark in marks:
        if mark.state & REPEAT or mark is new:
            continue
        if mark.link < 0 and mark.state & PERSON:
            before.append(mark)
        if (
            since < mark.at <= new.at
            and mark.link == new.link
            and mark.network == new.network
            and mark.agent == new.agent
            and mark.recipient == new.recipient
            and not (mark.flags ^ new.flags) & AHEAD
        ):
            repeat = REPEAT
    if not repeat and track.readers:
        repeat = _repeats_settled(track, texts, new, window_ms)
    walk = Walk(track.settled or _NOTHING, texts, send, rules, return_ms)
    walk.opened, walk.clicked = track.first_open_at, track.clicked
    walk.acted = max(track.last_open_at, track.last_click_at)
    if before and (opens or new.state & BURST):
        for mark in before:
            walk.openers.append(mark)
            walk.meet(mark, *judge(texts, mark, mark.state, rules))
    new.state, judgement = walk.step(new, repeat)
    _count(track, new, new.state, judgement.score)
    if opens and new.state & PERSON:
        _tell_readers(track, walk)
    return judgement


def weigh(
    track: Track, new: Mark, send: TrackedSend, rules: RuleSet, window_ms: int, return_ms: int
) -> Weighed:
    """State and verdict of each mark; counts all anew.

    `window_ms` is that of repeats; after `return_ms` without an act of a person the next is a
    return.
    """
    settled = track.settled or _NOTHING
    walk = Walk(settled, track.texts, send, rules, return_ms)
    tally = _copy(settled)
    last: dict[tuple[int, int, int, int, int], int] = {}
    weighed: Weighed = []
    for mark in track.marks:
        reader = (mark.link, mark.recipient, mark.network, mark.agent, mark.flags & AHEAD)
        if mark.at - window_ms < settled.until and mark is not new:
            repeat = mark.state & REPEAT
        else:
            before = last.get(reader)
            repeat = REPEAT if before is not None and mark.at - before < window_ms else 0
            if not repeat and track.readers:
                repeat = _repeats_settled(track, track.texts, mark, window_ms)
        if not repeat:
            last[reader] = mark.at
        state, judgement = walk.step(mark, repeat)
        _count(tally, mark, state, judgement.score)
        weighed.append((state, judgement))
    track.opens, track.clicks = tally.opens, tally.clicks
    track.machine_opens, track.machine_clicks = tally.machine_opens, tally.machine_clicks
    track.repeats, track.forwards = tally.repeats, tally.forwards
    track.first_open_at, track.last_open_at = tally.first_open_at, tally.last_open_at
    track.first_click_at, track.last_click_at = tally.first_click_at, tally.last_click_at
    track.clicked = tally.clicked
    track.open_score, track.click_score = tally.open_score, tally.click_score
    _tell_readers(track, walk)
    return weighed


def begin(track: Track) -> None:
    """Makes a track without marks ready for its first: all it counts is settled."""
    if track.settled is None:
        counts = (track.opens, track.clicks, track.machine_opens, track.machine_clicks)
        if any(counts) or track.repeats:
            track.settled = _copy(track)


def remembered_since(newest: int, rules: RuleSet, window_ms: int) -> int:
    """From when on hits are marks when the newest is of that time."""
    return newest - LATE_MS - max(rules.longest_ms, window_ms)


def settle(track: Track, since: int, send: TrackedSend, rules: RuleSet, window_ms: int) -> None:
    """Settles the marks for which there is no room, and those from before `since`."""
    marks, texts, gone = track.marks, track.texts, 0
    chars = sum(map(len, texts)) if len(marks) > LEAST else 0
    for mark in marks:
        left = len(marks) - gone
        if mark.at >= since:
            if left <= MARKS and (chars <= TEXTS_CHARS or left <= LEAST):
                break
            if not mark.state & REPEAT:
                track.readers[_digest(mark, texts)] = mark.at
        gone += 1
        settle_mark(track, texts, mark, send, rules)
        if chars > TEXTS_CHARS:
            chars = _chars(texts, marks[gone:])
    if gone == len(marks):
        marks.clear()
        track.texts = []
    elif gone:
        del marks[:gone]
        tidy(track)
    if track.readers:
        _forget_readers(track, window_ms)


def settle_mark(
    track: Track, texts: list[str], mark: Mark, send: TrackedSend, rules: RuleSet
) -> None:
    """Adds a mark to what is settled."""
    tally, state = track.settled, mark.state
    if tally is None:
        tally = track.settled = Tally()
    if mark.at > tally.until:
        tally.until = mark.at
    if state & REPEAT or not state & PERSON:
        _count(tally, mark, state, 0)
        return
    seen = judge(texts, mark, state, rules)
    _count(tally, mark, state, seen[1].score)
    if mark.link < 0 and not readers.who_is(tally.known, _reader(texts, mark, *seen)):
        walk = Walk(tally, texts, send, rules)
        walk.meet(mark, *seen)
        tally.known, tally.people = walk.known, walk.people


_NOTHING = Tally()


def _copy(tally: Tally | Track) -> Tally:
    """The counts alone."""
    return Tally(
        *(tally.opens, tally.clicks, tally.machine_opens, tally.machine_clicks, tally.repeats),
        *(tally.first_open_at, tally.last_open_at, tally.first_click_at, tally.last_click_at),
        list(tally.clicked),
        tally.forwards,
        open_score=tally.open_score,
        click_score=tally.click_score,
    )


def _count(tally: Tally | Track, mark: Mark, state: int, score: int) -> None:
    """Adds what a mark is to the counts of a tally or a track; `score` says how sure that is."""
    at = mark.at
    if state & REPEAT:
        tally.repeats += 1
    elif mark.link < 0:
        if not state & PERSON:
            tally.machine_opens += 1
        elif state & FORWARD:
            tally.forwards += 1
        else:
            _count_open(tally, at, score)
    elif not state & PERSON:
        tally.machine_clicks += 1
    else:
        if state & IMPLIES:
            _count_open(tally, at, score)
        tally.clicks += 1
        tally.click_score = max(score, tally.click_score)
        if not tally.first_click_at or at < tally.first_click_at:
            tally.first_click_at = at
        if at > tally.last_click_at:
            tally.last_click_at = at
        if state & FIRST:
            tally.clicked.append(mark.link)


def _count_open(tally: Tally | Track, at: int, score: int) -> None:
    tally.opens += 1
    tally.open_score = max(score, tally.open_score)
    if not tally.first_open_at or at < tally.first_open_at:
        tally.first_open_at = at
    if at > tally.last_open_at:
        tally.last_open_at = at


def _reader(texts: list[str], mark: Mark, shown: Shown, judgement: Judgement) -> str:
    """The code of who opened; of all behind a proxy it is the same."""
    if judgement.verdict == "proxy":
        return readers.code_of("", judgement.reasons[0])
    return readers.code_of(texts[mark.network], shown.family)


def _tell_readers(track: Track, walk: Walk) -> None:
    track.readers_about = readers.about(walk.known)
    track.readers_least = readers.least(walk.known, walk.people)


def _repeats_settled(track: Track, texts: list[str], mark: Mark, window_ms: int) -> int:
    """The bit that says whether a mark repeats a hit that is settled."""
    before = track.readers.get(_digest(mark, texts))
    return REPEAT if before is not None and -window_ms < mark.at - before < window_ms else 0


def _digest(mark: Mark, texts: list[str]) -> str:
    """Who asked for what: 40 bits of a digest. What a browser fetched ahead its user may follow."""
    told = "open\0None" if mark.link < 0 else f"click\0{mark.link}"
    if mark.flags & AHEAD:
        told = f"ahead {told}"
    if not mark.flags & WITHHELD:
        told = f"{told}\0{mark.recipient}\0{texts[mark.network]}\0{texts[mark.agent]}"
    return blake2b(told.encode(), digest_size=5).hexdigest()


def _forget_readers(track: Track, window_ms: int) -> None:
    since = track.marks[0].at - window_ms if track.marks else 0
    kept = sorted((at, reader) for reader, at in track.readers.items() if at > since)
    track.readers = {reader: at for at, reader in kept[-READERS_KEPT:]}


def _chars(texts: list[str], marks: list[Mark]) -> int:
    """The characters of the texts that these marks point to."""
    used = {each for mark in marks for each in (mark.stream, mark.network, mark.agent, mark.target)}
    return sum(len(texts[place]) for place in used)
