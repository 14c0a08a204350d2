"""docs/webhooks.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from mailwake.ids import now_ms
from mailwake.settings import Settings
from mailwake.webhook import OUTCOMES, MessageType, secret_text
from mailwake_webhooks.message import body_of, headers_of
from mailwake_webhooks.pace import MOST, MOST_OF_A_WEBHOOK
from tests.unit.webhooks.values import delivery

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text("utf-8")
SECONDS = {"s": 1, "min": 60, "h": 3600}


def test_the_schedule_is_the_one_that_holds() -> None:
    (row,) = re.findall(r"^\| waits \|(.*)\|$", PAGE, re.MULTILINE)
    waits = [cell.split() for cell in row.split("|")]
    told = tuple(float(number) * SECONDS[unit] for number, unit in waits)
    settings = Settings()
    assert told == settings.webhook_schedule
    assert f"none within {settings.webhook_timeout_s:g} seconds" in PAGE
    assert (f"of {MOST};" in PAGE, MOST_OF_A_WEBHOOK) == (True, 8)
    assert "At most eight requests" in PAGE


def test_it_tells_of_every_outcome_and_type() -> None:
    for word in (*OUTCOMES, *get_args(MessageType)):
        assert f"`{word}`" in PAGE, word


def test_what_a_receiver_is_told_to_do_works() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    secret, taken = b"s" * 32, list[tuple[Any, str]]()
    names: dict[str, Any] = {
        "secret": secret_text(secret),
        "remember_and_queue": lambda message, message_id: taken.append((message, message_id)),
    }
    exec(compile(code, "docs/webhooks.md", "exec"), names)  # noqa: S102
    body = body_of(delivery())
    headers = {
        name.decode(): value.decode()
        for name, value in headers_of(delivery(), body, [secret], now_ms())
    }
    assert names["receive"](body, headers) == 204
    assert names["receive"](body + b" ", headers) == 401
    ((message, message_id),) = taken
    assert (message["type"], message_id) == ("alert.opened", delivery().delivery_id)
