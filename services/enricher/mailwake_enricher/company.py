"""What a hit is a sign of by the company it keeps: bursts, and what stands beside a machine.

All of these are signs that further hits can only add to. They are looked for whenever a hit comes,
among the hits around it, so the hits that came before it are corrected too.
"""

from __future__ import annotations

from collections import Counter

from mailwake.track import Mark, Track, TrackedSend
from mailwake_enricher.rules import RuleSet
from mailwake_enricher.signs import (
    AFTER_SELF,
    BESIDE,
    EARLY,
    HIT_BURST,
    HOSTED,
    HOSTED_PAIR,
    LATE,
    LINK_BURST,
    NETWORK_BURST,
    PLAIN,
    SCANS,
    SENDER,
    SENDER_AGENT,
    SENDER_NETWORK,
    SOON,
    WIDE,
)


def note_itself(texts: list[str], mark: Mark, send: TrackedSend, rules: RuleSet) -> None:
    """Notes what a hit is by itself, and how it stands to its sender and to the time of sending.

    That time is by the sender's clock, which may be wrong.
    """
    state = 0
    shown = rules.show(texts[mark.agent], mark.asn, mark.link >= 0, mark.flags)
    since = mark.at - send.sent_at
    if -rules.clock_ms <= since < rules.soon_ms:
        state |= SOON
    elif since >= rules.scanned_ms and not shown.listed:
        state |= LATE
    if shown.hosted:
        state |= HOSTED
        if rules.soon_ms <= since < rules.early_ms:
            state |= EARLY
    if (
        send.sender_network
        and texts[mark.network] == send.sender_network
        and abs(since) <= rules.sender_ms
    ):
        state |= SENDER_NETWORK
        if shown.family and shown.family == send.sender_agent:
            state |= SENDER_AGENT
    if shown.verdict == "human" and state & SENDER != SENDER:
        state |= PLAIN
    elif shown.verdict == "scanner":
        state |= SCANS
    mark.state = state


def note_company(track: Track, new: Mark, send: TrackedSend, rules: RuleSet) -> bool:
    """Notes on a hit what those around it add to it, and on them what it adds to them.

    Returns whether it added anything to them.
    """
    low, high = new.at - rules.longest_ms, new.at + rules.longest_ms
    around = [mark for mark in track.marks if low <= mark.at <= high]
    if len(around) == 1:
        return False
    added = _note_beside(track, new, around, rules)
    if new.state & PLAIN:
        if new.state & HOSTED:
            added |= _note_hosted(new, around, rules)
        recipient = new.recipient
        crowd = [mark for mark in around if mark.state & PLAIN and mark.recipient == recipient]
        if len(crowd) >= rules.crowd:
            # A body that went to several is read by several at a time: each may add one more, but
            # within seconds links are followed by two at the most; and what one of them fetches is
            # told by the network.
            shared = recipient == 0 and send.recipient_count > 1
            more = send.recipient_count - 1 if shared else 0
            place = next(at for at, mark in enumerate(crowd) if mark is new)
            for end in range(place, len(crowd)):
                added |= _note_burst(crowd[: end + 1], rules, more)
    return added


def _note_burst(crowd: list[Mark], rules: RuleSet, more: int) -> bool:
    """Notes the bursts that the last hit closes; `more` hits and networks are no burst yet."""
    burst, last = rules.burst, crowd[-1]
    since = last.at - burst.networks_s * 1000
    around = [mark for mark in crowd if mark.at >= since]
    networks = {mark.network for mark in around}
    wide = WIDE if len(networks) > 1 and not more else 0
    added = False
    if len(networks) >= burst.networks + more:
        added |= _note(around, NETWORK_BURST | WIDE)
    since = last.at - burst.hits_s * 1000
    paced = [mark for mark in crowd if mark.at >= since]
    if _requests(paced) >= burst.hits + more:
        added |= _note(paced, HIT_BURST | wide)
    elif more:
        mine = [mark for mark in paced if _is_of(mark, last)]
        if _requests(mine) >= burst.hits:
            added |= _note(mine, HIT_BURST)
    since = last.at - burst.links_s * 1000
    linked = [mark for mark in crowd if mark.at >= since]
    if _links(linked) >= burst.links + min(1, more):
        added |= _note(linked, LINK_BURST | wide)
    elif more:
        mine = [mark for mark in linked if mark.network == last.network]
        if _links(mine) >= burst.links:
            added |= _note(mine, LINK_BURST)
    return added


def _note_hosted(new: Mark, around: list[Mark], rules: RuleSet) -> bool:
    """Notes that a hit from a data centre came with another of these: on another link or, in a
    wider window, from another network. Two people who both browse from there are too rare."""
    links_ms, networks_ms = 1000 * rules.burst.links_s, 1000 * rules.burst.networks_s
    added = False
    for mark in around:
        if not mark.state & HOSTED or not mark.state & PLAIN or mark.recipient != new.recipient:
            continue
        apart = abs(mark.at - new.at)
        if mark.network != new.network and apart <= networks_ms:
            new.state |= HOSTED_PAIR | WIDE
            added |= _note([mark], HOSTED_PAIR | WIDE)
        elif mark.link != new.link and min(mark.link, new.link) >= 0 and apart <= links_ms:
            new.state |= HOSTED_PAIR
            added |= _note([mark], HOSTED_PAIR)
    return added


def _is_of(mark: Mark, other: Mark) -> bool:
    return mark.network == other.network and mark.agent == other.agent


def _links(marks: list[Mark]) -> int:
    """How many links these fetched."""
    return len({mark.link for mark in marks if mark.link >= 0})


def _requests(marks: list[Mark]) -> int:
    """How many requests these made. The same one counts twice at the most: who loads a mail again
    and again is a person."""
    if len(marks) < 3:
        return len(marks)
    counts = Counter((mark.link, mark.network, mark.agent) for mark in marks)
    return sum(min(2, count) for count in counts.values())


def _note(marks: list[Mark], bits: int) -> bool:
    added = False
    for mark in marks:
        if mark.state & bits != bits:
            mark.state |= bits
            added = True
    return added


def _note_beside(track: Track, new: Mark, around: list[Mark], rules: RuleSet) -> bool:
    """Notes what came with a scanner, and what came after the sender's own visit."""
    if not track.texts[new.network]:
        return False
    added = False
    low, high = new.at - rules.follows_ms, new.at + rules.follows_ms
    for mark in around:
        if mark.network != new.network or not low <= mark.at <= high or mark is new:
            continue
        if mark.agent == new.agent and mark.recipient == new.recipient:
            if new.state & SCANS and mark.state & PLAIN:
                added |= _note([mark], BESIDE)
            if mark.state & SCANS and new.state & PLAIN:
                new.state |= BESIDE
        if new.state & mark.state & SENDER_NETWORK:
            if mark.at <= new.at and mark.state & SENDER == SENDER:
                new.state |= AFTER_SELF
            if new.at <= mark.at and new.state & SENDER == SENDER:
                added |= _note([mark], AFTER_SELF)
    return added
