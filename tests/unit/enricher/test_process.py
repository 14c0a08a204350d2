"""A record in, rows and records out: what the processor makes of each."""

from __future__ import annotations

import msgspec
import pytest

from mailwake.contracts import EVENT, HIT, SEND, Hit, Send
from mailwake.ids import new_message_id
from mailwake.rejects import MAX_REJECT_BYTES
from mailwake.track import Track
from mailwake_enricher.process import EVENTS_BYTES, Result
from mailwake_enricher.waiting import Waiting, may_wait
from tests.unit.enricher.table import PARTITION, PARTITION_OF, Table
from tests.unit.enricher.values import MESSAGE, NOW, RULES, hit, send


def elsewhere() -> str:
    """A message of another partition."""
    while PARTITION_OF((message := new_message_id()).encode()) == PARTITION:
        pass
    return message


def neighbours(count: int) -> list[str]:
    """Messages of the same partition."""
    found: list[str] = []
    while len(found) < count:
        message = new_message_id()
        if PARTITION_OF(message.encode()) == PARTITION:
            found.append(message)
    return found


def told(result: Result, topic: str) -> list[tuple[str, bytes]]:
    """Reason and value of what went to a topic."""
    return [
        (dict(output.headers)["mailwake-reason"].decode(), output.value)
        for output in result.outputs
        if output.topic == topic
    ]


def test_the_events_of_a_record_are_one_record_of_its_partition() -> None:
    table = Table()
    messages = neighbours(3)
    table.take("sends", SEND.encode_many([send(message_id=message) for message in messages]))
    result = table.take("hits", HIT.encode_many([hit(message_id=message) for message in messages]))
    (output,) = result.outputs
    assert (output.topic, output.partition, output.key) == (
        "events",
        PARTITION,
        messages[0].encode(),
    )
    events, bad = EVENT.read(output.value)
    assert [event.message_id for event in events] == messages
    assert not bad
    assert result.events == {("open", "human"): 3}


def test_a_track_is_written_once_a_record() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    hits = [hit(link=link, at=NOW + 60_000 * link) for link in range(5)]
    result = table.take("hits", HIT.encode_many(hits))
    ((key, row),) = result.rows
    assert key == MESSAGE.encode()
    assert row is not None
    assert (table.track().clicks, table.track().revision) == (5, 2)


def test_of_an_event_a_record_tells_the_last_revision() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    result = table.take("hits", HIT.encode_many([hit(link=link) for link in range(5)]))
    (output,) = result.outputs
    events, _ = EVENT.read(output.value)
    assert len({event.event_id for event in events}) == len(events) == 6
    assert {event.verdict for event in events} == {"scanner"}
    assert result.events == {("click", "scanner"): 5, ("open", "scanner"): 1}


def test_a_record_of_copies_writes_nothing() -> None:
    table = Table()
    value = HIT.encode_many([hit(), hit(link=0)])
    table.take("sends", SEND.encode(send()))
    table.take("hits", value)
    result = table.take("hits", value)
    assert (result.rows, result.outputs, result.drops) == ([], [], {"duplicate": 2})
    assert table.take("sends", SEND.encode(send())).rows == []


@pytest.mark.parametrize("topic", ["sends", "hits"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"a":' * 50_000, "not_json"),
        (b"[]x", "not_json"),
        (b"17", "contract"),
        (b'{"v":2}', "contract"),
        (b'[{"hit_id":"x"}]', "contract"),
    ],
)
def test_what_cannot_be_read_is_rejected_byte_for_byte(
    topic: str, value: bytes, reason: str
) -> None:
    result = Table().take(topic, value)
    (output,) = result.outputs
    headers = dict(output.headers)
    assert output.topic == f"{topic}.rejected"
    assert headers["mailwake-reason"] == reason.encode()
    assert headers["mailwake-source"] == f"{topic}/{PARTITION}/1".encode()
    assert output.key == MESSAGE.encode()
    assert output.value in (value, value.strip(b"[]"))
    assert result.rejects == {(topic, reason): 1}
    assert result.rows == []


def test_one_bad_part_does_not_cost_its_neighbours() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    good = [HIT.encode(hit()), HIT.encode(hit(link=0))]
    bad = b'{"hit_id": "no"}'
    result = table.take("hits", b"[" + b" , ".join([good[0], bad, good[1]]) + b"]")
    assert told(result, "hits.rejected") == [("contract", bad)]
    assert sum(result.events.values()) == 2


def test_a_value_of_another_partition_is_rejected_as_it_came() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    foreign = HIT.encode(hit(message_id=elsewhere())).replace(b'{"', b'{ "', 1)
    parts = [HIT.encode(hit()), b"7", foreign, b"8", HIT.encode(hit(link=0))]
    result = table.take("hits", b"[" + b",".join(parts) + b"]")
    assert told(result, "hits.rejected") == [
        ("contract", b"7"),
        ("contract", b"8"),
        ("wrong_partition", foreign),
    ]
    assert sum(result.events.values()) == 2
    alone = SEND.encode(send(message_id=elsewhere()))
    assert told(table.take("sends", alone), "sends.rejected") == [("wrong_partition", alone)]


def test_a_hit_of_another_tenant_is_rejected_once() -> None:
    table = Table()
    stranger = HIT.encode(hit(tenant="other"))
    table.take("sends", SEND.encode(send()))
    result = table.take("hits", b"[" + HIT.encode(hit()) + b"," + stranger + b"]")
    assert told(result, "hits.rejected") == [("tenant_mismatch", stranger)]
    assert sum(result.events.values()) == 1
    assert table.take("hits", stranger).drops == {"duplicate": 1}


