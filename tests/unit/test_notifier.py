"""Which events become alerts."""

import msgspec
import pytest

from mailwake import ids
from mailwake.contracts import PERSON, Alert, Event, Preference, Verdict
from mailwake_notifier.decide import Drop
from mailwake_notifier.notice import alert_of
from mailwake_notifier.wishes import wanted

EVENT = Event(
    event_id=ids.event_id("1" * 32, "click"),
    revision=1,
    hit_id="1" * 32,
    kind="click",
    at=1_767_225_660_000,
    tenant="acme",
    user="u-1042",
    message_id="2" * 32,
    recipient=1,
    recipient_count=1,
    mode="identified",
    verdict="human",
    reasons=["browser"],
    first=True,
    sent_at=1_767_225_600_000,
    recipient_id="3" * 32,
    link=0,
    target="https://example.com/",
    network="203.0.113.0/24",
    agent="Thunderbird",
    tag="spring",
)


DAY_MS = 86_400_000


def told(event: Event) -> Alert | Drop:
    """What comes of an event that was told two seconds after it happened."""
    return alert_of(event, event.at + 2000, DAY_MS)


def test_a_persons_first_is_told() -> None:
    assert told(EVENT) == Alert(
        alert_id=ids.alert_id(EVENT.event_id, "acme", "u-1042"),
        revision=1,
        event_id=EVENT.event_id,
        kind="click",
        at=EVENT.at,
        tenant="acme",
        user="u-1042",
        message_id=EVENT.message_id,
        recipient=1,
        recipient_count=1,
        verdict="human",
        reasons=["browser"],
        recipient_id="3" * 32,
        link=0,
        target="https://example.com/",
        tag="spring",
    )


@pytest.mark.parametrize("verdict", ["human", "proxy", "prefetch", "scanner", "self"])
def test_only_persons_are_told(verdict: Verdict) -> None:
    made = told(msgspec.structs.replace(EVENT, verdict=verdict))
    assert isinstance(made, Alert) == (verdict in PERSON)
    assert isinstance(made, Alert) or made is Drop.NOT_A_PERSON


def test_what_is_not_first_is_not_told() -> None:
    assert told(msgspec.structs.replace(EVENT, first=False)) is Drop.NOT_FIRST


def test_a_revision_replaces_the_same_alert() -> None:
    first, later = told(EVENT), told(msgspec.structs.replace(EVENT, revision=2))
    assert isinstance(first, Alert)
    assert isinstance(later, Alert)
    assert later == msgspec.structs.replace(first, revision=2)


def test_a_revision_to_a_machine_is_not_told() -> None:
    revised = msgspec.structs.replace(EVENT, revision=2, verdict="scanner", first=False)
    assert told(revised) is Drop.NOT_A_PERSON


def test_an_alert_says_neither_network_nor_agent() -> None:
    made = told(EVENT)
    assert isinstance(made, Alert)
    said = msgspec.json.encode(made)
    assert EVENT.network.encode() not in said
    assert EVENT.agent.encode() not in said


def test_users_of_one_event_have_alerts_of_their_own() -> None:
    one, other = told(EVENT), told(msgspec.structs.replace(EVENT, user="u-7"))
    assert isinstance(one, Alert)
    assert isinstance(other, Alert)
    assert one.alert_id != other.alert_id


@pytest.mark.parametrize("age", [-60_000, 0, DAY_MS, DAY_MS + 1, 60 * DAY_MS])
def test_what_was_old_when_it_was_told_is_no_news(age: int) -> None:
    """As what is judged anew or replayed; a clock may also be behind the edge's."""
    made = alert_of(EVENT, EVENT.at + age, DAY_MS)
    assert made == (told(EVENT) if age <= DAY_MS else Drop.TOO_OLD)


def test_only_what_would_have_been_told_counts_as_too_old() -> None:
    scanned = msgspec.structs.replace(EVENT, verdict="scanner")
    repeated = msgspec.structs.replace(EVENT, repeat=True)
    old = EVENT.at + 60 * DAY_MS
    assert alert_of(scanned, old, DAY_MS) is Drop.NOT_A_PERSON
    assert alert_of(repeated, old, DAY_MS) is Drop.TOLD_OTHERWISE


def test_alerts_are_wanted_as_the_switch_stood_when_it_was_told() -> None:
    never, on, off = (
        Preference("acme", "ben", 0),
        Preference("acme", "ben", 500, notifications_at=100),
        Preference("acme", "ben", 500, notifications=False, notifications_at=100),
    )
    assert [wanted(never, at) for at in (0, 99, 100, 900)] == [True] * 4
    assert [wanted(on, at) for at in (0, 99, 100, 900)] == [False, False, True, True]
    assert [wanted(off, at) for at in (0, 99, 100, 900)] == [True, True, False, False]


def test_an_off_without_a_time_holds_for_all() -> None:
    assert not wanted(Preference("acme", "ben", 500, notifications=False), 0)
