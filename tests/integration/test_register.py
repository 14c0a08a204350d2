"""The register on a real Kafka: what is written is read by everybody, and the newer stays."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mailwake.codec import InvalidError
from mailwake.contracts import (
    CONSENT,
    Consent,
    ConsentState,
    Policy,
    Preference,
    Purpose,
    Toggles,
    consent_key,
    new_consent,
    user_key,
)
from mailwake.errors import UnavailableError
from mailwake.kafka import start_producer, stop_client
from mailwake.register import Register
from mailwake.settings import Settings
from mailwake.topics_apply import apply_topics
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.following import put, standing, until
from tests.installation import own_settings, own_topics
from tests.topics import read_all

ANNA, BOB = "a" * 32, "b" * 32
BOTH = Toggles(opens=True, clicks=True)


def said(
    state: ConsentState, at: int, recipient: str = ANNA, purpose: Purpose = "opens"
) -> Consent:
    return new_consent("acme", recipient, purpose, state, at, "signup_form", "Yes?", "test")


def record(consent: Consent) -> tuple[bytes, bytes]:
    return consent_key(consent), CONSENT.encode(consent)


@contextlib.asynccontextmanager
async def registers(settings: Settings, *writes: bool) -> AsyncIterator[list[Register]]:
    """Registers as several processes have them, each able to write or not."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for may_write in writes:
            producer = None
            if may_write:
                producer = await start_producer(settings, client_id="test", linger_ms=0)
                stack.push_async_callback(stop_client, producer)
            register = Register(settings, producer)
            register.start()
            stack.push_async_callback(register.stop)
            made.append(register)
        yield made


@pytest.fixture
async def settings(kafka: str) -> Settings:
    return await own_topics(kafka, partitions=4)


async def test_where_nothing_was_written_the_defaults_hold(settings: Settings) -> None:
    async with registers(settings, False) as (register,):
        known_before = register.known
        await register.current()
        assert (known_before, register.known) == (False, True)
        assert register.preference("acme", "anna") == Preference("acme", "anna", at=0)
        assert register.policy("acme") == Policy("acme", at=0)
        assert register.consents("acme", ANNA) == {}
        assert register.toggles("acme", "anna") == BOTH
        assert not register.permission("acme", [ANNA], BOTH)


async def test_another_process_reads_what_was_written(settings: Settings) -> None:
    async with registers(settings, True, True) as (one, two):
        for at in range(1, 30):
            preference = Preference("acme", "anna", at=at, opens=at % 2 == 0)
            policy = Policy("acme", at=at, basis="contract" if at % 2 else "consent")
            denied = said("denied" if at % 2 else "granted", at)
            await asyncio.gather(
                one.write_preference(preference),
                one.write_policy(policy),
                one.write_consents([denied]),
            )
            await two.current()
            assert two.preference("acme", "anna") == preference
            assert two.toggles("acme", "anna") == Toggles(opens=at % 2 == 0, clicks=True)
            assert two.policy("acme") == policy
            assert two.consents("acme", ANNA) == {"opens": denied}
            assert two.permission("acme", [ANNA], BOTH).opens == (at % 2 == 0)
            one, two = two, one


async def test_a_tombstone_brings_the_defaults_back(settings: Settings) -> None:
    async with registers(settings, True) as (register,):
        await register.write_preference(Preference("acme", "anna", at=1, opens=False))
        await register.write_policy(Policy("acme", at=1, ceiling="off"))
        await register.write_consents([said("denied", 1)])
        await register.current()
        assert register.policy("acme").ceiling == "off"
        for topic, key in (
            ("preferences", user_key("acme", "anna")),
            ("policies", b"acme"),
            ("consents", consent_key(said("denied", 1))),
        ):
            await put(settings, topic, [(key, None)])
        await register.current()
        assert register.preference("acme", "anna").opens
        assert register.policy("acme").ceiling == "identified"
        assert register.consents("acme", ANNA) == {}


async def test_the_later_statement_counts_and_all_are_proved(settings: Settings) -> None:
    granted, denied = said("granted", 5), said("denied", 7)
    late, tied = said("granted", 6), said("granted", 7)
    other = said("granted", 9, purpose="clicks")
    async with registers(settings, True, False) as (register, reader):
        await register.write_consents([granted])
        await register.write_consents([denied, late])
        await register.write_consents([tied])
        await register.write_consents([other])
        await register.write_consents([denied, granted])  # told again
        for each in (register, reader):
            await each.current()
            assert each.consents("acme", ANNA) == {"opens": denied, "clicks": other}
    proofs = [
        CONSENT.decode(each.value or b"") for each in await read_all(settings, "consent_proofs")
    ]
    assert [each for each in proofs if each.purpose == "opens"] == [
        granted,
        denied,
        late,
        tied,
        denied,
        granted,
    ]
    assert {each.consent_id for each in proofs} == {
        each.consent_id for each in (granted, denied, late, tied, other)
    }
    assert await standing(settings, "consents") == dict([record(denied), record(other)])


async def test_of_many_statements_at_once_the_latest_is_in_force(settings: Settings) -> None:
    times = random.sample(range(1, 500), 300)
    statements = [said("granted" if at % 3 else "denied", at) for at in times]
    async with registers(settings, True) as (register,):
        await register.write_consents(statements)
        await register.current()
        latest = max(statements, key=lambda each: each.at)
        assert register.consents("acme", ANNA) == {"opens": latest}
    assert len(await read_all(settings, "consent_proofs")) == 300


