"""The enricher as its own process on a real Kafka: events and tracks exact, whatever is killed.

What must come out is worked out by the pure steps alone (`tests/unit/enricher` holds those to
account), message by message, without Kafka, store or order between messages.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rocksdict
from aiokafka import AIOKafkaProducer

from mailwake import ids
from mailwake.contracts import EVENT, HIT, SEND, Event, Hit, Send
from mailwake.kafka import start_admin, start_producer
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake.track import TRACK, Track
from mailwake_enricher.meaning import LATE_MS
from tests.running import Service, running, wait_until
from tests.topics import lag, read_all, rewind
from tests.unit.enricher.values import BROWSER, RULES, hit, last, plain, run, send

PARTITIONS = 4
PARTITION_OF = ids.partitioner(PARTITIONS)
SESSION_S = 15
DAY_MS = 86_400_000
AGENTS = (BROWSER, "Mozilla/5.0", "GoogleImageProxy", "curl/8.9", "Outlook-iOS/2.0")
MOST = 12
"""Most hits of a mail in some minutes; its track remembers more."""

OFFSET_KEY = b"__faust\0offset__"


@pytest.fixture
async def settings(kafka: str, tmp_path: Path) -> Settings:
    made = read_settings(
        {},
        kafka_bootstrap=kafka,
        topic_prefix=f"r{uuid.uuid4().hex[:8]}.",
        partitions=PARTITIONS,
        state=tmp_path / "state",
    )
    await apply_topics(made)
    return made


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    made = await start_producer(settings, client_id="test")
    yield made
    await made.stop()


class Ledger:
    """What was sent, in order, and what must come of it."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer
        self._dice = random.Random(settings.topic_prefix)
        self._stream = ids.HitStream()
        self.now = ids.now_ms()
        self.sends: dict[str, Send] = {}
        self.hits: list[Hit] = []

    def mails(self, count: int) -> list[str]:
        messages = [ids.new_message_id() for _ in range(count)]
        self.sends |= {message: send(message_id=message) for message in messages}
        return messages

    def some_hits(self, messages: Sequence[str], count: int) -> list[Hit]:
        """Opens and clicks of persons and machines, a third of them repeats.

        They lie within some minutes, and are no more of a mail than its track remembers, so that
        what comes of them does not hang on their order. Each call's are a day after the last's.
        """
        dice = self._dice
        made = [
            hit(
                hit_id=self._stream.next(),
                at=self.now + dice.randrange(LATE_MS),
                message_id=message,
                agent=dice.choice(AGENTS),
                **({"link": dice.randrange(3)} if dice.random() < 0.3 else {}),
            )
            for message in dice.sample([*messages] * MOST, count)
        ]
        self.now += 86_400_000
        self.hits += made
        return made

    def bursts(self, messages: Sequence[str]) -> list[Hit]:
        """Of each message a scanner's burst of a dozen hits, and a person who opens the mail first
        or after it; the hits of all of them by time, as an edge would see them."""
        dice, made = self._dice, []
        for message in messages:
            start = self.now + dice.randrange(60_000)
            person = start + dice.choice((-300_000, 300_000))
            made.append(self._hit(message, person, agent=AGENTS[-1], network="192.0.2.0/24"))
            made += [
                self._hit(
                    message,
                    start + number * 700,
                    network=f"198.51.{number % 3}.0/24",
                    **({} if number == 3 else {"link": number % 5}),
                )
                for number in range(MOST)
            ]
        made.sort(key=lambda each: each.at)
        self.hits += made
        return made

    def _hit(self, message: str, at: int, **given: Any) -> Hit:
        return hit(hit_id=self._stream.next(), at=at, message_id=message, **given)

    async def put(self, topic: str, values: Sequence[Send | Hit], *, in_record: int = 40) -> None:
        """Sends values in records of up to so many of a partition, in their order."""
        by_partition: dict[int, list[Send | Hit]] = {}
        for value in values:
            partition = PARTITION_OF(value.message_id.encode())
            by_partition.setdefault(partition, []).append(value)
        for partition, mine in by_partition.items():
            for at in range(0, len(mine), in_record):
                value_bytes = msgspec.json.encode(mine[at : at + in_record])
                await self.put_raw(topic, value_bytes, partition, mine[at].message_id)

    async def put_raw(
        self, topic: str, value: bytes | None, partition: int, key: str = "k"
    ) -> None:
        name = self._settings.topic(topic)
        await self._producer.send(name, value, key=key.encode(), partition=partition)

    async def flush(self) -> None:
        await self._producer.flush()

    def expected(self) -> tuple[dict[str, Event], dict[str, Track]]:
        """The last revisions of the events by their ids, and the tracks by message."""
        events: list[Event] = []
        tracks = {message: Track() for message in self.sends}
        for message, track in tracks.items():
            run(track, self.sends[message])
        for each in self.hits:
            events += run(tracks[each.message_id], each).events
        return last(events), tracks


