"""Which traced records alerts come from: an alert goes on with the trace of its event."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mailwake.contracts import EVENT, Alert
from mailwake.tracing import Tracing, is_sampled

MOST = 10_000
"""So many events are remembered; an alert of an earlier one has no span."""


class Traced:
    """Remembers the headers of sampled records by their events; nothing while tracing is off."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._headers: dict[str, object] = {}

    def read(self, records: Iterable[Any]) -> None:
        """Records of `events` (aiokafka's) that were read."""
        if not self._tracing.on:
            return
        for record in records:
            if is_sampled(record.headers):
                events, _ = EVENT.read(record.value or b"")
                self._headers |= {event.event_id: record.headers for event in events}
        while len(self._headers) > MOST:
            del self._headers[next(iter(self._headers))]

    def alert(self, alert: Alert) -> AbstractContextManager[None]:
        """The span around sending an alert, within the trace of its event's record."""
        headers = self._headers.get(alert.event_id)
        if headers is None:
            return nullcontext()
        return self._tracing.span(
            "alerts", "producer", headers, alert_id=alert.alert_id, event_id=alert.event_id
        )
