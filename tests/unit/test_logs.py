"""A line of the log: for people, and as JSON, with what it is about in fields of their own."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from mailwake.logs import about, set_up_logs
from mailwake.settings import read_settings

log = logging.getLogger("mailwake.test")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_as_json_a_hit_is_found_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(read_settings({"MAILWAKE_LOG_FORMAT": "json"}), "edge")
    log.info("%s hits\nof “Zoë”", 2, extra=about(hit_id="ab12", kind="open"))
    (line,) = lines(capsys)
    at = datetime.fromisoformat(line.pop("at"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert line == {
        "level": "info",
        "service": "edge",
        "logger": "mailwake.test",
        "text": "2 hits\nof “Zoë”",
        "hit_id": "ab12",
        "kind": "open",
    }


def test_as_json_a_traceback_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(read_settings({"MAILWAKE_LOG_FORMAT": "json"}), "edge")
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("a fault")
    (line,) = lines(capsys)
    assert line["traceback"].endswith("ValueError: wrong")


def test_for_people_the_fields_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(read_settings({}))
    log.info("a hit", extra=about(hit_id="ab12"))
    assert capsys.readouterr().err.endswith(" INFO    mailwake.test: a hit hit_id=ab12\n")


def test_the_level_counts_in_both(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("text", "json"):
        set_up_logs(
            read_settings({"MAILWAKE_LOG_FORMAT": form, "MAILWAKE_LOG_LEVEL": "warning"}), "edge"
        )
        log.info("nothing")
        assert capsys.readouterr().err == ""
