"""The notifier as its own process on a real Kafka: events in, alerts out, once for subscribers."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from mailwake import ids
from mailwake.contracts import (
    ALERT,
    EVENT,
    MUTE,
    PERSON,
    PREFERENCE,
    Alert,
    Event,
    Kind,
    Mute,
    Preference,
    QuietHours,
    Verdict,
    mute_key,
    user_key,
)
from mailwake.kafka import start_producer
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from tests.following import put
from tests.installation import own_topics
from tests.running import Service
from tests.topics import lag, read_all, rewind

VERDICTS: tuple[Verdict, ...] = ("human", "proxy", "prefetch", "scanner", "self")
SENT_AT = ids.now_ms() - 60_000
DAY_MS = 86_400_000
PARTITIONS = 4
KEY = b"key"
"""Of values that are no events of one mail."""


AT_ONCE = {"settle_s": 0, "settle_doubtful_s": 0}
"""What is told alerts at once, so that nothing waits."""


@pytest.fixture
async def settings(kafka: str) -> Settings:
    return await own_topics(kafka, partitions=PARTITIONS, **AT_ONCE)


def event(stream: ids.HitStream, number: int) -> Event:
    """Events of all verdicts, users and kinds; every third is not the first."""
    hit_id = stream.next()
    kind: Kind = "click" if number % 2 else "open"
    return Event(
        event_id=ids.event_id(hit_id, kind),
        revision=1,
        hit_id=hit_id,
        kind=kind,
        at=SENT_AT + number,
        tenant="acme",
        user=f"u-{number % 7}",
        message_id=ids.new_message_id(SENT_AT),
        recipient=0,
        recipient_count=2,
        mode="anonymous",
        verdict=VERDICTS[number % 5],
        reasons=[],
        first=number % 3 > 0,
        sent_at=SENT_AT,
        link=0 if number % 2 else None,
        target="https://example.com/" if number % 2 else None,
    )


def events(count: int) -> list[Event]:
    stream = ids.HitStream()
    return [event(stream, number) for number in range(count)]


def told(some: list[Event]) -> set[str]:
    """The ids of the alerts that events must give, worked out on its own."""
    return {
        ids.alert_id(each.event_id, each.tenant, each.user)
        for each in some
        if each.first and each.verdict in PERSON
    }


async def publish(
    settings: Settings, some: list[Event], *values: bytes | None, told_at: int | None = None
) -> None:
    """Events as batch records of up to 50 of a partition, and then the values as they are; told
    at a time (ms), or now.
    """
    partition_of = ids.partitioner(PARTITIONS)
    producer = await start_producer(settings, client_id="test")
    try:
        batches: dict[int, list[Event]] = {}
        for each in some:
            batches.setdefault(partition_of(each.message_id.encode()), []).append(each)
        for partition, part in batches.items():
            for start in range(0, len(part), 50):
                chunk = part[start : start + 50]
                await producer.send(
                    settings.topic("events"),
                    EVENT.encode_many(chunk),
                    partition=partition,
                    timestamp_ms=told_at,
                )
        for value in values:
            await producer.send(settings.topic("events"), value, key=KEY)
        await producer.flush()
    finally:
        await producer.stop()


async def caught_up(settings: Settings, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while await lag(settings, "notifier", "events"):
        assert time.monotonic() < deadline, "the notifier did not read all events"


async def alerts(settings: Settings) -> list[Alert]:
    return [ALERT.decode(record.value or b"") for record in await read_all(settings, "alerts")]


async def test_events_in_alerts_out(settings: Settings, tmp_path: Path) -> None:
    some = events(2000)
    partition_of = ids.partitioner(PARTITIONS)
    person = next(
        each
        for each in some
        if each.first
        and each.verdict == "human"
        and partition_of(each.message_id.encode()) != partition_of(KEY)
    )
    unreadable = [b"opened", None, b"[" + EVENT.encode(person) + b', {"v": 1}]', b"[[[]]]"]
    with Service("notifier", settings, tmp_path / "log") as notifier:
        await publish(settings, some, *unreadable)
        await caught_up(settings)
        found = await alerts(settings)
        once = Counter(alert.alert_id for alert in found)
        assert {*once} == told(some)
        # The event that came once more, beside a bad neighbour and in another partition than its
        # mail's, gives the same alert once more.
        assert [each for each in once if once[each] > 1] == [
            ids.alert_id(person.event_id, person.tenant, person.user)
        ]
        assert notifier.metric("mailwake_notifier_events_total") == 2001
        assert notifier.metric('mailwake_notifier_dropped_total{reason="unreadable"}') == 4
        machines = sum(each.verdict not in PERSON for each in some)
        assert notifier.metric('mailwake_notifier_dropped_total{reason="not_a_person"}') == machines
        assert notifier.metric("mailwake_committed_at_seconds") == pytest.approx(
            time.time(), abs=60
        )
        assert notifier.ask("/ready")
        assert notifier.ask("/health")
        assert notifier.stop() == 0


async def test_alerts_are_keyed_by_user(settings: Settings, tmp_path: Path) -> None:
    with Service("notifier", settings, tmp_path / "log"):
        await publish(settings, events(300))
        await caught_up(settings)
    partition_of = ids.partitioner(PARTITIONS)
    for record in await read_all(settings, "alerts"):
        alert = ALERT.decode(record.value or b"")
        assert record.key == user_key(alert.tenant, alert.user)
        assert record.partition == partition_of(record.key)


async def test_killed_it_gives_the_same_alerts_again_and_none_is_lost(
    settings: Settings, tmp_path: Path
) -> None:
    some = events(18_000)
    notifier = Service("notifier", settings, tmp_path / "log")
    try:
        for share in range(3):
            notifier.start()
            await publish(settings, some[share * 6000 : (share + 1) * 6000])
            if share < 2:
                await some_alerts(settings, (share + 1) * 200)
                notifier.kill()
        await caught_up(settings, 120)
    finally:
        notifier.kill()
    found = await alerts(settings)
    assert {alert.alert_id for alert in found} == told(some)
    by_id: dict[str, Alert] = {}
    for alert in found:
        assert by_id.setdefault(alert.alert_id, alert) == alert, "the same id, another alert"


async def some_alerts(settings: Settings, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(await read_all(settings, "alerts")) < count:
        assert time.monotonic() < deadline


@pytest.mark.fault(18)
async def test_a_replay_from_the_start_gives_no_new_alert(
    settings: Settings, tmp_path: Path
) -> None:
    some = events(1000)
    await publish(settings, some)
    with Service("notifier", settings, tmp_path / "log") as notifier:
        await caught_up(settings)
        assert notifier.stop() == 0
    before = await alerts(settings)
    await rewind(settings, "notifier", "events")
    with Service("notifier", settings, tmp_path / "log"):
        await caught_up(settings)
    after = await alerts(settings)
    assert len(after) == 2 * len(before)
    assert {alert.alert_id for alert in after} == {alert.alert_id for alert in before}
    assert {ALERT.encode(alert) for alert in after} == {ALERT.encode(alert) for alert in before}


async def test_what_was_old_when_it_was_told_rings_no_bell_whenever_it_is_read(
    settings: Settings, tmp_path: Path
) -> None:
    """The same acts of three days ago: told then they alert, though read now; told now they do not,
    as when they are judged anew; and a replay says the same.
    """
    then = ids.now_ms() - 3 * DAY_MS
    in_time, late, anew = (
        [msgspec.structs.replace(each, at=then) for each in events(100)] for _ in range(3)
    )
    await publish(settings, in_time, told_at=then + DAY_MS)
    await publish(settings, late, told_at=then + DAY_MS + 1)
    await publish(settings, anew)
    expected, too_old = told(in_time), told(late) | told(anew)
    with Service("notifier", settings, tmp_path / "log") as notifier:
        await caught_up(settings)
        shown = notifier.metric('mailwake_notifier_dropped_total{reason="too_old"}')
        assert notifier.stop() == 0
    assert shown == len(too_old)
    assert {alert.alert_id for alert in await alerts(settings)} == expected
    await rewind(settings, "notifier", "events")
    longer = dataclasses.replace(settings, alert_age_s=4 * 86_400)
    with Service("notifier", settings, tmp_path / "log") as notifier:
        await caught_up(settings)
        assert notifier.stop() == 0
    found = await alerts(settings)
    assert Counter(alert.alert_id for alert in found) == dict.fromkeys(expected, 2)
    await rewind(settings, "notifier", "events")
    with Service("notifier", longer, tmp_path / "log"):
        await caught_up(settings)
    assert {alert.alert_id for alert in await alerts(settings)} == expected | too_old


async def test_who_has_switched_alerts_off_gets_none_and_a_replay_says_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    now = ids.now_ms()

    async def switch(user: str, notifications: bool, at: int) -> None:
        preference = Preference("acme", user, at, notifications=notifications, notifications_at=at)
        await put(
            settings, "preferences", [(user_key("acme", user), PREFERENCE.encode(preference))]
        )

    before, after = events(300), events(300)
    await publish(settings, before, told_at=now - 2000)
    await switch("u-1", False, now - 1000)
    await switch("u-2", True, now - 1000)
    expected = told([each for each in before if each.user != "u-2"])
    expected |= told([each for each in after if each.user != "u-1"])
    with Service("notifier", settings, tmp_path / "log") as notifier:
        await publish(settings, after, told_at=now)
        await caught_up(settings)
        assert {alert.alert_id for alert in await alerts(settings)} == expected
        # One that was switched off just before is known at the next event.
        for turn in range(10):
            await switch("u-3", False, ids.now_ms())
            more = [each for each in events(20) if each.user in ("u-3", "u-4")]
            await publish(settings, more, told_at=ids.now_ms())
            expected |= told([each for each in more if each.user != "u-3"])
            await caught_up(settings)
            assert {alert.alert_id for alert in await alerts(settings)} == expected, turn
            await switch("u-3", True, ids.now_ms())
        shown = notifier.metric('mailwake_notifier_dropped_total{reason="not_wanted"}')
        assert shown >= len(told(before) | told(after)) - len(expected)
        assert notifier.stop() == 0


async def test_a_muted_mail_alerts_of_nothing_and_quiet_hours_do_not_ring(
    settings: Settings, tmp_path: Path
) -> None:
    now = ids.now_ms()
    some = [each for each in events(100) if each.first and each.verdict in PERSON]
    muted, quiet = some[0], next(each for each in some if each.user != some[0].user)
    mute = Mute(muted.tenant, muted.user, muted.message_id, now)
    key = mute_key(mute.tenant, mute.user, mute.message_id)
    await put(settings, "mutes", [(key, MUTE.encode(mute))])
    always = QuietHours("UTC", "00:00", "00:00")
    preference = Preference(quiet.tenant, quiet.user, now, quiet=always)
    key = user_key(quiet.tenant, quiet.user)
    await put(settings, "preferences", [(key, PREFERENCE.encode(preference))])
    with Service("notifier", settings, tmp_path / "log") as notifier:
        await publish(settings, some)
        await caught_up(settings)
        assert notifier.metric('mailwake_notifier_dropped_total{reason="muted"}') == 1
    found = await alerts(settings)
    assert {alert.alert_id for alert in found} == told(some) - told([muted])
    assert {alert.user for alert in found if alert.quiet} == {quiet.user}
    assert {alert.user for alert in found if not alert.quiet} == {
        each.user for each in some if each.user != quiet.user
    }


async def test_told_to_stop_it_finishes_what_it_took(settings: Settings, tmp_path: Path) -> None:
    """After SIGTERM every alert is there once: what was sent was committed."""
    some = events(20_000)
    notifier = Service("notifier", settings, tmp_path / "log")
    try:
        await publish(settings, some)
        for _ in range(3):
            notifier.start()
            assert notifier.stop() == 0
        notifier.start()
        await caught_up(settings)
        assert notifier.stop() == 0
    finally:
        notifier.kill()
    found = await alerts(settings)
    assert len(found) == len({alert.alert_id for alert in found})
    assert {alert.alert_id for alert in found} == told(some)


async def test_two_share_the_work(settings: Settings, tmp_path: Path) -> None:
    """A second joins and a first leaves, both in order: nothing is missing, nothing comes twice."""
    some = events(6000)
    first = Service("notifier", settings, tmp_path / "first")
    second = Service("notifier", settings, tmp_path / "second")
    try:
        first.start()
        await publish(settings, some[:2000])
        second.start(wait=False)
        await publish(settings, some[2000:4000])
        second.wait_ready()
        assert first.stop() == 0
        await publish(settings, some[4000:])
        await caught_up(settings)
        assert second.stop() == 0
    finally:
        first.kill()
        second.kill()
    found = await alerts(settings)
    assert {alert.alert_id for alert in found} == told(some)
    assert len(found) == len(told(some))


async def test_kafka_may_go_away(tmp_path: Path) -> None:
    """It waits, goes on where it was when Kafka is back, and ends in order without Kafka."""
    some = events(3000)
    log = tmp_path / "log"
    with LocalKafka(tmp_path / "kafka") as kafka:
        settings = read_settings(
            {}, kafka_bootstrap=kafka.bootstrap, partitions=PARTITIONS, **AT_ONCE
        )
        await apply_topics(settings)
        with Service("notifier", settings, log) as notifier:
            await publish(settings, some[:1000])
            kafka.kill()
            await asyncio.sleep(2)
            assert notifier.ask("/health")
            kafka.start()
            await publish(settings, some[1000:])
            await caught_up(settings)
            assert {alert.alert_id for alert in await alerts(settings)} == told(some)
            kafka.kill()
            await asyncio.sleep(1)
            assert notifier.stop() == 0
    assert "Traceback" not in log.read_text()


async def test_without_topics_it_says_what_to_do(kafka: str, tmp_path: Path) -> None:
    settings = read_settings({}, kafka_bootstrap=kafka, topic_prefix="nobody.")
    notifier = Service("notifier", settings, tmp_path / "log")
    notifier.start(wait=False)
    assert notifier.process is not None
    assert notifier.process.wait(30) == 3
    (line,) = [
        each for each in notifier.log.read_text().splitlines() if each.startswith("mailwake notif")
    ]
    assert line == (
        f"mailwake notifier: Kafka at {kafka} has no topic nobody.events, nobody.alerts, "
        "nobody.preferences, nobody.mutes; run "
        "`mailwake topics apply`"
    )
    assert "Traceback" not in notifier.log.read_text()
