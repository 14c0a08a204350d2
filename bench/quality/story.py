"""A mail's story while it is told: people and machines add what they fetch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.quality.chance import Network, along, network_of
from bench.quality.mail import Fetch, Method
from bench.quality.parameters import Curve, Parameters, Who


@dataclass(slots=True)
class Story:
    """What happens to one mail; times are milliseconds."""

    parameters: Parameters
    dice: random.Random
    sent_at: int
    links: range
    fetches: list[Fetch] = field(default_factory=list)
    readings: list[int] = field(default_factory=list)
    _actors: int = 0

    def actor(self) -> int:
        """A new actor's number."""
        self._actors += 1
        return self._actors

    def happens(self, share: float) -> bool:
        """Whether something that happens in a share of all cases happens in this one."""
        return self.dice.random() < share

    def after(self, at: int, curve: Curve) -> int:
        """A time so long after another as the curve says."""
        return at + round(along(curve, self.dice) * 1000)

    def network(self, names: Sequence[str]) -> Network:
        """A network of one of these operators."""
        return network_of(self.parameters.networks, names, self.dice)

    def some_links(self, share: float) -> list[int]:
        """Each link with this chance, one at the least; in the mail's order."""
        taken = [link for link in self.links if self.happens(share)]
        return taken or [self.dice.choice(self.links)]

    def fetch(
        self,
        at: int,
        link: int | None,
        visitor: Visitor,
        *,
        purpose: str = "",
        method: Method = "GET",
        referer: str = "",
    ) -> None:
        """Adds a request."""
        self.fetches.append(
            Fetch(
                at,
                link,
                visitor.who,
                visitor.source,
                visitor.actor,
                visitor.recipient,
                visitor.network,
                visitor.agent,
                referer,
                purpose,
                method,
            )
        )


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who fetches: the part of a request that stays the same for a while."""

    who: Who
    source: str
    actor: int
    recipient: int
    network: Network
    agent: str
