"""One record of what the enricher reads, from its bytes to what is to be sent and stored; pure.

A track is read once and written once a record, however many of its hits the record holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from mailwake.codec import InvalidError, RejectReason
from mailwake.contracts import EVENT, HIT, REMOVAL, SEND, Event, Hit, Send
from mailwake.ids import partitions_of
from mailwake.rejects import Headers, reject
from mailwake.track import RECLASSIFIED, TRACK, Track
from mailwake_enricher.decide import Rules, is_due, is_over, take_hit, take_removal, take_send
from mailwake_enricher.taken_over import TakeOver, take_over
from mailwake_enricher.telling import DropReason, Outcome, UnmatchedReason

EVENTS_BYTES = 256 * 1024
"""How large a record of several events may be; more are split."""


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
        told: the events.
        revisions: how many of the events were told before.
        oldest: when the oldest hit was seen whose event is told for the first time, in
            milliseconds; 0 when there is none.
        joined: when those hits were seen that waited for their send.
    """

    outputs: list[Output] = field(default_factory=list)
    tracks: dict[str, Track | None] = field(default_factory=dict)
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    read: int = 0
    told: list[Event] = field(default_factory=list)
    revisions: int = 0
    oldest: int = 0
    joined: list[int] = field(default_factory=list)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    drops: Counter[DropReason] = field(default_factory=Counter)
    rejects: Counter[tuple[str, RejectReason]] = field(default_factory=Counter)
    unmatched: Counter[UnmatchedReason] = field(default_factory=Counter)
    taken_over: Counter[TakeOver] = field(default_factory=Counter)


Load = Callable[[int, Iterable[str]], dict[str, Track]]
"""The tracks of some messages of a partition; a new one (revision 0) for each that has none."""


