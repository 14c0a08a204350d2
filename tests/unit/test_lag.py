"""What Prometheus is told of a group's member: its lag and its last commits, by partition."""

from __future__ import annotations

import itertools
import time

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from mailwake.lag import Lag

_names = map("lag-{}".format, itertools.count())


class Group:
    """A topic of its own whose end and clock the test sets."""

    def __init__(self) -> None:
        self.topic = next(_names)
        self.ends: dict[TopicPartition, int] = {}
        self.now = 0.0
        self.lag: Lag[TopicPartition] = Lag("pre.", self.ends.get, lambda: self.now)

    def part(self, number: int) -> TopicPartition:
        return TopicPartition(f"pre.{self.topic}", number)

    def shown(self, what: str, number: int) -> float | None:
        return REGISTRY.get_sample_value(
            f"mailwake_{what}", {"topic": self.topic, "partition": str(number)}
        )

    def measure(self, *numbers: int) -> None:
        self.now += 1
        self.lag.measure(map(self.part, numbers))


@pytest.fixture
def group() -> Group:
    return Group()


def test_it_is_what_is_not_committed(group: Group) -> None:
    group.ends[group.part(0)] = 10
    group.lag.begins(group.part(0), 4)
    group.measure(0)
    assert group.shown("lag_records", 0) == 6
    group.lag.begins(group.part(0), 9)  # it has begun already
    group.lag.committed({group.part(0): 7})
    group.measure(0)
    assert group.shown("lag_records", 0) == 3


def test_it_is_not_told_before_it_is_known(group: Group) -> None:
    group.measure(0)
    assert group.shown("lag_records", 0) is None
    group.lag.committed({group.part(0): 7})
    group.measure(0)
    assert group.shown("lag_records", 0) is None


def test_a_partition_is_as_old_as_its_last_commit(group: Group) -> None:
    before = time.time()
    group.measure(0)
    began = group.shown("partition_committed_at_seconds", 0)
    assert began is not None
    assert began >= before
    group.measure(0)
    assert group.shown("partition_committed_at_seconds", 0) == began
    group.lag.committed({group.part(0): 1})
    committed = group.shown("partition_committed_at_seconds", 0)
    assert committed is not None
    assert committed > began


def test_what_another_has_now_is_shown_no_more(group: Group) -> None:
    for number in (0, 1):
        group.ends[group.part(number)] = 5
        group.lag.begins(group.part(number), 0)
    group.measure(0, 1)
    group.measure(1)
    assert group.shown("lag_records", 0) is None
    assert group.shown("partition_committed_at_seconds", 0) is None
    assert group.shown("lag_records", 1) == 5
    group.lag.begins(group.part(0), 4)  # it came back, and had been read further by another
    group.measure(0, 1)
    assert group.shown("lag_records", 0) == 1


def test_it_asks_once_a_second(group: Group) -> None:
    group.ends[group.part(0)] = 5
    group.lag.begins(group.part(0), 0)
    group.measure(0)
    group.ends[group.part(0)] = 9
    group.now += 0.5
    group.lag.measure([group.part(0)])
    assert group.shown("lag_records", 0) == 5
