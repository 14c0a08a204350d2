"""What the enricher makes of simulated traffic: its pure core, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mailwake.contracts import EVENT, Event
from mailwake.topics import registry
from mailwake.track import TRACK, Track
from mailwake_enricher.decide import Rules
from mailwake_enricher.process import Processor, Record, Result
from mailwake_enricher.waiting import Waiting

REPEAT_WINDOW_MS = 60_000
JOIN_WAIT_MS = 86_400_000
"""As MAILWAKE_REPEAT_WINDOW_S and MAILWAKE_JOIN_WAIT_S are unless set."""

EXPIRE_EVERY_MS = 600_000


@dataclass(slots=True)
class Enriched:
    """What came out.

    Attributes:
        told: the first revision of each event, by event_id.
        events: the last revision of each event, by event_id.
        lost: values that were rejected or given up.
    """

    told: dict[str, Event] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    drops: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def take(self, result: Result) -> None:
        """Takes up what a record gave."""
        self.drops.update(result.drops)
        for output in result.outputs:
            if output.topic != "events":
                self.lost += 1
                continue
            for event in EVENT.read(output.value)[0]:
                self.told.setdefault(event.event_id, event)
                last = self.events.get(event.event_id)
                if last is None or event.revision >= last.revision:
                    self.events[event.event_id] = event


def enrich(records: Iterable[tuple[int, Record]], partitions: int) -> Enriched:
    """Runs records, with their times of arrival, through the enricher's core in their order."""
    rows: list[dict[str, bytes]] = [{} for _ in range(partitions)]

    def load(partition: int, message_ids: Iterable[str]) -> dict[str, Track]:
        stored = rows[partition]
        return {
            message_id: TRACK.decode(stored[message_id]) if message_id in stored else Track()
            for message_id in message_ids
        }

    rules = Rules(
        repeat_window_ms=REPEAT_WINDOW_MS,
        join_wait_ms=JOIN_WAIT_MS,
        keep_ms=int(registry()["tracks"].config["retention.ms"]),
    )
    processor, waiting, enriched = Processor(rules, partitions, load), Waiting(rules), Enriched()

    def settle(partition: int, result: Result) -> None:
        for key, row in result.rows:
            if row is None:
                rows[partition].pop(key.decode(), None)
            else:
                rows[partition][key.decode()] = row
        for message_id, track in result.tracks.items():
            waiting.note(partition, message_id, track)
        enriched.take(result)

    now = expired_at = 0
    for now, record in records:
        if now - expired_at >= EXPIRE_EVERY_MS:
            expired_at = now
            for partition, due in waiting.due(now).items():
                settle(partition, processor.expire(partition, due, now))
        settle(record.partition, processor.process(record))
    for partition, stored in enumerate(rows):
        settle(partition, processor.expire(partition, list(stored), now + rules.keep_ms + 1))
    return enriched
