"""How sends are put into records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailwake import ids
from mailwake.contracts import SEND, Send
from mailwake.publish import BATCH, BATCH_BYTES, batches


def send(links: int = 0) -> Send:
    return Send(
        message_id=ids.new_message_id(),
        tenant="acme",
        user="ben",
        sent_at=ids.now_ms(),
        recipient_count=1,
        mode="anonymous",
        opens=True,
        clicks=links > 0,
        links=["https://example.org/" + "x" * 4000] * links,
    )


@given(st.lists(st.sampled_from([0, 1, 50, 200]), max_size=20), st.integers(1, 5))
def test_records_hold_all_sends_of_a_partition_in_their_order(
    sizes: list[int], partitions: int
) -> None:
    sends = [send(size) for size in sizes]
    partition_of = ids.partitioner(partitions)
    read: dict[int, list[Send]] = {}
    for partition, key, value in batches(sends, SEND, partitions):
        values, bad = SEND.read(value)
        assert not bad
        assert key == values[0].message_id.encode()
        assert len(value) <= BATCH_BYTES + 2 or len(values) == 1
        read.setdefault(partition, []).extend(values)
    for partition in range(partitions):
        mine = [each for each in sends if partition_of(each.message_id.encode()) == partition]
        assert read.get(partition, []) == mine


def test_a_record_holds_two_hundred_sends_and_no_more() -> None:
    sends = [send() for _ in range(2 * BATCH + 1)]
    records = batches(sends, SEND, 1)
    assert [len(SEND.read(value)[0]) for _, _, value in records] == [200, 200, 1]
