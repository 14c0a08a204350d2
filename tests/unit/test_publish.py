"""How sends are put into records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailwake import ids
from mailwake.contracts import SEND, Send
from mailwake.publish import BATCH_BYTES, BATCH_SENDS, batches


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


@given(st.lists(st.sampled_from([0, 1, 50, 200]), max_size=20))
def test_records_hold_all_sends_in_their_order(sizes: list[int]) -> None:
    sends = [send(size) for size in sizes]
    read: list[Send] = []
    for key, value in batches(sends):
        values, bad = SEND.read(value)
        assert not bad
        assert key == values[0].message_id.encode()
        assert len(value) <= BATCH_BYTES + 2 or len(values) == 1
        read += values
    assert read == sends


def test_a_record_holds_two_hundred_sends_and_no_more() -> None:
    sends = [send() for _ in range(2 * BATCH_SENDS + 1)]
    assert [len(SEND.read(value)[0]) for _, value in batches(sends)] == [200, 200, 1]