def test_a_waiting_hit_of_another_tenant_is_rejected_when_its_send_comes() -> None:
    table = Table()
    stranger = HIT.encode(hit(tenant="other"))
    assert table.take("hits", stranger).outputs == []
    result = table.take("sends", SEND.encode(send()))
    assert told(result, "hits.rejected") == [("tenant_mismatch", stranger)]
    assert table.track().waiting == []


def test_what_is_too_large_to_be_kept_is_cut() -> None:
    value = b'"' + b"x" * MAX_REJECT_BYTES
    ((reason, kept),) = told(Table().take("hits", value), "hits.rejected")
    assert (reason, kept) == ("too_large", value[:MAX_REJECT_BYTES])


def test_very_large_events_are_split() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    target = "https://example.org/" + "x" * 8000
    clicks = [hit(link=link, target=target, at=NOW + 60_000 * link) for link in range(100)]
    result = table.take("hits", HIT.encode_many(clicks))
    assert len(result.outputs) == 4
    events = [event for output in result.outputs for event in EVENT.read(output.value)[0]]
    assert [event.hit_id for event in events if not event.implied] == [
        each.hit_id for each in clicks
    ]
    assert all(len(output.value) < EVENTS_BYTES + 20_000 for output in result.outputs)
    assert {output.partition for output in result.outputs} == {PARTITION}


@pytest.mark.fault(13)
def test_what_waited_too_long_is_unmatched_and_forgotten() -> None:
    table = Table()
    early = [hit(at=NOW), hit(link=0, at=NOW + 1)]
    table.take("hits", HIT.encode_many(early))
    due = NOW + RULES.join_wait_ms
    assert table.processor.expire(PARTITION, [MESSAGE], due - 1).outputs == []
    result = table.keep(table.processor.expire(PARTITION, [MESSAGE], due))
    assert told(result, "hits.unmatched") == [("no_send", HIT.encode(each)) for each in early]
    assert [output.key for output in result.outputs] == [MESSAGE.encode()] * 2
    assert result.unmatched == {"no_send": 2}
    assert table.rows == {}


def test_a_track_that_is_over_is_forgotten() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    table.take("hits", HIT.encode(hit(at=NOW)))
    assert table.processor.expire(PARTITION, [MESSAGE], NOW).rows == []
    result = table.keep(table.processor.expire(PARTITION, [MESSAGE], NOW + RULES.keep_ms))
    assert (result.rows, result.outputs) == ([(MESSAGE.encode(), None)], [])
    assert table.rows == {}


def test_a_replayed_hit_joins_its_late_send_once() -> None:
    table = Table()
    early = hit(at=NOW)
    table.take("hits", HIT.encode(early))
    table.keep(table.processor.expire(PARTITION, [MESSAGE], NOW + RULES.join_wait_ms))
    table.take("sends", SEND.encode(send()))
    replayed = HIT.encode(msgspec.structs.replace(early, replayed=True))
    assert sum(table.take("hits", replayed).events.values()) == 1
    assert table.take("hits", replayed).drops == {"duplicate": 1}
    assert table.take("hits", HIT.encode(early)).drops == {"duplicate": 1}


@pytest.mark.fault(12)
def test_a_late_send_is_not_given_up() -> None:
    table = Table()
    table.take("hits", HIT.encode(hit()))
    table.take("sends", SEND.encode(send()))
    result = table.processor.expire(PARTITION, [MESSAGE], NOW + 2 * RULES.join_wait_ms)
    assert (result.outputs, result.rows) == ([], [])


def test_the_index_of_waiting_tracks() -> None:
    waiting = Waiting(RULES)
    track = Track(waiting=[hit(at=NOW)])
    waiting.note(1, MESSAGE, track)
    assert len(waiting) == 1
    assert waiting.due(NOW + RULES.join_wait_ms - 1) == {}
    assert waiting.due(NOW + RULES.join_wait_ms) == {1: [MESSAGE]}
    waiting.note(1, MESSAGE, None)
    assert len(waiting) == 0


@pytest.mark.parametrize("values", [[hit()], [send()], [hit(), send()]])
def test_a_waiting_row_is_told_without_decoding_it(values: list[Send | Hit]) -> None:
    table = Table()
    for value in values:
        if isinstance(value, Send):
            table.take("sends", SEND.encode(value))
        else:
            table.take("hits", HIT.encode(value))
    assert may_wait(table.rows[MESSAGE.encode()]) == (table.track().send is None)


def test_what_is_measured_of_a_record() -> None:
    table = Table()
    first, second = neighbours(2)
    early = hit(message_id=first, at=NOW - 5000)
    assert table.take("hits", HIT.encode(early)).oldest == 0  # it waits for its send
    joined = table.take("sends", SEND.encode(send(message_id=first)))
    assert (joined.joined, joined.oldest, joined.revisions) == ([NOW - 5000], NOW - 5000, 0)
    assert [event.hit_id for event in joined.told] == [early.hit_id]
    table.take("sends", SEND.encode(send(message_id=second)))
    hits = [hit(message_id=second, at=NOW + each) for each in (300, 100)]
    result = table.take("hits", HIT.encode_many(hits))
    assert result.oldest in (NOW + 100, NOW + 300)
    assert result.joined == []
