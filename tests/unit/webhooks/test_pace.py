"""How many attempts run at once, and when the rest come."""

from __future__ import annotations

import asyncio

import pytest

from mailwake_webhooks import pace as limits
from mailwake_webhooks.pace import LATEST_S, MOST_OF_A_TENANT, MOST_OF_A_WEBHOOK, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def hold(pace: Pace, tenant: str, key: bytes, until: asyncio.Event, got: list[bool]) -> None:
    async with pace.place(tenant, key) as there:
        got.append(there)
        if there:
            await until.wait()


async def started() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_webhook_has_a_few_places_and_a_quick_one_is_waited_for() -> None:
    pace, go, got = Pace(Clock()), asyncio.Event(), list[bool]()
    tasks = [asyncio.create_task(hold(pace, "acme", b"a", go, got)) for _ in range(30)]
    await started()
    assert got == [True] * MOST_OF_A_WEBHOOK
    go.set()
    await asyncio.gather(*tasks)
    assert got == [True] * 30
    assert pace.running == 0


@pytest.mark.fault(20)
async def test_a_slow_webhook_is_not_waited_for_and_takes_no_place_of_another() -> None:
    clock = Clock()
    pace, go, got = Pace(clock), asyncio.Event(), list[bool]()
    for _ in range(20):  # it has been slow
        async with pace.place("acme", b"a"):
            clock.now += 30
    tasks = [asyncio.create_task(hold(pace, "acme", b"a", go, got)) for _ in range(100)]
    await started()
    assert sorted(got) == [False] * (100 - MOST_OF_A_WEBHOOK) + [True] * MOST_OF_A_WEBHOOK
    async with pace.place("globex", b"b") as there:
        assert there
    go.set()
    await asyncio.gather(*tasks)


@pytest.mark.fault(20)
async def test_an_attempt_that_hangs_tells_how_slow_it_is_before_it_ends() -> None:
    clock = Clock()
    pace, go, got = Pace(clock), asyncio.Event(), list[bool]()
    tasks = [asyncio.create_task(hold(pace, "acme", b"a", go, got)) for _ in range(8)]
    await started()
    clock.now += 20
    async with pace.place("acme", b"a") as there:
        assert not there
    waits = [pace.put_off_s(b"a") for _ in range(3)]
    assert waits == pytest.approx([1, 1 + 20 / 16, 1 + 40 / 16])
    go.set()
    await asyncio.gather(*tasks)


@pytest.mark.fault(20)
async def test_who_waits_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAIT_S", 0.05)
    pace, go, got = Pace(Clock()), asyncio.Event(), list[bool]()
    tasks = [
        asyncio.create_task(hold(pace, "acme", b"a", go, got)) for _ in range(MOST_OF_A_WEBHOOK + 1)
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert got == [True] * MOST_OF_A_WEBHOOK + [False]
    go.set()
    await asyncio.gather(*tasks)
    assert pace.running == 0


async def test_who_is_cancelled_leaves_no_place_taken() -> None:
    pace, go, got = Pace(Clock()), asyncio.Event(), list[bool]()
    most = MOST_OF_A_WEBHOOK
    tasks = [asyncio.create_task(hold(pace, "acme", b"a", go, got)) for _ in range(most + 2)]
    await started()
    for task in tasks[3:]:  # those that hold a place, and those that wait
        task.cancel()
    await asyncio.wait(tasks[3:])
    go.set()
    await asyncio.gather(*tasks[:3])
    assert pace.running == 0
    async with pace.place("acme", b"a") as there:
        assert there


@pytest.mark.fault(20)
async def test_a_tenant_leaves_places_for_others() -> None:
    pace, go, got = Pace(Clock()), asyncio.Event(), list[bool]()
    tasks = [
        asyncio.create_task(hold(pace, "acme", b"%d" % (number // 8), go, got))
        for number in range(MOST_OF_A_TENANT + 20)
    ]
    await started()
    assert got.count(True) == MOST_OF_A_TENANT
    async with pace.place("globex", b"b") as there:
        assert there
    go.set()
    await asyncio.gather(*tasks)


def test_what_is_put_off_comes_one_after_the_other() -> None:
    clock = Clock()
    pace = Pace(clock)
    waits = [pace.put_off_s(b"a") for _ in range(100)]
    assert waits[0] == 1
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(1 + 99 * 0.1 / (2 * MOST_OF_A_WEBHOOK))
    assert max(pace.put_off_s(b"a") for _ in range(100_000)) <= LATEST_S
    clock.now += 10_000
    assert pace.put_off_s(b"a") == 1


def test_a_webhook_rests_as_long_as_it_asked() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.rest(b"a", 60)
    pace.rest(b"a", 10)
    assert pace.resting_s(b"a") == 60
    assert pace.resting_s(b"b") == 0
    clock.now += 61
    assert pace.resting_s(b"a") == 0