class Processor:
    """Turns records into results; knows the rules and the number of partitions."""

    def __init__(self, rules: Rules, partitions: int, load: Load) -> None:
        self._rules = rules
        self._partitions = partitions
        self._load = load

    def process(self, record: Record) -> Result:
        """What a record gives. Never raises for what stands in it."""
        if record.topic == "reclassified":
            return self._reclassified(record)
        if record.topic == "removals":
            return self._removals(record)
        return self._sends(record) if record.topic == "sends" else self._hits(record)

    def expire(self, partition: int, message_ids: Iterable[str], now: int) -> Result:
        """Forgets those tracks that are over at `now` (milliseconds).

        Of those that waited too long for their send the hits are given up; see `is_over` for the
        others.
        """
        result = Result()
        outcome = Outcome()
        for message_id, track in self._load(partition, message_ids).items():
            if is_due(track, now, self._rules) or is_over(track, now, self._rules):
                outcome.unmatched += [(hit, "no_send") for hit in track.waiting]
                result.tracks[message_id] = None
                result.rows.append((message_id.encode(), None))
        return self._tell(result, outcome, partition)

    def _sends(self, record: Record) -> Result:
        result = Result()
        outcome = Outcome()
        sends, bad = SEND.read(record.value)
        tracks = self._sort_out(result, record, sends, bad)
        for send in sends:
            track = tracks.get(send.message_id)
            if track is not None and take_send(track, send, self._rules, outcome):
                result.tracks[send.message_id] = track
        for hit in outcome.mismatched:
            # Its record is gone by now: the hit is written anew.
            self._reject(result, "hits", record, HIT.encode(hit), _mismatch())
        return self._finish(result, outcome, record.partition)

    def _hits(self, record: Record) -> Result:
        result = Result()
        outcome = Outcome()
        hits, bad = HIT.read(record.value)
        tracks = self._sort_out(result, record, hits, bad)
        for hit in hits:
            track = tracks.get(hit.message_id)
            if track is not None and take_hit(track, hit, self._rules, outcome):
                result.tracks[hit.message_id] = track
        for hit in outcome.mismatched:
            index = next(at for at, each in enumerate(hits) if each is hit)
            self._reject(result, "hits", record, _part(record.value, bad, index), _mismatch())
        return self._finish(result, outcome, record.partition)

    def _reclassified(self, record: Record) -> Result:
        result = Result()
        outcome = Outcome()
        mails, bad = RECLASSIFIED.read(record.value)
        result.taken_over["unreadable"] += len(bad)
        for mail in mails:
            track = self._load(record.partition, [mail.message_id])[mail.message_id]
            taken = take_over(track, mail, outcome)
            result.taken_over[taken] += 1
            if taken == "applied" and mail.track is not None:
                result.tracks[mail.message_id] = track
        result.read = len(mails)
        return self._finish(result, outcome, record.partition)

    def _removals(self, record: Record) -> Result:
        result = Result()
        removals, bad = REMOVAL.read(record.value)
        for _, error in bad:  # of our own writing: it is counted, and has no reject topic
            result.rejects[record.topic, error.reason] += 1
        for removal in removals:
            track = self._load(record.partition, [removal.message_id])[removal.message_id]
            if take_removal(track, removal):
                result.tracks[removal.message_id] = track
        result.read = len(removals)
        return self._finish(result, Outcome(), record.partition)

    def _sort_out(
        self,
        result: Result,
        record: Record,
        values: Sequence[Send | Hit],
        bad: list[tuple[bytes, InvalidError]],
    ) -> dict[str, Track]:
        """The tracks of the values; rejects the bad parts and what belongs to another partition.

        A track that has been written shows that its message belongs here, so the hash is computed
        for new messages only.
        """
        for part, error in bad:
            self._reject(result, record.topic, record, part, error)
        tracks = self._load(record.partition, {value.message_id for value in values})
        new = [message_id for message_id, track in tracks.items() if track.revision == 0]
        strange = {
            message_id: partition
            for message_id, partition in zip(new, partitions_of(new, self._partitions), strict=True)
            if partition != record.partition
        }
        result.read = len(values)
        if strange:
            for index, value in enumerate(values):
                if value.message_id in strange:
                    partition = strange[value.message_id]
                    text = f"belongs to partition {partition}; send it with Kafka's murmur2"
                    error = InvalidError("wrong_partition", text)
                    part = _part(record.value, bad, index)
                    self._reject(result, record.topic, record, part, error)
                    result.read -= 1
            for message_id in strange:
                del tracks[message_id]
        return tracks

    def _reject(
        self, result: Result, topic: str, record: Record, part: bytes, error: InvalidError
    ) -> None:
        value, headers = reject(part, error, record.topic, record.partition, record.offset)
        result.outputs.append(Output(f"{topic}.rejected", record.key, value, headers=headers))
        result.rejects[topic, error.reason] += 1

    def _finish(self, result: Result, outcome: Outcome, partition: int) -> Result:
        for message_id, track in result.tracks.items():
            assert track is not None  # noqa: S101 (only `expire` forgets)
            track.revision += 1
            result.rows.append((message_id.encode(), TRACK.encode(track)))
        return self._tell(result, outcome, partition)

    def _tell(self, result: Result, outcome: Outcome, partition: int) -> Result:
        events = outcome.events
        if outcome.revised:  # of an event that was told twice the last revision says all
            events = list({event.event_id: event for event in events}.values())
        if events:
            result.outputs += _event_records(events, partition)
        for hit, reason in outcome.unmatched:
            headers = [("mailwake-reason", reason.encode())]
            key = hit.message_id.encode()
            output = Output("hits.unmatched", key, HIT.encode(hit), headers=headers)
            result.outputs.append(output)
        result.events = Counter((event.kind, event.verdict) for event in events)
        result.told = events
        new = [event.at for event in events if event.revision == 1]
        result.revisions = len(events) - len(new)
        result.oldest = min(new, default=0)
        result.joined = outcome.joined
        result.drops = Counter(outcome.drops)
        result.unmatched = Counter(reason for _, reason in outcome.unmatched)
        return result


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
    """One array of events; several when they are very large."""
    value = EVENT.encode_many(events)
    if len(value) > EVENTS_BYTES and len(events) > 1:
        half = len(events) // 2
        return _event_records(events[:half], partition) + _event_records(events[half:], partition)
    return [Output("events", events[0].message_id.encode(), value, partition)]
