"""A simulated mail: its send, every request that came of it with its maker, and what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.quality.chance import Network
from bench.quality.parameters import Burst, Who
from mailwake.contracts import Send

Method = Literal["GET", "HEAD"]


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request with its label.

    Attributes:
        at: milliseconds, by a clock that is right.
        link: the link index; None for the pixel.
        who: who made it; the label.
        source: what made it, finer than `who`: a program, a scanner's kind.
        actor: which of the mail's actors; one visit of a scanner is one actor.
        network: the client's network and its AS number.
    """

    at: int
    link: int | None
    who: Who
    source: str
    actor: int
    recipient: int
    network: Network
    agent: str
    referer: str = ""
    purpose: str = ""
    method: Method = "GET"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail with all that came of it.

    Attributes:
        sent_at: when it was really sent; `send.sent_at` is by the sender's clock.
        send_at: when its send reaches the enricher.
        network, agent: what the sender used to send.
        readings: when persons read it, seen by a pixel or not.
        fetches: sorted by time.
    """

    send: Send
    sent_at: int
    send_at: int
    network: Network
    agent: str
    readings: tuple[int, ...]
    fetches: tuple[Fetch, ...]


def first_clicks(mail: Mail) -> dict[int, Fetch]:
    """The first click of each link that a person made."""
    first: dict[int, Fetch] = {}
    for fetch in mail.fetches:
        if fetch.who == "person" and fetch.link is not None:
            first.setdefault(fetch.link, fetch)
    return first


def first_open(mail: Mail) -> Fetch | None:
    """The first time the pixel told of a person, loaded by the person or by a proxy."""
    opens = (fetch for fetch in mail.fetches if fetch.link is None)
    return next((fetch for fetch in opens if fetch.who in ("person", "proxy")), None)


def visits(mail: Mail) -> list[list[Fetch]]:
    """What scanners fetched, a list a visit, each sorted by time."""
    found: dict[int, list[Fetch]] = {}
    for fetch in mail.fetches:
        if fetch.who == "scanner":
            found.setdefault(fetch.actor, []).append(fetch)
    return list(found.values())


def is_burst(visit: Sequence[Fetch], burst: Burst) -> bool:
    """Whether a visit, sorted by time, is a burst by any of the three signs."""
    for start, first in enumerate(visit):
        after = [(fetch, (fetch.at - first.at) / 1000) for fetch in visit[start:]]
        links = {fetch.link for fetch, s in after if s <= burst.links_s} - {None}
        hits = sum(s <= burst.hits_s for _, s in after)
        networks = {fetch.network for fetch, s in after if s <= burst.networks_s}
        if len(links) >= burst.links or hits >= burst.hits or len(networks) >= burst.networks:
            return True
    return False
