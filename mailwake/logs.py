"""Logs on standard error: a line a record, for people or, as JSON, for machines.

What a line is about stands in fields of its own, given by `extra=about(…)`: as JSON, hit_id leads
from the edge's line to that of the event and of the alert. No line holds a token, an address or a
full IP.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

from mailwake.settings import Settings

_FIELDS = "mailwake_fields"


def about(**fields: object) -> dict[str, object]:
    """`extra` for a log call: what its line is about, such as `hit_id`."""
    return {_FIELDS: fields}


def set_up_logs(settings: Settings, service: str = "") -> None:
    """Sends all logs to standard error, from the level and in the form that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(service) if settings.log_format == "json" else _Text())
    handler.addFilter(_Sparing())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)


class _Text(logging.Formatter):
    """Time, level, where, text, and what it is about."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = getattr(record, _FIELDS, {})
        told = "".join(f" {name}={value}" for name, value in fields.items())
        return super().formatMessage(record) + told


class _Json(logging.Formatter):
    """One JSON object a line: `at` (UTC, ISO 8601), `level`, `service`, `logger`, `text`, the
    fields that it is about, and `traceback` where there is one."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "text": record.getMessage(),
        }
        line |= getattr(record, _FIELDS, {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Sparing(logging.Filter):
    """Lets each of aiokafka's complaints through once in `EVERY_S`: while Kafka is away it makes
    hundreds a second of the same five."""

    EVERY_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is new, or its like was last let through long enough ago."""
        if not record.name.startswith("aiokafka"):
            return True
        what, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._told.get(what, -self.EVERY_S) < self.EVERY_S:
            return False
        self._told[what] = now
        return True
