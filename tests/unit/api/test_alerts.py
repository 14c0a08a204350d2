"""A user's alerts in the API: who sees which, and what is read of them, in memory."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from mailwake.contracts import ALERT_READS, new_consent, user_key
from mailwake.ids import now_ms
from tests.unit.api.listening import Client, Listener
from tests.unit.api.memory import Memory
from tests.unit.api.values import alert

READER = "3" * 32


async def test_newest_first_in_pages(memory: Memory) -> None:
    now = now_ms()
    memory.bell.ring(*(alert(number, at=now - number % 7 * 1000) for number in range(30)))
    ben = Client(memory, "ben")
    page, found = await ben.listed(limit=7), []
    assert page["unread"] == 30
    assert [len(page["alerts"]), page["alerts"][0]["read"]] == [7, False]
    while True:
        found += [(each["at"], each["alert_id"]) for each in page["alerts"]]
        memory.bell.ring(alert(100 + len(found), at=now))  # moves no page
        if page["next"] is None:
            break
        page = await ben.listed(limit=7, cursor=page["next"])
    assert len(found) == 30
    assert found == sorted(found, reverse=True)


async def test_everybody_sees_only_what_is_theirs(memory: Memory) -> None:
    memory.bell.ring(
        alert(1, at=now_ms()),
        alert(2, at=now_ms(), user="ada"),
        alert(3, at=now_ms(), tenant="other"),
    )
    assert await Client(memory, "ben").ids() == [1]
    assert await Client(memory, "ada", "admin").ids() == [2]
    assert await Client(memory, "ben", tenant="other").ids() == [3]
    assert await Client(memory, "crm", "platform").ids(user="ada") == [2]
    assert (await Client(memory, "crm", "platform").listed(422))["code"] == "no_user"
    assert (await Client(memory, "ada", "admin").listed(403, user="ben"))["code"] == "not_yours"
    await Client(memory, "ada").read(alert_ids=[f"{1:032x}"])
    assert (await Client(memory, "ben").listed())["unread"] == 1


async def test_a_record_of_another_key_tells_nobody_else(memory: Memory) -> None:
    memory.bell._alerts.place = (0, 0)
    memory.bell._take_alert(user_key("acme", "ada"), alert(1, at=now_ms()))
    assert await Client(memory, "ada").ids() == []


async def test_a_later_revision_replaces_and_an_earlier_one_does_not(memory: Memory) -> None:
    now = now_ms()
    memory.bell.ring(alert(1, 3, now), alert(1, 2, now, verdict="proxy"), alert(1, 3, now))
    (told,) = (await Client(memory, "ben").listed())["alerts"]
    assert (told["revision"], told["verdict"]) == (3, "human")
    memory.bell.ring(alert(1, 4, now, verdict="scanner"))
    assert await Client(memory, "ben").ids() == []


async def test_who_denies_afterwards_is_not_shown(memory: Memory) -> None:
    now = now_ms()
    memory.bell.ring(
        alert(1, at=now),
        alert(2, at=now, kind="click", link=0, target="https://shop.example/"),
        alert(3, at=now, recipient_id=None, recipient=0, recipient_count=3),
        alert(4, at=now, recipient_id="4" * 32),
    )
    ben = Client(memory, "ben")

    async def say(purpose: Any, state: Any, at: int, tenant: str = "acme") -> None:
        consent = new_consent(tenant, READER, purpose, state, at, "form", "words")
        await memory.register.write_consents([consent])

    assert await ben.ids() == [4, 3, 2, 1]
    await say("opens", "denied", now, "other")
    assert await ben.ids() == [4, 3, 2, 1]
    await say("opens", "denied", now)
    assert await ben.ids() == [4, 3, 2]
    assert (await ben.listed())["unread"] == 3
    await say("clicks", "denied", now)
    assert await ben.ids() == [4, 3]  # of a shared body nobody knows who it was
    await say("opens", "granted", now + 1)
    assert await ben.ids() == [4, 3, 1]


async def test_what_is_read_is_marked(memory: Memory) -> None:
    now = now_ms()
    memory.bell.ring(*(alert(number, at=now - 100 + number) for number in range(1, 10)))
    ben = Client(memory, "ben")
    assert await ben.read(alert_ids=[f"{3:032x}", f"{99:032x}"]) == {"unread": 8}
    assert await ben.read(alert_ids=[f"{3:032x}"]) == {"unread": 8}
    assert await ben.ids(unread=True) == [9, 8, 7, 6, 5, 4, 2, 1]
    assert await ben.read(up_to=now - 96) == {"unread": 5}
    assert await ben.read(up_to=f"{6:032x}") == {"unread": 3}
    assert await ben.ids(unread=True) == [9, 8, 7]
    assert await ben.ids(unread=False, limit=2) == [9, 8]
    shown = (await ben.listed())["alerts"]
    assert [each["read"] for each in shown] == [False] * 3 + [True] * 6
    # One that comes later is unread, whatever time it is of; one told anew stays read.
    memory.bell.ring(alert(11, at=now - 99), alert(1, 2, now))
    assert await ben.ids(unread=True) == [9, 8, 7, 11]
    assert (await ben.read(422, up_to="f" * 32))["code"] == "no_such_alert"
    for wrong in ({}, {"alert_ids": [], "up_to": now}):
        assert (await ben.read(422, **wrong))["code"] == "what"
    assert await ben.read(alert_ids=[]) == {"unread": 4}


async def test_a_write_that_another_process_undoes_is_done_again(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.bell.ring(*(alert(number, at=now_ms()) for number in range(3)))
    written = memory.connection.write
    rivals = [[f"{1:032x}"], [f"{1:032x}", f"{2:032x}"]]

    async def overtaken(topic: str, records: list[tuple[bytes, bytes]]) -> None:
        await written(topic, records)
        if rivals:
            [(key, value)] = records
            ours = json.loads(value) | {"alert_ids": rivals.pop(0)}
            await written(topic, [(key, json.dumps(ours).encode())])

    monkeypatch.setattr(memory.connection, "write", overtaken)
    ben = Client(memory, "ben")
    assert await ben.read(alert_ids=[f"{0:032x}"]) == {"unread": 0}


class Log:
    """One topic `alert_reads` for several processes; every step may be overtaken by the others'."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.records: list[bytes] = []

    async def pause(self) -> None:
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)

    def join(self, memory: Memory) -> None:
        """Has a process write there, and read on from where it stood."""
        applied = 0

        async def write(topic: str, records: list[tuple[bytes, bytes]]) -> None:
            await self.pause()
            self.records += [value for _, value in records]
            await self.pause()

        async def current(within_s: float = 5.0) -> None:
            nonlocal applied
            await self.pause()
            end = len(self.records)
            while applied < end:
                reads = ALERT_READS.decode(self.records[applied])
                applied += 1
                memory.bell._take_reads(user_key(reads.tenant, reads.user), reads)
                await self.pause()

        memory.connection.write = write  # type: ignore[method-assign, assignment]
        memory.bell._marks.current = current  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(20))
