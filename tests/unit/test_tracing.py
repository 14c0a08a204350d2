"""Traces: nothing while off; on, the context goes from record to record in a header."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailwake.errors import ConfigError
from mailwake.settings import read_settings
from mailwake.tracing import MOST_HITS, OFF, Tracing, is_sampled, provider, start_tracing

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind


def tracing(ratio: float = 1.0) -> tuple[Tracing, InMemorySpanExporter]:
    spans = InMemorySpanExporter()
    made = provider("edge", ratio)
    made.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(made), spans


def test_off_there_is_no_span_and_no_header() -> None:
    assert start_tracing(read_settings({}), "edge") is OFF
    with OFF.span("hits", "producer", hit_ids=["a"]):
        assert OFF.headers() == []
    assert not OFF.on


def test_off_nothing_of_opentelemetry_is_imported() -> None:
    code = "import sys, mailwake.tracing; print([m for m in sys.modules if 'opentelemetry' in m])"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("form", [list, dict, tuple])
def test_what_becomes_of_a_record_is_in_its_trace(form: type) -> None:
    traced, spans = tracing()
    with traced.span("hits", "producer", partition=3, hit_ids=["a", "b"]):
        headers = traced.headers()
    assert [key for key, _ in headers] == ["traceparent"]
    assert is_sampled(form(headers))
    with traced.span("hits", "consumer", form(headers)):
        pass
    first, second = spans.get_finished_spans()
    assert second.parent is not None
    assert first.context is not None
    assert (second.parent.trace_id, second.parent.span_id) == (
        first.context.trace_id,
        first.context.span_id,
    )
    assert (first.kind, second.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert dict(first.attributes or {}) == {"mailwake.partition": 3, "mailwake.hit_ids": ("a", "b")}
    assert first.resource.attributes["service.name"] == "mailwake-edge"


def test_a_span_does_not_name_hits_without_end() -> None:
    traced, spans = tracing()
    with traced.span("hits", "producer", hit_ids=[str(number) for number in range(1000)]):
        pass
    (span,) = spans.get_finished_spans()
    assert len((span.attributes or {})["mailwake.hit_ids"]) == MOST_HITS  # type: ignore[arg-type]


@pytest.mark.parametrize("headers", [None, [], [("traceparent", b"\xff")], {"a": b"b"}])
def test_without_a_context_a_trace_begins(headers: object) -> None:
    traced, spans = tracing()
    with traced.span("hits", "consumer", headers):
        pass
    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert not is_sampled(headers)


def test_what_was_not_sampled_stays_so() -> None:
    none, spans = tracing(0.0)
    with none.span("hits", "producer"):
        headers = none.headers()
    everything, kept = tracing(1.0)
    with everything.span("hits", "consumer", headers):
        pass
    assert not is_sampled(headers)
    assert (spans.get_finished_spans(), kept.get_finished_spans()) == ((), ())


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'mailwake\[tracing\]'"):
        start_tracing(read_settings({"MAILWAKE_TRACES": "otlp"}), "edge")
