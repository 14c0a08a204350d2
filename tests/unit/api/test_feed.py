"""The feed: what of a user's alerts is kept, in which order, and what a listener is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import ALERT, Alert, AlertReads
from mailwake_api.feed import Feed, Place
from mailwake_api.reads import Reads
from tests.unit.api.values import NOW, alert

KEEP_MS = 1000
PER_USER = 5
KEY = b"acme/ben"


def revised(number: int, revision: int) -> Alert:
    """A revision of an alert; a later one is of no earlier time, and some are too old."""
    return alert(number, revision, NOW - 1020 + 60 * (number % 4) + 25 * revision)


def fed(alerts: list[Alert], most: int = 1000) -> Feed:
    feed = Feed(PER_USER, most, KEEP_MS)
    for offset, each in enumerate(alerts):
        feed.take(KEY, each, 0, offset, NOW)
    return feed


def kept(feed: Feed, key: bytes = KEY, now: int = NOW) -> list[Alert]:
    return [ALERT.decode(item.data) for item in feed.of(key, now)]


TOLD = st.lists(st.builds(revised, st.integers(0, 9), st.integers(1, 4)), max_size=40)


@given(told=TOLD, data=st.data())
def test_any_order_and_any_repetition_gives_the_same_feed(
    told: list[Alert], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(told))) if told else []
    feed, other = fed(told), fed(data.draw(st.permutations(told + again)))
    assert kept(feed) == kept(other)
    assert feed.size == other.size == len(kept(feed))
    # Worked out on its own: the latest revision of each, and of these the newest five.
    latest = {each.alert_id: each for each in sorted(told, key=lambda one: one.revision)}
    young = [each for each in latest.values() if each.at > NOW - KEEP_MS]
    young.sort(key=lambda one: (one.at, one.alert_id), reverse=True)
    assert kept(feed) == young[:PER_USER]


@given(told=TOLD, stops=st.lists(st.integers(0, 40)))
def test_who_listens_ends_with_the_list_however_often_it_comes_back(
    told: list[Alert], stops: list[int]
) -> None:
    """A reader that takes what comes after its place, or the list when it missed something, has
    the same as one who reads the list at the end, and got no revision twice."""
    feed = Feed(PER_USER, 1000, KEEP_MS)
    after, known = Place(0, 0), {}
    got: list[tuple[str, int]] = []
    for offset, each in enumerate(told):
        feed.take(KEY, each, 0, offset, NOW)
        if offset in stops or offset == len(told) - 1:
            if feed.missed(KEY, after):
                known = {item.alert_id: item.revision for item in feed.of(KEY, NOW)}
            else:
                for item in feed.since(KEY, after, NOW):
                    known[item.alert_id] = item.revision
                    got.append((item.alert_id, item.revision))
                    assert item.told > after
            after = Place(0, offset + 1)
    listed = {item.alert_id: item.revision for item in feed.of(KEY, NOW)}
    assert {alert_id: known.get(alert_id) for alert_id in listed} == listed
    assert len(got) == len({*got})


@given(
    told=st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.integers(0, 5)), max_size=80
    )
)
def test_memory_is_bounded_and_what_is_let_go_is_not_called_told(
    told: list[tuple[bytes, int]],
) -> None:
    feed = Feed(PER_USER, 7, KEEP_MS)
    taken: dict[bytes, set[str]] = {}
    for offset, (key, number) in enumerate(told):
        each = alert(number, revision=offset + 1)
        if feed.take(key, each, 0, offset, NOW):
            taken.setdefault(key, set()).add(each.alert_id)
        assert feed.size <= 7
        assert feed.size == sum(len(feed.of(each, NOW)) for each in taken)
    for key, alert_ids in taken.items():
        standing = {item.alert_id for item in feed.of(key, NOW)}
        assert standing == alert_ids or feed.missed(key, Place(0, 0))
        assert not feed.missed(key, Place(0, len(told)))


def test_what_arrived_is_forgotten_when_it_is_too_old() -> None:
    feed = fed([alert(number, at=NOW + number) for number in range(PER_USER)])
    assert len(kept(feed, now=NOW + KEEP_MS)) == PER_USER - 1
    feed.take(b"acme/ada", alert(9, at=NOW + 5000), 0, 9, NOW + 5000)
    assert feed.size == 1
    assert kept(feed) == []


def test_revisions_without_end_take_no_memory() -> None:
    feed = Feed(PER_USER, 10_000, KEEP_MS)
    for offset in range(20_000):
        assert feed.take(KEY, alert(offset % 3, offset + 1), 0, offset, NOW)
    assert feed.size == 3
    assert len(feed._arrived) <= 2001


def test_revisions_of_alerts_of_a_user_who_has_had_more_take_no_memory() -> None:
    feed = fed([alert(number, at=NOW + number) for number in range(2 * PER_USER)])
    for offset in range(10, 1000):
        feed.take(KEY, alert(9, offset, at=NOW + offset), 0, offset, NOW)
        assert len(feed._boxes[KEY]._ranks) <= 2 * PER_USER
    feed.take(KEY, alert(20, at=NOW + 8), 0, 1000, NOW)
    assert [each.at - NOW for each in kept(feed)] == [999, 8, 8, 7, 6]


@pytest.mark.parametrize(
    "text", ["", "-", "1", "1-", "-1", "1--2", "1-2-3", "a-1", "1-\u0662", "1-2\n", "9" * 30 + "-1"]
)
def test_what_is_no_place_is_none(text: str) -> None:
    assert Place.read(text) is None


def test_a_place_is_read_as_it_is_written() -> None:
    assert Place.read(str(Place(3, 17))) == Place(3, 17)


def test_a_writer_sees_what_others_wrote_meanwhile() -> None:
    reads = Reads()

    def take(*ids: str) -> None:
        reads.take(KEY, AlertReads("acme", "ben", NOW, list(ids)))

    take("a")
    with reads.watching(KEY) as seen:
        take("a", "b")
        take("c")
        assert seen == {"a", "b", "c"}
        assert reads.of(KEY) == {"c"}
    take("d")
    assert seen == {"a", "b", "c"}
    reads.take(KEY, None)
    assert reads.of(KEY) == frozenset()
