"""What each topic's records give."""

from __future__ import annotations

from typing import Any

import pytest

from mailwake.contracts import CONSENT, DISPLAY, EVENT
from mailwake.track import TRACK
from mailwake_enricher.loader_batch import Batch
from mailwake_enricher.loader_sources import SOURCES, Source
from tests.unit.loader.values import consent, display, event, message_id, record, track

BY_NAME: dict[str, Source[Any]] = {source.name: source for source in SOURCES}


def read(topic: str, value: bytes | None, key: bytes | None = None) -> Any:
    return BY_NAME[topic].read(record(topic, value, key))


def test_a_batched_record_gives_all_its_values() -> None:
    both = [event(1), event(2)]
    assert len(read("events", EVENT.encode_many(both)).values) == 2
    assert read("events", EVENT.encode(both[0])).values[0].event_id == both[0].event_id
    assert read("events", b"[]").values == []


@pytest.mark.parametrize("value", [b"", b"no", b"[", None, b"[1]", b"{}"])
@pytest.mark.parametrize("topic", ["sends", "hits", "events"])
def test_a_batched_record_that_is_none_is_bad(topic: str, value: bytes | None) -> None:
    reading = read(topic, value)
    assert (reading.values, len(reading.bad), reading.erased) == ([], 1, None)


def test_a_display_and_its_tombstone() -> None:
    key = message_id(1).encode()
    assert read("displays", DISPLAY.encode(display(1)), key).values == [display(1)]
    assert read("displays", None, key).erased == message_id(1)


@pytest.mark.parametrize("key", [None, b"", b"x", message_id(2).encode(), b"A" * 32])
def test_a_display_whose_key_is_another_is_bad(key: bytes | None) -> None:
    reading = read("displays", DISPLAY.encode(display(1)), key)
    assert (reading.values, len(reading.bad)) == ([], 1)


@pytest.mark.parametrize("value", [b"", b"no", None, b"[]", b"[%b]" % CONSENT.encode(consent())])
def test_a_statement_is_one_value(value: bytes | None) -> None:
    assert read("consent_proofs", CONSENT.encode(consent(1))).values == [consent(1)]
    reading = read("consent_proofs", value)
    assert (reading.values, len(reading.bad)) == ([], 1)


@pytest.mark.parametrize("topic", ["displays", "tracks"])
def test_a_tombstone_without_a_message_id_is_bad(topic: str) -> None:
    reading = read(topic, None, b"x")
    assert (reading.erased, len(reading.bad)) == (None, 1)


def test_a_track_gives_a_row_when_its_send_is_known() -> None:
    key = message_id(1).encode()
    assert read("tracks", TRACK.encode(track(2)), key).values == [(message_id(1), track(2))]
    waiting = read("tracks", TRACK.encode(track(2, sent=False)), key)
    assert (waiting.values, waiting.bad) == ([], [])
    assert len(read("tracks", b"[2]", key).bad) == 1
    assert read("tracks", None, key).erased == message_id(1)


def batch_of(topic: str, *records: Any) -> Batch[Any]:
    batch = Batch(BY_NAME[topic])
    for each in records:
        batch.add(each, BY_NAME[topic].read(each))
    return batch


def displays(*each: tuple[int, str | None]) -> Batch[Any]:
    return batch_of(
        "displays",
        *(
            record(
                "displays",
                None if subject is None else DISPLAY.encode(display(number, subject)),
                message_id(number).encode(),
                offset,
            )
            for offset, (number, subject) in enumerate(each)
        ),
    )


def subjects(batch: Batch[Any]) -> list[tuple[str, str]]:
    return [(each.message_id, each.subject) for each in batch.rows()[0]]


def test_of_a_keyed_topic_the_last_of_each_key_counts() -> None:
    batch = displays((1, "a"), (2, "b"), (1, "c"))
    assert subjects(batch) == [(message_id(1), "c"), (message_id(2), "b")]
    assert [origin.offset for origin in batch.rows()[1]] == [2, 1]


def test_what_was_erased_after_is_no_row_and_what_came_again_is() -> None:
    batch = displays((1, "a"), (2, "b"), (1, None), (2, None), (2, "c"), (3, None))
    assert subjects(batch) == [(message_id(2), "c")]
    assert set(batch.erased) == {message_id(1), message_id(2), message_id(3)}


def test_the_ends_are_behind_the_last_record_of_each_partition() -> None:
    value = EVENT.encode(event())
    batch = batch_of(
        "events",
        record("events", value, offset=7, partition=1),
        record("events", b"no", offset=8, partition=1),
        record("events", value, offset=3, partition=2),
    )
    assert {tp.partition: end for tp, end in batch.ends.items()} == {1: 9, 2: 4}
    assert (len(batch.values), len(batch.rejects), batch.size) == (2, 1, 2 * len(value) + 2)


def test_values_that_do_not_pass_the_screen_are_rejected_byte_for_byte() -> None:
    bad = b'{"unknown": 1, ' + EVENT.encode(event(2)).replace(b'"acme"', b'"ACME"')[1:]
    good = EVENT.encode(event(1))
    whole = record("events", b"[%s, %s]" % (good, bad), b"key", 5)
    batch = batch_of("events", record("events", good, offset=4), whole)
    assert len(batch.values) == 3  # the screen has not looked yet
    columns, values, origins = batch.columns()
    assert columns["event_id"] == [event(1).event_id] * 2
    assert [origin.offset for origin in origins] == [4, 5]
    assert len(values) == 2
    (reject,) = batch.rejects
    assert (reject.data, reject.error.reason, reject.record) == (bad, "contract", whole)
    assert batch.columns()[0] == columns  # a second attempt finds the same
    assert len(batch.rejects) == 1
