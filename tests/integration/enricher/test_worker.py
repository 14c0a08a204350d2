"""The enricher as its own process on a real Kafka: what it makes, rejects, and says."""

from __future__ import annotations

import uuid
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from mailwake import ids
from mailwake.contracts import HIT, SEND, Hit
from mailwake.settings import Settings, read_settings
from mailwake.topics_apply import apply_topics
from mailwake.track import TRACK
from tests.enriching import (
    PARTITION_OF,
    Ledger,
    changelog,
    check,
    done,
    emitted,
    same,
    stored,
)
from tests.running import Service, wait_until
from tests.topics import read_all
from tests.unit.enricher.values import RULES, hit, last, send

DAY_MS = 86_400_000


@pytest.mark.fault(12)
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
    return (
        worker.metric("mailwake_enricher_unmatched_total"),
        worker.metric("mailwake_enricher_rejected_total"),
    )


@pytest.mark.fault(15)
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
        assert "mailwake_enricher_rules_version 7.0" in worker.metrics()
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
        shown = worker.metrics()
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
