"""Traces (OpenTelemetry), off unless MAILWAKE_TRACES says otherwise.

The context travels with a record in its header `traceparent`, as W3C Trace Context has it
(https://www.w3.org/TR/trace-context/): from the edge's record of hits to the enricher's of events
to the notifier's of alerts. A span is of a record and not of a hit, since a record is what is
worked on; it says which hits. The event of a hit that waited for its send is in the trace that the
send began. While it is off nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from mailwake.errors import ConfigError
from mailwake.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Headers = list[tuple[str, bytes]]
Kind = Literal["producer", "consumer"]

MOST_HITS = 100
"""So many hits of a record its span names."""

_HEADER = "traceparent"
log = logging.getLogger("mailwake.tracing")


class Tracing:
    """What makes spans in a process; without a provider, none."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer: Any = None
        if provider is not None:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            self._tracer = provider.get_tracer("mailwake")
            self._context = TraceContextTextMapPropagator()
            self._kinds = {
                "producer": trace.SpanKind.PRODUCER,
                "consumer": trace.SpanKind.CONSUMER,
            }

    @property
    def on(self) -> bool:
        """Whether spans are made at all."""
        return self._tracer is not None

    @contextlib.contextmanager
    def span(
        self, name: str, kind: Kind, within: object = None, **attributes: object
    ) -> Iterator[None]:
        """A span around what is done inside; `within` are the headers of the record it is about,
        as aiokafka or Faust give them. `hit_ids` may be among the attributes."""
        if self._tracer is None:
            yield
            return
        carrier = {key: value.decode("latin-1") for key, value in _pairs(within) if key == _HEADER}
        told = {
            f"mailwake.{key}": list(value)[:MOST_HITS] if key == "hit_ids" else value  # type: ignore[call-overload]
            for key, value in attributes.items()
        }
        with self._tracer.start_as_current_span(
            name, self._context.extract(carrier), self._kinds[kind], told
        ):
            yield

    def headers(self) -> Headers:
        """The header that puts what becomes of a record into the span around this call."""
        if self._tracer is None:
            return []
        carrier: dict[str, str] = {}
        self._context.inject(carrier)
        return [(key, value.encode()) for key, value in carrier.items() if key == _HEADER]

    def stop(self) -> None:
        """Hands what is left to the exporter."""
        if self._provider is not None:
            self._provider.shutdown()


OFF = Tracing()


def start_tracing(settings: Settings, service: str) -> Tracing:
    """The tracing that the settings ask for.

    Where spans go is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT). Raises
    ConfigError when what it needs is not installed.
    """
    if settings.traces == "off":
        return OFF
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"MAILWAKE_TRACES needs the tracing parts ({error.name} is missing): "
            "pip install 'mailwake[tracing]'"
        ) from None
    made = provider(service, settings.traces_ratio)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    log.info("traces of %g of all records", settings.traces_ratio)
    return Tracing(made)


def provider(service: str, ratio: float) -> TracerProvider:
    """A provider that samples so much of what begins here, and all that a sampled record led to."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    return TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        resource=Resource.create({"service.name": f"mailwake-{service}"}),
    )


def is_sampled(headers: object) -> bool:
    """Whether a record's headers belong to a trace that is kept: bit 0 of the last field."""
    with contextlib.suppress(ValueError):
        return any(
            key == _HEADER and int(value[-2:], 16) & 1 == 1 for key, value in _pairs(headers)
        )
    return False


def _pairs(headers: object) -> Iterable[tuple[str, bytes]]:
    """Headers as pairs: aiokafka gives these, Faust a mapping or pairs or None."""
    if isinstance(headers, Mapping):
        return headers.items()
    return headers if isinstance(headers, list | tuple) else ()
