"""Quiet hours and the daily digest in the preferences: set, left alone, taken away, wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.asking import WISH, connect, problem
from tests.unit.api.memory import Memory

NIGHT = {"zone": "Europe/Berlin", "start": "22:00", "end": "07:00", "days": [1, 2, 3, 4, 5]}
DAILY = {"address": "ben@example.com", "zone": "Europe/Berlin", "hour": 8}


class Ben:
    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.http = connect(memory, headers=memory.authorization("ben"))

    async def put(self, **more: Any) -> dict[str, Any]:
        answer = await self.http.put("/v1/preferences", json=WISH | more)
        assert answer.status_code == 200, answer.text
        now: dict[str, Any] = answer.json()
        assert (await self.http.get("/v1/preferences")).json() == now
        return now

    async def wrong(self, **more: Any) -> str:
        answer = await self.http.put("/v1/preferences", json=WISH | more)
        problem(answer, 422)
        return str(answer.json()["detail"])


@pytest.fixture
def ben(memory: Memory) -> Ben:
    return Ben(memory)


async def test_they_stay_until_they_are_set_otherwise(ben: Ben) -> None:
    nothing = await ben.put()
    assert (nothing["quiet"], nothing["daily_digest"]) == (None, None)
    both = await ben.put(quiet=NIGHT, daily_digest=DAILY)
    assert (both["quiet"], both["daily_digest"]) == (NIGHT, DAILY)
    same = await ben.put(opens=False)  # from a program that knows of neither
    assert (same["quiet"], same["daily_digest"]) == (NIGHT, DAILY)
    answer = await ben.http.post("/v1/preferences/toggles", json={"opens": True, "clicks": True})
    assert answer.json()["quiet"] == NIGHT
    left = await ben.put(quiet=None)
    assert (left["quiet"], left["daily_digest"]) == (None, DAILY)
    assert (await ben.put(daily_digest=None))["daily_digest"] is None


async def test_when_the_digest_was_switched_on_is_known(ben: Ben) -> None:
    register = ben.memory.register

    def at() -> int:
        return register.preference("acme", "ben").daily_digest_at

    await ben.put()
    assert at() == 0
    first = (await ben.put(daily_digest=DAILY))["at"]
    assert at() == first
    await ben.put(daily_digest=DAILY | {"hour": 9})
    await ben.put(daily_digest=None)
    assert at() == first
    assert (await ben.put(daily_digest=DAILY))["at"] == at() >= first


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("quiet", NIGHT | {"zone": "Europe/Nowhere"}, "`zone` of `quiet` is no time zone"),
        ("quiet", NIGHT | {"zone": "CEST+2 "}, "$.quiet.zone"),
        ("quiet", NIGHT | {"start": "24:00"}, "$.quiet.start"),
        ("quiet", NIGHT | {"end": "7:00"}, "$.quiet.end"),
        ("quiet", NIGHT | {"days": [8]}, "$.quiet.days"),
        ("quiet", {"zone": "UTC"}, "start"),
        ("daily_digest", DAILY | {"zone": "../zone"}, "$.daily_digest.zone"),
        ("daily_digest", DAILY | {"zone": "Mars/Olympus"}, "`daily_digest` is no time zone"),
        ("daily_digest", DAILY | {"hour": 24}, "$.daily_digest.hour"),
        ("daily_digest", DAILY | {"address": "ben"}, "$.daily_digest.address"),
    ],
)
async def test_what_is_wrong_is_said(ben: Ben, field: str, value: Any, says: str) -> None:
    detail = await ben.wrong(**{field: value})
    assert says in detail
    assert "Nowhere" not in detail
    assert ben.memory.register.preference("acme", "ben").at == 0