async def test_of_two_that_write_at_once_the_newer_stays(settings: Settings) -> None:
    """Two processes that know nothing of each other's statement; whichever comes to Kafka last."""
    recipients = [f"{number:032x}" for number in range(40)]
    async with registers(settings, True, True, False) as (one, two, reader):
        await asyncio.gather(one.current(), two.current())
        writes = []
        for number, recipient in enumerate(recipients):
            newer, older = said("denied", 2, recipient), said("granted", 1, recipient)
            first, second = (newer, older) if number % 2 else (older, newer)
            writes += [one.write_consents([first]), two.write_consents([second])]
        await asyncio.gather(*writes)
        for each in (one, two, reader):
            await each.current()
            for recipient in recipients:
                assert each.consents("acme", recipient)["opens"].state == "denied"
        await all_denied(settings, recipients)


async def test_what_was_overtaken_is_repaired(settings: Settings) -> None:
    """Also when those who wrote it are gone: it stood so in the topic before anybody looked."""
    recipients = [f"{number:032x}" for number in range(40)]
    newer = [record(said("denied", 2, recipient)) for recipient in recipients]
    older = [record(said("granted", 1, recipient)) for recipient in recipients]
    await put(settings, "consents", [*newer, *older])
    async with registers(settings, False) as (reader,):
        await reader.current()
        assert {reader.consents("acme", each)["opens"].state for each in recipients} == {"denied"}
        assert {
            CONSENT.decode(each).state for each in (await standing(settings, "consents")).values()
        } == {"granted"}
        producer = await start_producer(settings, client_id="test", linger_ms=0)
        try:
            reader.producer = producer  # Kafka answers now
            await all_denied(settings, recipients)
            # And while it runs.
            await put(settings, "consents", older)
            await all_denied(settings, recipients, at_least=3 * len(recipients))
            before = len(await read_all(settings, "consents"))
            await asyncio.sleep(2)
            assert len(await read_all(settings, "consents")) == before, "it comes to an end"
        finally:
            await reader.stop()
            await producer.stop()


async def all_denied(settings: Settings, recipients: list[str], at_least: int = 0) -> None:
    """Waits until what compaction would leave says that all have denied."""
    deadline = time.monotonic() + 20
    while True:
        records = await read_all(settings, "consents")
        stands = {each.key: CONSENT.decode(each.value or b"").state for each in records}
        if len(records) > at_least and set(stands.values()) == {"denied"}:
            assert len(stands) == len(recipients)
            return
        assert time.monotonic() < deadline, f"{stands}"
        await asyncio.sleep(0.2)


async def test_an_erased_consent_is_not_repaired(settings: Settings) -> None:
    newer, older = record(said("denied", 2)), record(said("granted", 1))
    await put(settings, "consents", [newer, older, (newer[0], None)])
    async with registers(settings, True) as (register,):
        await register.current()
        await asyncio.sleep(1)
        assert register.consents("acme", ANNA) == {}
    assert await standing(settings, "consents") == {}


async def test_what_keeps_no_contract_is_not_written(settings: Settings) -> None:
    async with registers(settings, True) as (register,):
        with pytest.raises(InvalidError):
            await register.write_consents(
                [said("denied", 1), said("denied", 1, "anna@example.com")]
            )
        with pytest.raises(InvalidError):
            await register.write_policy(Policy("Acme & Sons", at=1))
    for topic in ("consents", "consent_proofs", "policies"):
        assert await read_all(settings, topic) == []


async def test_kafka_away(tmp_path: Path) -> None:
    own = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = own_settings(f"127.0.0.1:{own.port}", partitions=1)
    try:
        async with registers(settings, False) as (register,):
            with pytest.raises(UnavailableError, match="Kafka"):
                await register.current(0.3)
            with pytest.raises(UnavailableError, match="nothing can be written"):
                await register.write_policy(Policy("acme", at=1))
            await asyncio.to_thread(own.start)
            await apply_topics(settings)
            await until("all is known", lambda: register.known)
            register.producer = await start_producer(settings, client_id="test", linger_ms=0)
            try:
                await again(lambda: register.write_consents([said("denied", 1)]))
                await again(register.current)
                await asyncio.to_thread(own.stop)
                with pytest.raises(UnavailableError, match="try again when it answers"):
                    await register.write_consents([said("granted", 2)])
                assert register.consents("acme", ANNA)["opens"].state == "denied"
                assert not register.permission("acme", [ANNA], BOTH)
                await asyncio.to_thread(own.start)
                await register.current(30)
                await again(lambda: register.write_consents([said("granted", 3)]))
                await again(register.current)
                assert register.permission("acme", [ANNA], Toggles(opens=True, clicks=False))
            finally:
                await stop_client(register.producer)
    finally:
        own.stop()


async def again(work: Callable[[], Awaitable[None]]) -> None:
    """Does what a person is told to: tries again, for a Kafka that has just begun."""
    deadline = time.monotonic() + 60
    while True:
        try:
            await work()
            return
        except UnavailableError:
            assert time.monotonic() < deadline


async def test_many_consents_are_read_in_seconds(settings: Settings) -> None:
    count = 200_000
    states: list[ConsentState] = ["granted", "denied"]
    await put(
        settings,
        "consents",
        (record(said(states[number % 2], 1, f"{number:032x}")) for number in range(count)),
    )
    began = time.monotonic()
    async with registers(settings, True) as (register,):
        longest, before = 0.0, began
        while not register.known:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            assert before - began < 60
        print(f"{count} consents in {before - began:.1f} s, the loop held {longest * 1000:.0f} ms")
        assert register.consents("acme", f"{count - 1:032x}")["opens"].state == "denied"
        assert before - began < 30