async def test_of_those_who_mark_at_the_same_time_none_is_undone(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """The last record, which is all that compaction leaves, has what every process marked."""
    log = Log(seed)
    processes = [Memory(tmp_path_factory.mktemp("process")) for _ in range(3)]
    now = now_ms()
    for each in processes:
        log.join(each)
        each.bell.ring(*(alert(number, at=now) for number in range(12)))

    async def marking(place: int) -> None:
        for number in range(place, 12, 3):
            await processes[place].bell.mark("acme", "ben", [f"{number:032x}"])
            await log.pause()

    await asyncio.gather(*map(marking, range(3)))
    assert ALERT_READS.decode(log.records[-1]).alert_ids == [f"{n:032x}" for n in range(12)]


@pytest.mark.parametrize(
    "asked",
    [{"limit": 0}, {"limit": 201}, {"cursor": "1"}, {"unread": "perhaps"}, {"before": 1}],
)
async def test_a_query_that_does_not_fit(memory: Memory, asked: dict[str, Any]) -> None:
    assert (await Client(memory, "ben").listed(422, **asked))["code"] == "query"


async def test_a_withdrawn_alert_is_gone_from_list_and_count_and_the_stream_says_so(
    memory: Memory,
) -> None:
    now = now_ms()
    memory.bell.ring(alert(1, at=now), alert(2, at=now))
    ben = Client(memory, "ben")
    async with Listener(memory) as listener:
        assert (await listener.take())["data"] == '{"unread":2}'
        memory.bell.ring(alert(1, 2, now, withdrawn=True))
        assert await ben.ids() == [2]
        assert (await ben.listed())["unread"] == 1
        told = await listener.take()
        assert (told["event"], told["id"]) == ("alert", "0-3")
        shown = json.loads(told["data"])
        assert (shown["alert_id"], shown["withdrawn"]) == (f"{1:032x}", True)
        assert (await listener.take())["data"] == '{"unread":1}'
    # An earlier revision does not bring it back; a later one that tells of a person does.
    memory.bell.ring(alert(1, 1, now))
    assert await ben.ids() == [2]
    memory.bell.ring(alert(1, 3, now, count=2, last_at=now + 5))
    assert await ben.ids() == [2, 1]


async def test_a_quiet_alert_is_listed_and_told_as_such(memory: Memory) -> None:
    now = now_ms()
    async with Listener(memory) as listener:
        assert (await listener.take())["data"] == '{"unread":0}'
        memory.bell.ring(alert(1, at=now, quiet=True, returned=True, count=4, last_at=now + 9))
        told = json.loads((await listener.take())["data"])
    (listed,) = (await Client(memory, "ben").listed())["alerts"]
    assert listed == told
    assert [told[name] for name in ("quiet", "returned", "count", "last_at", "withdrawn")] == [
        True,
        True,
        4,
        now + 9,
        False,
    ]
    assert (await Client(memory, "ben").listed())["unread"] == 1


async def test_a_withdrawn_alert_of_who_denies_is_told_to_nobody(memory: Memory) -> None:
    now = now_ms()
    consent = new_consent("acme", READER, "opens", "denied", now, "form", "words")
    await memory.register.write_consents([consent])
    async with Listener(memory, last="0-0") as listener:
        assert (await listener.take())["event"] == "unread"
        memory.bell.ring(alert(1, 2, now, withdrawn=True), alert(2, at=now, recipient_id=None))
        assert json.loads((await listener.take())["data"])["alert_id"] == f"{2:032x}"
