"""What reaches the enricher: sends and hits as records, in the order they arrive.

Hits take the way of `mailwake_edge.publisher`: an edge numbers them as it sees them, gathers those
of a partition for the linger, and sends one record of a partition after the other.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.quality.chance import along
from bench.quality.mail import Fetch, Mail
from bench.quality.parameters import Networks, Transport
from bench.quality.traffic import START
from mailwake.contracts import HIT, SEND, Hit
from mailwake.ids import partitioner
from mailwake_enricher.process import Record

Labels = dict[str, Fetch]
"""The request behind each hit_id, with its label."""

View = Literal["all", "cloud-unknown", "none", "homes-in-cloud"]
"""What the edge sees of networks: all as they are; the cloud that gateways use as one that is in no
catalogue; none, without a file of them; or people's homes in that cloud too."""

_NOBODYS = 64511
"""An AS number for documentation (RFC 5398)."""


def numbers_seen(view: View, networks: Mapping[str, Networks]) -> dict[int, int]:
    """The AS numbers that the edge sees instead of the true ones, where it sees others."""
    cloud, homes = networks["cloud"].asn, networks["homes"].asn
    if view == "none":
        return {pool.asn: 0 for pool in networks.values()}
    return {"cloud-unknown": {cloud: _NOBODYS}, "homes-in-cloud": {homes: cloud}}.get(view, {})


@dataclass(slots=True)
class _Lane:
    """The hits of one edge and partition that wait, and when the last record arrived."""

    edge: int
    partition: int
    hits: list[Hit] = field(default_factory=list)
    arrived: int = 0


class Arrival:
    """Makes records of mails; `labels` fills as the records are made."""

    def __init__(
        self,
        transport: Transport,
        partitions: int,
        seed: int,
        numbers: Mapping[int, int] | None = None,
    ) -> None:
        """`numbers` are those of `numbers_seen`."""
        self.labels: Labels = {}
        self._seen_as = numbers or {}
        self._transport = transport
        self._dice = random.Random(f"arrival/{seed}")
        self._partition_of = partitioner(partitions)
        self._lanes = [
            [_Lane(edge, partition) for partition in range(partitions)]
            for edge in range(transport.edges)
        ]
        self._streams = [START - 1000 << 20 | edge for edge in range(transport.edges)]
        self._numbers = [0] * transport.edges
        self._offset = 0

    def records(self, mails: Sequence[Mail]) -> Iterator[tuple[int, Record]]:
        """Records with the time they arrive, in that order."""
        made = sorted([*self._sends(mails), *self._hits(mails)], key=lambda each: each[0])
        for at, record in made:
            self._offset += 1
            yield at, Record(record.topic, record.partition, self._offset, record.key, record.value)

    def _sends(self, mails: Iterable[Mail]) -> Iterator[tuple[int, Record]]:
        for mail in mails:
            key = mail.send.message_id.encode()
            partition = self._partition_of(key)
            yield mail.send_at, Record("sends", partition, 0, key, SEND.encode(mail.send))

    def _hits(self, mails: Iterable[Mail]) -> Iterator[tuple[int, Record]]:
        """Deals the hits, in the order of their time, to lanes; a lane's record starts with a hit
        and takes what comes within the linger."""
        seen = heapq.merge(
            *([(fetch.at, mail, fetch) for fetch in mail.fetches] for mail in mails),
            key=lambda each: each[0],
        )
        for at, mail, fetch in seen:
            edge = self._dice.randrange(len(self._lanes))
            hit = self._hit(edge, mail, fetch)
            lane = self._lanes[edge][self._partition_of(hit.message_id.encode())]
            if lane.hits and (
                at > lane.hits[0].at + self._transport.linger_ms
                or len(lane.hits) >= self._transport.batch_hits
            ):
                yield from self._emptied(lane)
            lane.hits.append(hit)
        for lanes in self._lanes:
            for lane in lanes:
                if lane.hits:
                    yield from self._emptied(lane)

    def _hit(self, edge: int, mail: Mail, fetch: Fetch) -> Hit:
        self._numbers[edge] += 1
        hit = Hit(
            hit_id=f"{self._streams[edge]:016x}{self._numbers[edge]:016x}",
            kind="open" if fetch.link is None else "click",
            at=fetch.at,
            tenant=mail.send.tenant,
            message_id=mail.send.message_id,
            recipient=fetch.recipient,
            mode=mail.send.mode,
            method=fetch.method,
            link=fetch.link,
            target=None if fetch.link is None else mail.send.links[fetch.link],
            network=fetch.network[0],
            agent=fetch.agent,
            referer=fetch.referer,
            purpose=fetch.purpose,
            asn=self._seen_as.get(fetch.network[1], fetch.network[1]),
        )
        self.labels[hit.hit_id] = fetch
        return hit

    def _emptied(self, lane: _Lane) -> Iterator[tuple[int, Record]]:
        """The lane's hits as a record; a part of them comes a second time, in a record of its own,
        as after an answer that got lost."""
        hits, lane.hits = lane.hits, []
        again = [hit for hit in hits if self._dice.random() < self._transport.duplicates]
        for part in (hits, again):
            if part:
                delay = round(along(self._transport.delay_ms, self._dice))
                sent = part[0].at + self._transport.linger_ms
                lane.arrived = max(lane.arrived, sent) + delay
                key = part[0].message_id.encode()
                yield lane.arrived, Record("hits", lane.partition, 0, key, HIT.encode_many(part))
