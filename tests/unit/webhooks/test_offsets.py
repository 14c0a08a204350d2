"""What may be committed, whatever order records are done in."""

from __future__ import annotations

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from mailwake_webhooks.offsets import Offsets
from mailwake_webhooks.waiting import MOST, Waiting
from tests.unit.webhooks.values import delivery

ONE, TWO = TopicPartition("alerts", 0), TopicPartition("alerts", 1)


@given(st.permutations(range(8)), st.integers(0, 8))
def test_nothing_undone_is_committed_and_all_that_may_be_is(order: list[int], count: int) -> None:
    offsets = Offsets()
    for offset in range(8):
        offsets.begin(ONE, offset)
    done = set(order[:count])
    for offset in order[:count]:
        offsets.done(ONE, offset)
    first = min(set(range(8)) - done, default=8)
    assert offsets.to_commit() == {ONE: first}
    offsets.committed({ONE: first})
    assert offsets.to_commit() == {}
    assert offsets.undone == 8 - count


def test_a_partition_that_was_taken_away_is_not_committed() -> None:
    offsets = Offsets()
    offsets.begin(ONE, 5)
    offsets.begin(TWO, 7)
    offsets.forget(ONE)
    offsets.done(ONE, 5)
    offsets.done(TWO, 7)
    assert offsets.to_commit() == {TWO: 8}


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 50))
def test_what_waits_comes_at_its_time(times: list[int], now: int) -> None:
    waiting = Waiting()
    for offset, at in enumerate(times):
        waiting.add(ONE, offset, delivery(), at)
    assert waiting.next_at() == min(times, default=None)
    came = [offset for _, offset, _ in waiting.due(now)]
    assert sorted(came) == [offset for offset, at in enumerate(times) if at <= now]
    assert waiting.next_at() == min((at for at in times if at > now), default=None)


def test_a_partition_is_not_read_on_while_much_of_it_waits() -> None:
    waiting = Waiting()
    for offset in range(MOST):
        assert not waiting.full()
        waiting.add(ONE, offset, delivery(), 1)
    assert waiting.full() == {ONE}
    waiting.forget([ONE])
    assert (waiting.full(), waiting.next_at()) == (set(), None)