async def done(settings: Settings, seconds: float = 60) -> None:
    """Waits until the workers have committed all sends and hits."""
    deadline = time.monotonic() + seconds
    while left := await lag(settings, "enricher", "sends", "hits"):
        assert time.monotonic() < deadline, f"{left} records left after {seconds:g} s"
        await asyncio.sleep(0.2)


async def emitted(settings: Settings) -> list[Event]:
    """Each event, revisions, copies and all; each stands in the partition of its message."""
    found: list[Event] = []
    for record in await read_all(settings, "events"):
        events, bad = EVENT.read(record.value)
        assert not bad
        assert record.key == events[0].message_id.encode()
        assert {PARTITION_OF(event.message_id.encode()) for event in events} == {record.partition}
        found += events
    return found


async def changelog(settings: Settings) -> dict[str, bytes]:
    """The rows of the table as its changelog has them; each in the partition of its message."""
    rows: dict[str, bytes] = {}
    for record in await read_all(settings, "tracks"):
        assert PARTITION_OF(record.key) == record.partition
        if record.value is None:
            rows.pop(record.key.decode(), None)
        else:
            rows[record.key.decode()] = record.value
    return rows


def stored(state: Path) -> tuple[dict[str, bytes], dict[int, int]]:
    """The rows of a stopped worker's table, and the changelog offset of each partition."""
    rows: dict[str, bytes] = {}
    offsets: dict[int, int] = {}
    for folder in sorted(state.glob("v1/tables/tracks-*.db")):
        table = rocksdict.Rdict(str(folder), options=rocksdict.Options(raw_mode=True))
        for key, value in table.items():
            if key == OFFSET_KEY:
                offsets[int(folder.stem.rpartition("-")[2])] = int(value)
            else:
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                rows[key.decode()] = value
        table.close()
    return rows, offsets


def same(row: bytes, track: Track) -> bool:
    """Whether a row is that track, however often it and its events were written."""
    return plain(TRACK.decode(row)) == plain(track)


async def check(settings: Settings, ledger: Ledger, *, copies: bool) -> None:
    """Events and tracks are exactly what they must be; `copies` of events may stand there."""
    events, tracks = ledger.expected()
    found = await emitted(settings)
    assert last(found) == events
    told = {(event.event_id, event.revision): event for event in found}
    assert all(told[event.event_id, event.revision] == event for event in found), (
        "a copy differs from its original"
    )
    if not copies:
        assert len(found) == len(told)
    rows = await changelog(settings)
    assert rows.keys() == tracks.keys()
    assert [message for message, row in rows.items() if not same(row, tracks[message])] == []


async def test_sends_and_hits_become_events_and_tracks(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    ledger = Ledger(settings, producer)
    early, late = ledger.mails(20), ledger.mails(60)
    before = ledger.some_hits(early, 100)
    lost = [hit(message_id=ids.new_message_id(), at=ids.now_ms() - 90_000_000) for _ in range(3)]
    await ledger.put("hits", before)
    await ledger.put("hits", lost, in_record=1)
    await ledger.put("sends", [ledger.sends[message] for message in late])
    await ledger.flush()
    with Service("enricher", settings, tmp_path / "log") as worker:
        await done(settings)
        wait_until("the hits without a send given up", lambda: worker_counts(worker)[0] == 3)
        assert len(await changelog(settings)) == len({each.message_id for each in before}) + 60

        await ledger.put("sends", [ledger.sends[message] for message in early])
        hits = ledger.some_hits(early + late, 800)
        with_copies: list[Hit] = []
        for at, each in enumerate(hits):
            with_copies.append(each)
            if at % 7 == 0:
                with_copies += [each, hits[max(0, at - 50)]]
        await ledger.put("hits", with_copies)
        await ledger.put("sends", [ledger.sends[message] for message in late])
        await ledger.flush()
        await done(settings)
        assert worker.stop() == 0
    await check(settings, ledger, copies=False)

    unmatched = await read_all(settings, "hits.unmatched")
    assert sorted(record.value for record in unmatched) == sorted(map(HIT.encode, lost))
    assert {dict(record.headers)["mailwake-reason"] for record in unmatched} == {b"no_send"}

    rows, offsets = stored(settings.state)
    assert rows == await changelog(settings)
    last: dict[int, int] = {}
    for record in await read_all(settings, "tracks"):
        last[record.partition] = record.offset
    assert offsets == last, "the store does not know how far it is"


def worker_counts(worker: Service) -> tuple[float, float]:
    """Unmatched and rejected, as the worker's metrics tell."""
    lines = metrics(worker)

    def total(name: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))

    return total("mailwake_enricher_unmatched_total"), total("mailwake_enricher_rejected_total")


