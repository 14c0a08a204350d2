"""One record of `sends` or `hits`, from its bytes to what is to be sent and stored; pure.

A track is read once and written once a record, however many of its hits the record holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from mailwake.contracts import (
    EVENT,
    HIT,
    SEND,
    TRACK,
    Event,
    Hit,
    InvalidError,
    RejectReason,
    Send,
    Track,
)
from mailwake.ids import partitioner
from mailwake.rejects import Headers, reject_headers
from mailwake_enricher.decide import (
    DropReason,
    Outcome,
    Rules,
    UnmatchedReason,
    is_due,
    take_hit,
    take_send,
)

MAX_REJECT_BYTES = 1_000_000
"""A reject that is longer is cut: with its headers it must fit into a Kafka record (1 MiB)."""

EVENTS_BYTES = 256 * 1024
"""About how large a record of `events` may become before a further one is begun."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read; `topic` without the installation's prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Output:
    """A record to be sent; `topic` without the prefix, `partition` None for the key's own."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None
    headers: Headers = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What a record gave.

    Attributes:
        tracks: the tracks that changed, by message_id; None where one is to be forgotten.
        rows: the same as the table keeps them: key and value, None a tombstone.
        read: how many sends or hits were taken.
    """

    outputs: list[Output] = field(default_factory=list)
    tracks: dict[str, Track | None] = field(default_factory=dict)
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    read: int = 0
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    drops: Counter[DropReason] = field(default_factory=Counter)
    rejects: Counter[tuple[str, RejectReason]] = field(default_factory=Counter)
    unmatched: Counter[UnmatchedReason] = field(default_factory=Counter)


V = TypeVar("V", Send, Hit)

Load = Callable[[int, Iterable[str]], dict[str, Track]]
"""The tracks of some messages of a partition; a new one for each that has none."""


class Processor:
    """Turns records into results; knows the rules and the number of partitions."""

    def __init__(self, rules: Rules, partitions: int, load: Load) -> None:
        self._rules = rules
        self._partition_of = partitioner(partitions)
        self._load = load

    def process(self, record: Record) -> Result:
        """What a record of `sends` or `hits` gives. Never raises for what stands in it."""
        return self._sends(record) if record.topic == "sends" else self._hits(record)

    def expire(self, partition: int, message_ids: Iterable[str], now: int) -> Result:
        """Gives up the waiting hits of those tracks that are due at `now` (milliseconds)."""
        result = Result()
        outcome = Outcome()
        for message_id, track in self._load(partition, message_ids).items():
            if is_due(track, now, self._rules):
                outcome.unmatched += [(hit, "no_send") for hit in track.waiting]
                result.tracks[message_id] = None
                result.rows.append((message_id.encode(), None))
        self._tell(result, outcome, partition)
        return result

    def _sends(self, record: Record) -> Result:
        result = Result()
        sends, bad = SEND.read(record.value)
        good = self._sort_out(result, record, sends, bad)
        outcome = Outcome()
        tracks = self._load(record.partition, {send.message_id for send in good})
        for send in good:
            track = tracks[send.message_id]
            if take_send(track, send, self._rules, outcome):
                result.tracks[send.message_id] = track
        for hit in outcome.mismatched:
            # Its record is gone by now: the hit is written anew.
            self._reject(result, "hits", record, HIT.encode(hit), _mismatch())
        self._finish(result, outcome, record.partition)
        return result

    def _hits(self, record: Record) -> Result:
        result = Result()
        hits, bad = HIT.read(record.value)
        good = self._sort_out(result, record, hits, bad)
        outcome = Outcome()
        tracks = self._load(record.partition, {hit.message_id for hit in good})
        for hit in good:
            track = tracks[hit.message_id]
            if take_hit(track, hit, self._rules, outcome):
                result.tracks[hit.message_id] = track
        for hit in outcome.mismatched:
            index = next(at for at, each in enumerate(hits) if each is hit)
            self._reject(result, "hits", record, _part(record.value, bad, index), _mismatch())
        self._finish(result, outcome, record.partition)
        return result

    def _sort_out(
        self,
        result: Result,
        record: Record,
        values: Sequence[V],
        bad: list[tuple[bytes, InvalidError]],
    ) -> list[V]:
        """Rejects the bad parts and the values that belong to another partition."""
        for part, error in bad:
            self._reject(result, record.topic, record, part, error)
        good: list[V] = []
        for index, value in enumerate(values):
            partition = self._partition_of(value.message_id.encode())
            if partition == record.partition:
                good.append(value)
                continue
            text = f"its message belongs to partition {partition}; send it with Kafka's murmur2"
            error = InvalidError("wrong_partition", text)
            self._reject(result, record.topic, record, _part(record.value, bad, index), error)
        result.read = len(good)
        return good

    def _reject(
        self, result: Result, topic: str, record: Record, part: bytes, error: InvalidError
    ) -> None:
        if len(part) > MAX_REJECT_BYTES:
            text = f"{len(part)} bytes, of which the first {MAX_REJECT_BYTES} stand here: {error}"
            part, error = part[:MAX_REJECT_BYTES], InvalidError("too_large", text)
        headers = reject_headers(error, record.topic, record.partition, record.offset)
        result.outputs.append(Output(f"{topic}.rejected", record.key, part, headers=headers))
        result.rejects[topic, error.reason] += 1

    def _finish(self, result: Result, outcome: Outcome, partition: int) -> None:
        for message_id, track in result.tracks.items():
            assert track is not None  # noqa: S101 (only `expire` forgets)
            track.revision += 1
            result.rows.append((message_id.encode(), TRACK.encode(track)))
        self._tell(result, outcome, partition)

    def _tell(self, result: Result, outcome: Outcome, partition: int) -> None:
        result.outputs += _event_records(outcome.events, partition)
        for hit, reason in outcome.unmatched:
            headers = [("mailwake-reason", reason.encode())]
            key = hit.message_id.encode()
            output = Output("hits.unmatched", key, HIT.encode(hit), headers=headers)
            result.outputs.append(output)
        result.events = Counter((event.kind, event.verdict) for event in outcome.events)
        result.drops = Counter(outcome.drops)
        result.unmatched = Counter(reason for _, reason in outcome.unmatched)


_RAW = msgspec.json.Decoder(list[msgspec.Raw])


def _mismatch() -> InvalidError:
    return InvalidError("tenant_mismatch", "`tenant` is not the tenant of the message's send")


def _part(value: bytes, bad: list[tuple[bytes, InvalidError]], index: int) -> bytes:
    """The bytes of the `index`-th good value of a record."""
    if value[:1] != b"[":
        return value
    refused = iter([part for part, _ in bad])
    next_refused = next(refused, None)
    for raw in _RAW.decode(value):
        part = bytes(raw)
        if part == next_refused:
            next_refused = next(refused, None)
        elif index == 0:
            return part
        else:
            index -= 1
    raise IndexError(index)


def _event_records(events: list[Event], partition: int) -> list[Output]:
    """Arrays of events, one unless they are very large."""
    outputs: list[Output] = []
    parts: list[bytes] = []
    size = 0
    for at, event in enumerate(events):
        part = EVENT.encode(event)
        parts.append(part)
        size += len(part)
        if size > EVENTS_BYTES or at == len(events) - 1:
            key = events[at + 1 - len(parts)].message_id.encode()
            outputs.append(Output("events", key, b"[" + b",".join(parts) + b"]", partition))
            parts, size = [], 0
    return outputs
