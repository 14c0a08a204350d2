"""The consumer that Faust makes asks Kafka again soon."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from mailwake.kafka import FETCH_WAIT_MS
from mailwake.settings import read_settings
from mailwake_enricher.app import make_app
from mailwake_enricher.transport import Transport, _Thread


def test_the_broker_holds_no_request_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(_fetch_max_wait_ms=1500)
    monkeypatch.setattr(AIOKafkaConsumerThread, "_create_worker_consumer", lambda *_: made)
    thread = object.__new__(_Thread)
    assert thread._create_worker_consumer(None) is made
    assert made._fetch_max_wait_ms == FETCH_WAIT_MS < 100


def test_the_app_reads_through_it(tmp_path: Path) -> None:
    assert isinstance(make_app(read_settings({}, state=tmp_path)).transport, Transport)