def metrics(worker: Service) -> list[str]:
    """What a worker tells Prometheus, by lines."""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.ops_port}/metrics", timeout=5) as page:
        lines: list[str] = page.read().decode().splitlines()
    return lines


async def test_what_is_bad_is_rejected_once_and_the_rest_goes_on(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    ledger = Ledger(settings, producer)
    messages = ledger.mails(30)
    one = messages[0]
    mine = PARTITION_OF(one.encode())
    foreign = next(message for message in messages if PARTITION_OF(message.encode()) != mine)
    stranger = HIT.encode(hit(message_id=one, tenant="other"))
    neighbours = [hit(message_id=one, link=0), hit(message_id=one, link=1)]
    await ledger.put("sends", list(ledger.sends.values()))
    await ledger.flush()
    bad: list[tuple[str, bytes | None, str, bytes | None]] = [
        ("hits", b"{", "not_json", None),
        ("hits", b"", "not_json", None),
        ("hits", None, "not_json", b""),
        ("hits", b"\xff\x00\x80", "not_json", None),
        ("hits", b"[" * 200_000, "not_json", None),
        ("hits", b'{"v":1}', "contract", None),
        ("hits", HIT.encode(hit(message_id=foreign)), "wrong_partition", None),
        ("sends", SEND.encode(ledger.sends[foreign]), "wrong_partition", None),
        ("sends", b'{"a":' * 10_000, "not_json", None),
        ("sends", b'[{"message_id":"x"}]', "contract", b'{"message_id":"x"}'),
        ("sends", b'"' + b"x" * 1_010_000, "too_large", b'"' + b"x" * 999_999),
    ]
    with Service("enricher", settings, tmp_path / "log") as worker:
        await done(settings)
        for topic, value, _, _ in bad:
            await ledger.put_raw(topic, value, mine)
        parts = [HIT.encode(neighbours[0]), b'{"kind":"x"}', HIT.encode(neighbours[1])]
        await ledger.put_raw("hits", b"[" + b",".join(parts) + b"]", mine)
        await ledger.put_raw("hits", stranger, mine)
        await ledger.put("hits", ledger.some_hits(messages[1:], 200))
        await ledger.flush()
        await done(settings)
        assert worker_counts(worker) == (0, len(bad) + 2)
        assert worker.ask("/health")
        assert worker.stop() == 0
    for topic in ("sends", "hits"):
        wanted = [
            (reason, value if kept is None else kept)
            for source, value, reason, kept in bad
            if source == topic
        ]
        if topic == "hits":
            wanted += [("contract", b'{"kind":"x"}'), ("tenant_mismatch", stranger)]
        rejected = await read_all(settings, f"{topic}.rejected")
        heads = [dict(record.headers) for record in rejected]
        found = [
            (head["mailwake-reason"].decode(), record.value)
            for head, record in zip(heads, rejected, strict=True)
        ]
        assert found == wanted
        assert all(
            head["mailwake-source"].startswith(f"{topic}/{mine}/".encode()) for head in heads
        )

    ledger.hits += neighbours
    events, tracks = ledger.expected()
    assert last(await emitted(settings)) == events
    rows = await changelog(settings)
    # The stranger left its trace in the memory of seen hits, and nothing else.
    assert TRACK.decode(rows.pop(one)).clicks == 2
    assert all(same(row, tracks[message]) for message, row in rows.items())


async def backlog(ledger: Ledger, mails: int, hits: int) -> list[str]:
    """Sends and hits in one pile: half of the hits lie before the sends they belong to."""
    messages = ledger.mails(mails)
    made = ledger.some_hits(messages, hits)
    await ledger.put("hits", made[: hits // 2])
    await ledger.put("sends", [ledger.sends[message] for message in messages])
    await ledger.put("hits", made[hits // 2 :])
    await ledger.flush()
    return messages


async def test_killed_at_any_moment_nothing_is_lost_doubled_or_miscounted(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    ledger = Ledger(settings, producer)
    messages = await backlog(ledger, 3000, 30_000)
    worker = Service("enricher", settings, tmp_path / "log")
    try:
        for after in (0.05, 0.3, 0.6):
            worker.start()
            await asyncio.sleep(after)
            worker.kill()
        await ledger.put("hits", ledger.some_hits(messages, 5000))
        await ledger.flush()
        worker.start()
        await done(settings)
        await check(settings, ledger, copies=True)

        # The folder is lost, in the middle of further work.
        await ledger.put("hits", ledger.some_hits(messages, 20_000))
        await ledger.flush()
        worker.kill()
        shutil.rmtree(settings.state)
        worker.start()
        await done(settings)
        await check(settings, ledger, copies=True)
        assert worker.stop() == 0
        assert stored(settings.state)[0] == await changelog(settings)

        # Everything is read again from the start, with the tracks as they are.
        before, rows = await emitted(settings), await changelog(settings)
        await left(settings)
        await rewind(settings, "enricher", "sends", "hits")
        worker.start()
        await done(settings)
        assert worker.stop() == 0
        assert sorted(map(EVENT.encode, await emitted(settings))) == sorted(
            map(EVENT.encode, before)
        )
        assert await changelog(settings) == rows
    finally:
        worker.kill()


async def left(settings: Settings) -> None:
    """Waits until the group is empty: a static member, as the worker is, stays in it until its
    session has run out, though its process ended.
    """
    admin = await start_admin(settings)
    group = settings.topic("enricher")
    try:
        deadline = time.monotonic() + 2 * SESSION_S
        while (await admin.describe_consumer_groups([group]))[0].groups[0][2] != "Empty":
            assert time.monotonic() < deadline, "the worker is still a member"
            await asyncio.sleep(0.5)
    finally:
        await admin.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_another_worker_takes_over(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path, how: signal.Signals
) -> None:
    first, second = (
        Service(
            "enricher",
            replace(settings, state=tmp_path / name, worker=name),
            tmp_path / f"{name}.log",
        )
        for name in ("first", "second")
    )
    ledger = Ledger(settings, producer)
    with running(first, second):
        # Both have partitions, and one falls in the middle of its work.
        messages = await backlog(ledger, 1000, 10_000)
        await asyncio.sleep(0.3)
        assert first.process is not None
        first.process.send_signal(how)
        await ledger.put("hits", ledger.some_hits(messages, 5000))
        await ledger.flush()
        await done(settings, 90)
        if how is signal.SIGSTOP:
            # It wakes up with works in flight whose tracks are another's by now.
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(30) == 70
            assert "stood still" in first.log.read_text()
        await ledger.put("hits", ledger.some_hits(messages, 1000))
        await ledger.flush()
        await done(settings)
        assert second.stop() == 0
    await check(settings, ledger, copies=True)
    rows, _ = stored(tmp_path / "second")
    assert rows == await changelog(settings)


async def test_bursts_end_as_if_nothing_had_happened_in_between(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    """Killed and shared out anew amid bursts, with sends that come late."""
    ledger = Ledger(settings, producer)
    messages = ledger.mails(600)
    sends = [ledger.sends[message] for message in messages]
    hits = ledger.bursts(messages)
    pieces = [hits[at : at + len(hits) // 6 + 1] for at in range(0, len(hits), len(hits) // 6 + 1)]
    first, second, third = (
        Service(
            "enricher",
            replace(settings, state=tmp_path / name, worker=name),
            tmp_path / f"{name}.log",
        )
        for name in ("first", "second", "third")
    )
    await ledger.put("sends", sends[:300])
    with running(first, second):
        await ledger.put("hits", pieces[0], in_record=7)
        await ledger.put("hits", pieces[1], in_record=7)
        await ledger.put("sends", sends[300:450])
        await ledger.flush()
        first.kill()  # its partitions go to the second
        await ledger.put("hits", pieces[2], in_record=7)
        await ledger.flush()
        first.start(wait=False)
        third.start(wait=False)  # another share
        await ledger.put("hits", pieces[3], in_record=7)
        await ledger.flush()
        await asyncio.sleep(1)
        second.kill()
        second.start(wait=False)
        await ledger.put("sends", sends[450:])
        await ledger.put("hits", pieces[4], in_record=7)
        await ledger.flush()
        await asyncio.sleep(0.5)
        third.stop()  # and another, in good order
        await ledger.put("hits", pieces[5], in_record=7)
        await ledger.flush()
        await done(settings, 90)
    await check(settings, ledger, copies=True)
    standing = last(await emitted(settings)).values()
    assert {event.verdict for event in standing if event.network != "192.0.2.0/24"} == {"scanner"}
    assert sum(event.first for event in standing) == len(messages)


async def test_a_worker_judges_by_the_rule_file_of_the_settings(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    """A set that takes HEAD requests for a person's; a wrong one is said in one line."""
    text = (files("mailwake_enricher") / "rules" / "0001.toml").read_text("utf-8")
    own = replace(settings, rules=tmp_path / "own.toml")
    (tmp_path / "own.toml").write_text(
        text.replace("version = 1", "version = 7", 1).replace(
            "head_request = { scanner = 120 }", "head_request = { scanner = 10 }"
        )
    )
    ledger = Ledger(settings, producer)
    (message,) = ledger.mails(1)
    await ledger.put("sends", list(ledger.sends.values()))
    await ledger.put("hits", [hit(message_id=message, method="HEAD", at=ids.now_ms())])
    await ledger.flush()
    with Service("enricher", own, tmp_path / "log") as worker:
        await done(settings)
        assert "mailwake_enricher_rules_version 7.0" in metrics(worker)
        assert worker.stop() == 0
    assert f"judges by rule set 7 of {own.rules}" in (tmp_path / "log").read_text()
    (event,) = await emitted(settings)
    assert (event.verdict, event.rules_version) == ("human", 7)

    (tmp_path / "own.toml").write_text(text.replace("threshold = ", "threshold = 9", 1))
    wrong = Service("enricher", own, tmp_path / "wrong.log")
    assert ended(wrong) == 2
    line = last_line(wrong)
    assert line.startswith(f"mailwake enricher: the rules {own.rules} cannot be used: ")
    assert "$.threshold" in line
    assert line.endswith("unset MAILWAKE_RULES to judge by the rules in the package")


async def test_hits_after_the_days_of_their_send_are_counted_and_dropped(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    ledger = Ledger(settings, producer)
    now = ids.now_ms()
    short, long = (
        send(
            message_id=ids.new_message_id(now - 3 * DAY_MS),
            sent_at=now - 3 * DAY_MS,
            retention_days=days,
        )
        for days in (2, 180)
    )
    hits = [
        hit(message_id=each.message_id, at=each.sent_at + age)
        for each in (short, long)
        for age in (2 * DAY_MS, 2 * DAY_MS + 1)
    ]
    await ledger.put("hits", hits[:2])  # before their send
    await ledger.flush()
    with Service("enricher", settings, tmp_path / "log") as worker:
        await done(settings)
        await ledger.put("sends", [short, long])
        await ledger.put("hits", hits[2:])
        await ledger.put("hits", [hit(message_id=short.message_id, at=now)])
        await ledger.flush()
        await done(settings)
        shown = metrics(worker)
        assert worker.stop() == 0
    assert 'mailwake_enricher_dropped_total{reason="too_late"} 2.0' in shown
    told = {event.hit_id for event in await emitted(settings)}
    # The last is a repeat of the one a millisecond before it.
    assert told == {hits[0].hit_id, hits[2].hit_id}


async def test_a_worker_says_why_it_cannot_start(
    settings: Settings, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    ledger = Ledger(settings, producer)
    ledger.mails(20)
    await ledger.put("sends", list(ledger.sends.values()))
    await ledger.flush()
    with Service("enricher", settings, tmp_path / "log"):
        await done(settings)
        other = Service("enricher", replace(settings, worker="1"), tmp_path / "other.log")
        assert ended(other) == 3
        assert last_line(other).startswith("mailwake enricher: Another worker uses")
    file = tmp_path / "file"
    file.write_text("")
    wrong = Service("enricher", replace(settings, state=file), tmp_path / "wrong.log")
    assert ended(wrong) == 2
    assert last_line(wrong).startswith("mailwake enricher: MAILWAKE_STATE")
    foreign = replace(settings, topic_prefix=f"r{uuid.uuid4().hex[:8]}.")
    await apply_topics(foreign)
    of_another = Service("enricher", foreign, tmp_path / "foreign.log")
    assert ended(of_another) == 2
    assert "holds more than the topic" in last_line(of_another)
    nowhere = replace(settings, topic_prefix="none.", state=tmp_path / "s")
    bare = Service("enricher", nowhere, tmp_path / "bare.log")
    assert ended(bare) == 3
    assert last_line(bare).endswith("run `mailwake topics apply`")


def ended(service: Service) -> int:
    service.start(wait=False)
    assert service.process is not None
    return service.process.wait(60)


def last_line(service: Service) -> str:
    return service.log.read_text().strip().splitlines()[-1]


def test_the_oracle_keeps_the_settings_defaults() -> None:
    made = read_settings({})
    assert RULES.repeat_window_ms == made.repeat_window_s * 1000
    assert RULES.join_wait_ms == made.join_wait_s * 1000
