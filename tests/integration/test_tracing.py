"""One trace from the edge's record of hits to the event and the alert, through a real Kafka."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mailwake_enricher.main
import mailwake_notifier.main
from mailwake import ids
from mailwake.contracts import ALERT, EVENT, HIT
from mailwake.kafka import start_producer
from mailwake.publish import publish
from mailwake.service import Status, Work
from mailwake.settings import Settings
from mailwake.tracing import Tracing, is_sampled, provider
from mailwake_edge.main import connect
from mailwake_edge.publisher import Publisher
from mailwake_edge.segments import Folder
from mailwake_edge.spool import Spool
from tests.installation import own_topics
from tests.topics import read_all
from tests.unit.enricher.values import hit, send

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
async def settings(kafka: str, tmp_path: Path) -> Settings:
    return await own_topics(kafka, partitions=2, state=tmp_path / "state")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the enricher and the notifier that are started here export, and the edge."""
    exporter = InMemorySpanExporter()

    def start(settings: Settings, service: str) -> Tracing:
        return tracing_to(exporter, service)

    monkeypatch.setattr(mailwake_enricher.main, "start_tracing", start)
    monkeypatch.setattr(mailwake_notifier.main, "start_tracing", start)
    return exporter


def tracing_to(exporter: InMemorySpanExporter, service: str) -> Tracing:
    made = provider(service, 1.0)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(made)


async def until_told(settings: Settings, topic: str, seconds: float = 60) -> Any:
    """The first record of a topic."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await read_all(settings, topic):
            return found[0]
        await asyncio.sleep(0.3)
    raise AssertionError(f"nothing in {topic} within {seconds:g} s")


async def test_a_hit_is_followed_to_its_alert(
    settings: Settings, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    now = ids.now_ms()
    mail = send(message_id=ids.new_message_id(now), sent_at=now - 1000)
    opened = hit(hit_id=ids.HitStream().next(), message_id=mail.message_id, at=now)
    producer = await start_producer(settings, client_id="test")
    await publish(producer, settings, [mail])
    await producer.stop()

    stop = asyncio.Event()
    works: list[Work] = [mailwake_enricher.main.work, mailwake_notifier.main.work]
    running = [asyncio.ensure_future(work(settings, Status(), stop)) for work in works]
    tracing = tracing_to(spans, "edge")
    spool = Spool(Folder(tmp_path / "spool"), most_bytes=1 << 20, strict=True)
    publisher = Publisher(settings, partial(connect, settings), spool, tracing)
    try:
        await until_told(
            settings, "tracks"
        )  # a hit that came before would join in the send's trace
        publisher.start()
        publisher.put([opened], lambda: None)
        records = {topic: await until_told(settings, topic) for topic in ("hits", "events")}
        records["alerts"] = await until_told(settings, "alerts")
    finally:
        await publisher.stop()
        stop.set()
        await asyncio.gather(*running)

    assert HIT.read(records["hits"].value)[0] == [opened]
    (event,) = EVENT.read(records["events"].value)[0]
    alert = ALERT.decode(records["alerts"].value)
    assert (event.hit_id, alert.event_id) == (opened.hit_id, event.event_id)
    assert all(is_sampled(record.headers) for record in records.values())

    of_the_trace = {
        (str(each.resource.attributes["service.name"]), each.name): each
        for each in spans.get_finished_spans()
        if trace_of(each) == trace_of(first(spans, "mailwake-edge"))
    }
    edge = of_the_trace["mailwake-edge", "hits"]
    enricher = of_the_trace["mailwake-enricher", "hits"]
    notifier = of_the_trace["mailwake-notifier", "alerts"]
    assert (edge.attributes or {})["mailwake.hit_ids"] == (opened.hit_id,)
    assert (notifier.attributes or {})["mailwake.event_id"] == event.event_id
    for span, within in ((enricher, edge), (notifier, enricher)):
        assert span.parent is not None
        assert within.context is not None
        assert span.parent.span_id == within.context.span_id
    # The send has a trace of its own: nothing led to it.
    others = {each.name for each in spans.get_finished_spans()} - {"hits", "alerts"}
    assert others == {"sends"}


def first(spans: InMemorySpanExporter, service: str) -> ReadableSpan:
    return next(
        each
        for each in spans.get_finished_spans()
        if each.resource.attributes["service.name"] == service
    )


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    trace_id: int = span.context.trace_id
    return trace_id
