"""The enricher's pure core alone: hits a second through `Processor`, its tracks as rows in a dict.

No Kafka, no store: what deciding itself costs, for mails that are read now and then and for bursts.
`python -m bench.core` prints it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator

from bench.enricher import AGENTS, made_send
from mailwake.contracts import HIT, SEND, Hit
from mailwake.ids import HitStream, new_message_id, partitioner
from mailwake.track import TRACK, Track
from mailwake_enricher.decide import Rules
from mailwake_enricher.process import Processor, Record

MAILS = 5_000
IN_RECORD = 100
START = 1_790_000_000_000
DAY = 86_400_000
BURST = 20
"""Hits of a burst, all in one record."""


class Core:
    """A processor of one partition with its rows."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        rules = Rules(repeat_window_ms=60_000, join_wait_ms=DAY, keep_ms=180 * DAY)
        self._processor = Processor(rules, 1, self._load)

    def _load(self, partition: int, message_ids: Iterable[str]) -> dict[str, Track]:
        return {
            message_id: TRACK.decode(self.rows[message_id]) if message_id in self.rows else Track()
            for message_id in message_ids
        }

    def run(self, topic: str, values: Iterable[bytes]) -> float:
        """The seconds that these records take."""
        began = time.perf_counter()
        for offset, value in enumerate(values):
            result = self._processor.process(Record(topic, 0, offset, None, value))
            for key, row in result.rows:
                assert row is not None
                self.rows[key.decode()] = row
        return time.perf_counter() - began


def quiet(mails: list[str], stream: HitStream, dice: random.Random, day: int) -> Iterator[bytes]:
    """Records whose hits are of different mails, through a day."""
    records = len(mails) // IN_RECORD * 4
    for number in range(records):
        at = day + DAY * number // records
        chosen = dice.sample(mails, IN_RECORD)
        yield HIT.encode_many(
            [_hit(each, stream, dice, at + dice.randrange(1000), 0.2) for each in chosen]
        )


def bursts(mails: list[str], stream: HitStream, dice: random.Random, day: int) -> Iterator[bytes]:
    """Records with the bursts of five mails, a scanner with three networks each."""
    for start in range(0, len(mails) - 5, 5):
        hits = []
        for mail in mails[start : start + 5]:
            at = day + dice.randrange(DAY)
            for number in range(BURST):
                hits.append(_hit(mail, stream, dice, at + number * 500, 0.9, dice.randrange(3)))
        yield HIT.encode_many(hits)


def _hit(
    mail: str, stream: HitStream, dice: random.Random, at: int, clicks: float, other: int = 0
) -> Hit:
    click = dice.random() < clicks
    reader = int(mail[-2:], 16) + other
    link = dice.randrange(5) if not other else dice.randrange(10)
    return Hit(
        hit_id=stream.next(),
        kind="click" if click else "open",
        at=at,
        tenant="acme",
        message_id=mail,
        recipient=1,
        mode="identified",
        link=link if click else None,
        target=f"https://shop.example/offers/{link}?from=mail" if click else None,
        network=f"203.0.{reader % 256}.0/24",
        agent=AGENTS[reader % len(AGENTS)],
    )


def main() -> None:
    """Prints hits a second of either load, and the size of the rows."""
    assert partitioner(1)(b"x") == 0
    dice, stream, core = random.Random(1), HitStream(START), Core()
    mails = [new_message_id(START + number) for number in range(MAILS)]
    core.run("sends", [SEND.encode_many([made_send(each) for each in mails])])
    core.run("hits", quiet(mails, stream, dice, START))
    for name, load in (("quiet", quiet), ("bursts", bursts)):
        best = 0.0
        for day in range(1, 5):
            records = list(load(mails, stream, dice, START + day * DAY))
            hits = sum(record.count(b'"hit_id"') for record in records)
            best = max(best, hits / core.run("hits", records))
        sizes = sorted(map(len, core.rows.values()))
        print(
            f"{name:7} {best:10,.0f} hits/s  {1e6 / best:5.1f} µs a hit;"
            f" a row is {sizes[len(sizes) // 2]} bytes in the median, {sizes[-1]} at most"
        )


if __name__ == "__main__":
    main()
