"""What a hit is a sign of by the company it keeps: bursts, and what stands beside a machine.

All of these are signs that further hits can only add to. They are looked for whenever a hit comes,
among the hits around it, so the hits that came before it are corrected too.
"""

from __future__ import annotations

from mailwake.contracts import Mark, Track, TrackedSend
from mailwake_enricher.marks import show
from mailwake_enricher.rules import RuleSet, Shown
from mailwake_enricher.signs import (
    AFTER_SELF,
    BESIDE,
    HIT_BURST,
    LINK_BURST,
    NETWORK_BURST,
    SENDER,
    SENDER_AGENT,
    SENDER_NETWORK,
    SOON,
    WIDE,
)


def note_sender(track: Track, mark: Mark, send: TrackedSend, rules: RuleSet) -> None:
    """Notes how a hit stands to its sender and to the time of sending.

    That time is by the sender's clock, which may be wrong.
    """
    times, since = rules.times, mark.at - send.sent_at
    if -times.clock_s * 1000 <= since < times.soon_s * 1000:
        mark.state |= SOON
    if (
        send.sender_network
        and track.texts[mark.network] == send.sender_network
        and abs(since) <= (times.sender_s + times.clock_s) * 1000
    ):
        mark.state |= SENDER_NETWORK
        family = show(track, mark, rules).family
        if family and family == send.sender_agent:
            mark.state |= SENDER_AGENT


def note_company(track: Track, new: Mark, send: TrackedSend, rules: RuleSet) -> None:
    """Notes on a hit what those around it add to it, and on them what it adds to them."""
    marks = track.marks
    if len(marks) == 1:
        return
    burst = rules.burst
    shown = [show(track, mark, rules) for mark in marks]
    _note_beside(track, new, shown, rules)
    crowd = [
        mark
        for mark, seen in zip(marks, shown, strict=True)
        if mark.recipient == new.recipient and _counts(mark, seen)
    ]
    if len(crowd) < min(burst.links, burst.hits, burst.networks):
        return
    place = next((at for at, mark in enumerate(crowd) if mark is new), None)
    if place is None:
        return
    # A body that went to several is read by several at a time: more is allowed, and what one of
    # them fetches is told by the network.
    shared = new.recipient == 0 and send.recipient_count > 1
    more = send.recipient_count - 1 if shared else 0
    for end in range(place, len(crowd)):
        if crowd[end].at > new.at + rules.longest_ms:
            break
        _note_burst(crowd, end, rules, more)


def _counts(mark: Mark, shown: Shown) -> bool:
    """Whether a hit may be one of a burst: what is known for a machine or the sender is none."""
    return shown.verdict == "human" and mark.state & SENDER != SENDER


def _note_burst(crowd: list[Mark], end: int, rules: RuleSet, more: int) -> None:
    """Notes the bursts that the hit at `end` closes; `more` hits and networks are no burst yet."""
    burst, last = rules.burst, crowd[end]
    since_links, since_hits = last.at - burst.links_s * 1000, last.at - burst.hits_s * 1000
    since_networks = last.at - burst.networks_s * 1000
    linked: list[Mark] = []
    paced: list[Mark] = []
    around: list[Mark] = []
    links: set[int] = set()
    networks: set[int] = set()
    requests: dict[tuple[int, int, int, int], int] = {}
    for at in range(end, -1, -1):
        mark = crowd[at]
        if mark.at < since_networks and mark.at < since_hits and mark.at < since_links:
            break
        same_network = not more or mark.network == last.network
        if mark.at >= since_networks:
            around.append(mark)
            networks.add(mark.network)
        if mark.at >= since_hits and same_network:
            paced.append(mark)
            what = (mark.link, mark.network, mark.agent, mark.flags)
            requests[what] = min(2, requests.get(what, 0) + 1)
        if mark.at >= since_links and same_network:
            linked.append(mark)
            if mark.link >= 0:
                links.add(mark.link)
    wide = WIDE if len(networks) > 1 and not more else 0
    if len(links) >= burst.links:
        _note(linked, LINK_BURST | wide)
    if len(paced) >= burst.hits + more and sum(requests.values()) >= burst.hits + more:
        _note(paced, HIT_BURST | wide)
    if len(networks) >= burst.networks + more:
        _note(around, NETWORK_BURST | WIDE)


def _note(marks: list[Mark], bits: int) -> None:
    for mark in marks:
        mark.state |= bits


def _note_beside(track: Track, new: Mark, shown: list[Shown], rules: RuleSet) -> None:
    """Notes what came with a scanner, and what came after the sender's own visit."""
    if not track.texts[new.network]:
        return
    follows = rules.times.follows_s * 1000
    scans = show(track, new, rules).verdict == "scanner"
    for mark, seen in zip(track.marks, shown, strict=True):
        if mark is new or mark.network != new.network or abs(mark.at - new.at) > follows:
            continue
        if mark.agent == new.agent and mark.recipient == new.recipient:
            if scans:
                mark.state |= BESIDE
            if seen.verdict == "scanner":
                new.state |= BESIDE
        if new.state & mark.state & SENDER_NETWORK:
            if mark.at <= new.at and mark.state & SENDER == SENDER:
                new.state |= AFTER_SELF
            if new.at <= mark.at and new.state & SENDER == SENDER:
                mark.state |= AFTER_SELF
