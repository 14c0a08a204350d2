"""When an alert is told, counted up and withdrawn, and what is held meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from mailwake.contracts import Verdict
from mailwake_notifier.decide import Drop, Times, settle_ms
from mailwake_notifier.settling import Partition, remember_ms
from mailwake_notifier.windows import MOST_ACTS
from tests.unit.notifier.values import EVER, NOW, TIMES, Told, Wish, event, ids_of, last

CERTAIN: dict[str, Any] = {"reasons": ["mail_program"]}
SCANNED: dict[str, Any] = {"verdict": "scanner", "reasons": ["link_burst"], "first": False}


def test_an_open_is_told_when_its_window_closes() -> None:
    told = Told()
    assert told.take(0, event()) == []
    assert told.settle(4999) == []
    (alert,) = told.settle(5000)
    assert (alert.kind, alert.count, alert.last_at, alert.revision) == ("open", 1, 0, 1)
    assert told.settle() == []


def test_a_record_of_a_later_time_closes_windows() -> None:
    """So a replay tells what was told, whenever it is read."""
    told = Told()
    told.take(0, event())
    (alert,) = told.take(5000, event(1, message_id="3" * 32))
    assert alert.alert_id == ids_of([event()])[0]


@pytest.mark.parametrize(
    ("given", "waits_ms"),
    [
        ({}, 5_000),
        (CERTAIN, 0),
        ({"verdict": "proxy", "reasons": ["gmail_proxy"]}, 0),
        ({"score": 95, "reasons": ["gmail_proxy"]}, 0),
        ({"score": 94, "reasons": ["gmail_proxy"]}, 5_000),
        ({"score": 90}, 5_000),
        ({"score": 89, "reasons": ["no_machine_sign", "soon_after_send"]}, 15_000),
        ({"verdict": "proxy", "score": 60, "reasons": ["outlook_proxy"]}, 15_000),
        ({"reasons": ["agent_withheld"]}, 5_000),
        ({"reasons": []}, 5_000),
        ({"score": 0, "rules_version": 0, "reasons": []}, 5_000),  # of an earlier release
    ],
)
def test_the_window_is_as_long_as_the_event_is_doubtful(
    given: dict[str, Any], waits_ms: int
) -> None:
    made = event(**given)
    assert settle_ms(made, TIMES) == waits_ms
    told = Told()
    at_once = told.take(0, made)
    assert len(at_once) == (waits_ms == 0)
    assert at_once or (told.settle(waits_ms - 1) == [] and len(told.settle(waits_ms)) == 1)


def test_with_windows_of_no_time_all_is_told_at_once() -> None:
    told = Told(times=Times(settle_ms=0, doubtful_ms=0))
    assert len(told.take(0, event(), event(1, link=0, score=60))) == 2


def test_what_turns_out_a_machines_within_its_window_is_not_told() -> None:
    told = Told()
    told.take(0, event())
    assert told.take(1000, event(revision=2, **SCANNED)) == []
    assert told.settle() == []
    assert told.partition.committable == 2


def test_a_revision_within_the_window_replaces_the_event_and_does_not_prolong_it() -> None:
    told = Told()
    told.take(0, event())
    told.take(4000, event(revision=3, verdict="proxy", score=92))
    (alert,) = told.settle(5000)
    assert (alert.verdict, alert.revision) == ("proxy", 3)


def test_a_revision_to_something_certain_is_told_at_once() -> None:
    told = Told()
    told.take(0, event())
    assert len(told.take(1000, event(revision=2, **CERTAIN))) == 1


def test_what_turns_out_a_machines_after_it_was_told_is_withdrawn_at_once() -> None:
    told = Told()
    told.take(0, event())
    (alert,) = told.settle(5000)
    (again,) = told.take(9000, event(revision=2, **SCANNED))
    assert again == replace(
        alert, revision=2, verdict="scanner", reasons=["link_burst"], withdrawn=True
    )
    assert told.take(10_000, event(revision=3, **SCANNED)) == []
    assert last(told.alerts) == {}


def test_what_is_a_persons_after_all_is_told_again() -> None:
    told = Told()
    told.take(0, event())
    told.settle(5000)
    told.take(6000, event(revision=2, **SCANNED))
    (alert,) = told.take(9000, event(revision=4))
    assert (alert.withdrawn, alert.revision) == (False, 4)
    assert [*last(told.alerts).values()] == [alert]


def test_when_the_first_was_a_scanners_the_one_after_it_is_told() -> None:
    told = Told()
    told.take(0, event())
    told.settle(5000)
    told.take(60_000, event(1, at=NOW + 60_000, first=False))
    told.settle(70_000)
    told.take(
        70_000, event(revision=2, **SCANNED), event(1, at=NOW + 60_000, revision=2, first=True)
    )
    ((name, alert),) = last(told.alerts).items()
    assert name == ids_of([event(1)])[0]
    assert (alert.count, alert.at) == (1, NOW + 60_000)


@pytest.mark.parametrize("verdict", ["prefetch", "scanner", "self"])
def test_machines_and_the_sender_are_never_told(verdict: Verdict) -> None:
    told = Told()
    told.take(0, event(verdict=verdict), event(1, link=0, verdict=verdict, returned=True))
    assert told.settle() == []
    assert told.dropped == [Drop.NOT_A_PERSON] * 2
    assert told.partition.waiting == 0


def test_opens_within_ten_minutes_are_one_alert_counted_up() -> None:
    told = Told()
    for number, at in enumerate([0, 100_000, 599_999, 600_000]):
        told.take(at, event(number, at=NOW + at, first=number == 0))
        told.settle(at + 5000)
    assert [alert.count for alert in told.alerts] == [1, 2, 3]
    assert [alert.revision for alert in told.alerts] == [1, 2, 3]
    assert [alert.last_at for alert in told.alerts] == [0, NOW + 100_000, NOW + 599_999]
    assert {alert.alert_id for alert in told.alerts} == {*ids_of([event()])}
    assert told.dropped == [Drop.NOT_FIRST] * 3


def test_what_came_within_one_window_is_told_in_one() -> None:
    told = Told()
    for number in range(4):
        told.take(number * 1000, event(number, at=NOW + number * 1000, first=number == 0))
    assert [alert.count for alert in told.settle()] == [4]


def test_a_counted_open_that_was_a_scanners_is_counted_no_more() -> None:
    told = Told()
    told.take(0, event())
    told.take(10_000, event(1, at=NOW + 10_000, first=False))
    told.settle(20_000)
    told.take(30_000, event(1, at=NOW + 10_000, revision=2, **SCANNED))
    (alert,) = last(told.alerts).values()
    assert (alert.count, alert.last_at) == (1, 0)


def test_each_link_alerts_once_and_beside_the_open() -> None:
    told = Told()
    told.take(0, event())
    told.take(1000, event(1, link=0, at=NOW + 1000), event(2, link=1, at=NOW + 1000))
    told.take(2000, event(3, link=1, at=NOW + 2000, first=False))
    told.settle()
    assert sorted((alert.kind, alert.link or 0, alert.count) for alert in told.alerts) == [
        ("click", 0, 1),
        ("click", 1, 2),
        ("open", 0, 1),
    ]


def test_an_open_that_a_click_implies_is_told_by_the_click() -> None:
    told = Told()
    told.take(0, event(1, link=0), event(2, implied=True))
    assert [alert.kind for alert in told.settle()] == ["click"]
    assert told.dropped == [Drop.TOLD_OTHERWISE]


def test_a_return_is_an_alert_of_its_own() -> None:
    told = Told()
    day = 86_400_000
    told.take(0, event())
    told.take(day, event(1, at=NOW + day, first=False, returned=True))
    told.take(day + 9000, event(2, at=NOW + day + 9000, first=False))
    told.settle()
    first, back = last(told.alerts).values()
    assert (first.returned, first.count) == (False, 1)
    assert (back.returned, back.count, back.alert_id) == (True, 2, ids_of([event(1)])[0])


def test_a_forward_is_no_open_of_the_mail() -> None:
    told = Told()
    told.take(0, event(), event(1, at=NOW + 1, first=False, forward=True))
    assert [alert.count for alert in told.settle()] == [1]


def test_an_earlier_open_that_comes_late_takes_the_alert_over() -> None:
    told = Told()
    told.take(0, event())
    told.settle(5000)
    told.take(8000, event(revision=2, first=False), event(1, at=NOW - 3000))
    told.settle()
    (alert,) = last(told.alerts).values()
    assert (alert.event_id, alert.count, alert.last_at) == (event(1).event_id, 2, NOW)


@pytest.mark.parametrize("reason", [Drop.NOT_WANTED, Drop.MUTED])
def test_who_wants_none_gets_none(reason: Drop) -> None:
    told = Told(Wish(against_all=reason))
    told.take(0, event())
    assert told.settle() == []
    assert told.dropped == [reason]


def test_a_wish_that_comes_later_takes_nothing_back() -> None:
    wish = Wish()
    told = Told(wish)
    told.take(0, event())
    told.settle(5000)
    wish.against_all = Drop.NOT_WANTED
    told.take(6000, event(revision=2), event(1, at=NOW + 6000, first=False))
    told.settle()
    (alert,) = last(told.alerts).values()
    assert (alert.revision, alert.count) == (2, 1)


def test_in_quiet_hours_it_is_told_and_does_not_ring() -> None:
    told = Told(Wish(hours=range(NOW, NOW + 1000)))
    told.take(0, event())
    told.take(1000, event(1, link=0))
    told.take(1001, event(2, first=False, at=NOW + 1001))
    assert sorted((alert.kind, alert.quiet) for alert in told.settle()) == [
        ("click", False),
        ("open", True),  # as it was when it began
    ]


def test_copies_of_an_event_change_nothing() -> None:
    told = Told()
    told.take(0, event(), event())
    told.settle(5000)
    told.take(6000, event())
    told.settle()
    assert len(told.alerts) == 1


def test_an_unreadable_record_is_counted_and_passed_over() -> None:
    partition = Partition(Wish(), TIMES, 0)
    for offset, value in enumerate((None, b"opened", b"[[]]")):
        assert partition.take(offset, NOW, value, NOW).dropped == {Drop.UNREADABLE: 1}
    assert partition.committable == 3


def test_no_more_is_committed_than_what_is_settled() -> None:
    told = Told()
    assert told.partition.committable == 0
    told.take(0, event(verdict="scanner"))
    assert told.partition.committable == 1
    told.take(100, event(1, message_id="3" * 32, score=60))  # waits for 15 s
    told.take(200, event(2))
    told.take(300, event(3, verdict="scanner"))
    assert told.partition.committable == 1
    told.settle(6000)
    assert (told.partition.committable, told.partition.waiting) == (1, 1)
    told.settle(15_100)
    assert (told.partition.committable, told.partition.waiting) == (4, 0)


def test_what_is_read_once_more_is_not_told_but_known() -> None:
    """Whoever takes a partition over at offset 2 counts up what was told before."""
    before = Told()
    records = [
        event(),
        event(1, at=NOW + 9000, first=False),
        event(2, at=NOW + 20_000, first=False),
    ]
    for each in records:
        before.take(each.at - NOW, each)
    after = Told()
    after.partition = Partition(Wish(), TIMES, told_until=2)
    for each in records[:2]:
        assert after.partition.committable is None
        assert after.take(each.at - NOW, each) == []
    assert after.dropped == []
    after.take(20_000, records[2])
    (alert,) = after.settle()
    assert alert == before.settle()[-1]
    assert (alert.count, alert.revision) == (3, 3)


def test_what_another_may_have_told_too_early_is_withdrawn() -> None:
    """Clocks differ: the one that ended may have told it before this revision came."""
    for unsure_until, withdrawn in ((0, 0), (2, 1)):
        told = Told()
        told.partition = Partition(Wish(), TIMES, 0, unsure_until)
        told.take(0, event())
        alerts = told.take(4000, event(revision=2, **SCANNED))
        assert [alert.withdrawn for alert in alerts] == [True] * withdrawn
        assert told.settle() == []


def test_a_record_from_the_future_does_not_hold_the_others() -> None:
    told = Told()
    partition = told.partition
    partition.take(0, NOW + 10**9, b"", NOW)
    told.offset = 1
    told.take(0, event())
    assert len(told.settle(5000)) == 1


def test_memory_is_bounded_by_time_and_by_number() -> None:
    partition = Partition(Wish(), TIMES, 0, most=100)
    told = Told()
    told.partition = partition
    for number in range(300):
        told.take(number * 10, event(number, message_id=f"{number:032x}", **CERTAIN))
    assert len(partition._known) == 100
    assert partition.let_go == 200
    late = remember_ms(TIMES) + 3000
    told.take(late, event(1000, at=NOW + late, message_id="f" * 32))
    assert len(partition._known) == 1
    assert partition.let_go == 200
    told.settle(late + 5000)
    assert not partition._held


def test_a_mail_that_is_opened_often_takes_the_room_of_several() -> None:
    told = Told()
    told.partition = Partition(Wish(), TIMES, 0, most=100)
    for number in range(100):
        opens = [event(number * 4 + each, message_id=f"{number:032x}") for each in range(4)]
        told.take(number * 10, *opens)
    told.settle()
    told.take(1000, event(1000, message_id="f" * 32, **CERTAIN))
    assert sum(map(len, told.partition._known.values())) <= 100
    assert told.partition.let_go == 100 - len(told.partition._known) + 1


def test_a_window_that_is_open_is_not_forgotten() -> None:
    told = Told()
    told.partition = Partition(Wish(), TIMES, 0, most=1)
    for number in range(10):
        told.take(number, event(number, message_id=f"{number:032x}"))
    assert len(told.settle()) == 10


def test_of_one_mail_no_more_is_known_than_so_much() -> None:
    told = Told()
    for number in range(MOST_ACTS + 50):
        told.take(number, event(number, at=NOW + number, first=number == 0))
    assert [alert.count for alert in told.settle()] == [MOST_ACTS]
    assert told.settle(EVER - NOW) == []
