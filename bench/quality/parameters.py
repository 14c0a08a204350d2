"""The simulator's parameters: parameters.toml as typed values, assumptions drawn for a seed."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

FILE = Path(__file__).parent / "parameters.toml"

Who = Literal["person", "proxy", "prefetch", "scanner", "self"]
"""Who made a request: a person, an image proxy with a person behind, one that fetches in advance,
a scanner (or a previewer), the sender."""

Curve = list[tuple[float, float]]
"""Points of a distribution: a value, and the share of all that is below it; see `chance.along`."""

Weights = list[tuple[int, float]]
"""Numbers with their weights."""


class Mails(Struct, frozen=True, forbid_unknown_fields=True):
    """How mails are sent."""

    senders: int
    hours: float
    links: Weights
    unsubscribe: float
    recipients: Weights
    shared_body: float
    delivery: Curve
    skewed: float
    skew_s: int
    late_sends: float
    late_s: float


class Transport(Struct, frozen=True, forbid_unknown_fields=True):
    """How hits come from the edge to the enricher."""

    edges: int
    linger_ms: int
    batch_hits: int
    delay_ms: Curve
    duplicates: float


class People(Struct, frozen=True, forbid_unknown_fields=True):
    """How people read."""

    reads: float
    opening: Curve
    reopens: float
    reopening: Curve
    loads_twice: float
    moves: float
    ipv6: float
    same_office: float
    clicks: float
    clicking: Curve
    more_links: float
    between_clicks: Curve
    tabs: float
    between_tabs: Curve
    clicks_again: float
    returns: float
    forwards: float
    forwarding: Curve
    link_prefetch: float


class Program(Struct, frozen=True, forbid_unknown_fields=True):
    """A mail program; `images` is `direct` or a fetcher, `agents` go by device."""

    name: str
    weight: float
    images: str
    devices: list[str]
    blocks: float
    agents: dict[str, list[str]] = {}
    referer: str = ""
    web: bool = False


class Fetcher(Struct, frozen=True, forbid_unknown_fields=True):
    """Who loads images in people's stead; without agents it passes the reader's on."""

    who: Who
    agents: list[str]
    networks: list[str]


class Apple(Struct, frozen=True, forbid_unknown_fields=True):
    """Mail Privacy Protection."""

    fetches: float
    after: Curve
    second_device: float


class GooglePrefetch(Struct, frozen=True, forbid_unknown_fields=True):
    """A proxy that fetches ahead in Google's network."""

    share: float
    after: Curve
    agent: str


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    """What people hold in their hands."""

    browsers: list[str]


class Sender(Struct, frozen=True, forbid_unknown_fields=True):
    """The sender's own opens."""

    opens: float
    after: Curve
    clicks: float
    elsewhere: float


class Gateway(Struct, frozen=True, forbid_unknown_fields=True):
    """Security gateways that fetch all links at once."""

    share: float
    after: Curve
    span_s: Curve
    fetches_pixel: float
    skips_link: float
    twice: float
    networks: Weights
    named: float
    own_network: float
    heads_first: float
    agents: list[str]
    named_agents: dict[str, list[str]]


class SafeLinks(Struct, frozen=True, forbid_unknown_fields=True):
    """Scanners that fetch links only, before delivery and at a click."""

    share: float
    after: Curve
    takes_link: float
    between: Curve
    at_click: float
    after_click: Curve
    agents: list[str]


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """Scanners that hide nothing."""

    share: float
    after: Curve
    takes_link: float
    heads: float
    agents: list[str]


class Preview(Struct, frozen=True, forbid_unknown_fields=True):
    """Previewers of links in chats."""

    share: float
    colleague: float
    agents: list[str]


class Burst(Struct, frozen=True, forbid_unknown_fields=True):
    """From when on a visit is a burst: so many links, hits or networks within so many seconds."""

    links: int
    links_s: float
    hits: int
    hits_s: float
    networks: int
    networks_s: float


class Networks(Struct, frozen=True, forbid_unknown_fields=True):
    """The ranges of an operator."""

    asn: int
    prefixes: list[str]


class Parameters(Struct, frozen=True, forbid_unknown_fields=True):
    """All of parameters.toml, a section a field."""

    mails: Mails
    transport: Transport
    people: People
    programs: list[Program]
    fetchers: dict[str, Fetcher]
    apple: Apple
    google_prefetch: GooglePrefetch
    devices: dict[str, Device]
    sender: Sender
    gateway: Gateway
    safe_links: SafeLinks
    script: Script
    preview: Preview
    burst: Burst
    networks: dict[str, Networks]


def read_parameters(seed: int, file: Path = FILE) -> Parameters:
    """The parameters, each assumption drawn from its range by the seed's dice.

    Raises msgspec.ValidationError, which names the place, when the file is not as described.
    """
    tree = tomllib.loads(file.read_text("utf-8"))
    return msgspec.convert(drawn(tree, random.Random(f"parameters/{seed}")), Parameters)


def drawn(tree: Any, dice: random.Random) -> Any:
    """A tree in which each `{from, to}` has become a number between the two."""
    if isinstance(tree, dict):
        if tree.keys() == {"from", "to"}:
            return dice.uniform(tree["from"], tree["to"])
        return {key: drawn(value, dice) for key, value in tree.items()}
    if isinstance(tree, list):
        return [drawn(value, dice) for value in tree]
    return tree
