"""Which tracks hold hits that wait for their send, and when each is given up."""

from __future__ import annotations

from mailwake.track import Track
from mailwake_enricher.decide import Rules, due_at


class Waiting:
    """The index of waiting tracks by partition; rebuilt from the table after each assignment."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._due: dict[int, dict[str, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def note(self, partition: int, message_id: str, track: Track | None) -> None:
        """Takes up what a track has become."""
        if track is not None and track.waiting and track.send is None:
            self._due.setdefault(partition, {})[message_id] = due_at(track, self._rules)
        else:
            self._due.get(partition, {}).pop(message_id, None)

    def due(self, now: int) -> dict[int, list[str]]:
        """The messages whose hits have waited long enough, by partition; `now` in milliseconds."""
        found = {
            partition: [message_id for message_id, at in due.items() if at <= now]
            for partition, due in self._due.items()
        }
        return {partition: message_ids for partition, message_ids in found.items() if message_ids}

    def clear(self) -> None:
        """Forgets everything."""
        self._due.clear()


def may_wait(row: bytes) -> bool:
    """Whether a row's track has no send yet, seen without decoding it.

    A track is an array whose third value is its send (`mailwake.contracts.Track`).
    """
    return row.split(b",", 3)[2] == b"null"
