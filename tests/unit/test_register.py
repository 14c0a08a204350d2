"""The register's rules of consent, with topics that are this process's own memory.

tests/integration/test_register.py holds the register itself to a real Kafka.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from mailwake.codec import Codec, InvalidError
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
from mailwake.permission import PURPOSES
from mailwake.register import Register
from mailwake.settings import Settings, read_settings

SETTINGS = read_settings({})
ANNA, BOB = "a" * 32, "b" * 32
BOTH = Toggles(opens=True, clicks=True)

Records = dict[str, list[tuple[bytes, bytes | None]]]


class Topics:
    """Stands for Kafka: a producer, and what it was given, by topic.

    Attributes:
        refuses: so many of the next records are refused.
        tried: the times at which a record was given to it.
    """

    def __init__(self) -> None:
        self.records: Records = defaultdict(list)
        self.refuses = 0
        self.tried: list[float] = []

    async def send(self, topic: str, value: bytes | None, *, key: bytes) -> asyncio.Future[None]:
        self.tried.append(time.monotonic())
        if self.refuses:
            self.refuses -= 1
            raise KafkaError
        self.records[topic.removeprefix(SETTINGS.topic_prefix)].append((key, value))
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    def told(self, topic: str) -> list[Consent]:
        """The consents that were written to a topic."""
        return [CONSENT.decode(value) for _, value in self.records[topic] if value is not None]

    def put(self, *consents: Consent) -> None:
        """As another process writes what it takes to be in force."""
        self.records["consents"] += [(consent_key(each), CONSENT.encode(each)) for each in consents]


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Topics:
    made = Topics()

    class MemoryFollower:
        """Follows by asking: applies what came since."""

        def __init__(
            self, _: Settings, topic: str, codec: Codec[Any], apply: Callable[..., None]
        ) -> None:
            self._topic, self._codec, self._apply = topic, codec, apply
            self._next = 0
            self.caught_up = asyncio.Event()

        def start(self) -> None:
            """Nothing is to be begun."""

        async def stop(self) -> None:
            """Nothing is to be ended."""

        async def current(self, within_s: float = 5.0) -> None:
            records = made.records[self._topic]
            while self._next < len(records):
                key, value = records[self._next]
                self._next += 1
                self._apply(key, None if value is None else self._codec.decode(value))
            self.caught_up.set()

    async def current(followers: Sequence[MemoryFollower], within_s: float = 5.0) -> None:
        for follower in followers:
            await follower.current()

    monkeypatch.setattr("mailwake.register.Follower", MemoryFollower)
    monkeypatch.setattr("mailwake.register.current", current)
    return made


@asynccontextmanager
async def registered(topics: Topics | None) -> AsyncIterator[Register]:
    """A register that writes to these topics; None for one that cannot write."""
    made = Register(SETTINGS, topics)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def said(
    state: ConsentState, at: int, recipient: str = ANNA, purpose: Purpose = "opens"
) -> Consent:
    return new_consent("acme", recipient, purpose, state, at, "signup_form", "Yes?", "test")


async def settled(condition: Callable[[], bool]) -> None:
    """Waits until what runs beside has done its part."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def idle() -> None:
    """Lets what runs beside do all it would do at once."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_where_nothing_was_said_the_defaults_hold(topics: Topics) -> None:
    async with registered(topics) as register:
        assert register.preference("acme", "ben") == Preference("acme", "ben", at=0)
        assert register.policy("acme") == Policy("acme", at=0)
        assert register.toggles("acme", "ben") == BOTH
        assert register.consents("acme", ANNA) == {}
        assert not register.denies("acme", ANNA, "opens")
        assert register.permission("acme", [ANNA], BOTH).refused == {
            "opens": "unknown",
            "clicks": "unknown",
        }


async def test_what_was_set_is_found_by_whose_it_is(topics: Topics) -> None:
    async with registered(topics) as register:
        mine = Preference("acme", "ben", at=3, opens=False, last=Toggles(opens=True, clicks=False))
        await register.write_preference(mine)
        await register.write_policy(Policy("acme", at=3, basis="contract"))
        await register.current()
        assert register.preference("acme", "ben") == mine
        assert register.toggles("acme", "ben") == Toggles(opens=True, clicks=False)
        assert register.policy("acme").basis == "contract"
        assert topics.records["preferences"][0][0] == user_key("acme", "ben")
        for tenant, user in (("acme", "anna"), ("other", "ben")):
            assert register.preference(tenant, user).at == 0
        assert register.policy("other").at == 0


async def test_consents_are_told_by_recipient_and_purpose(topics: Topics) -> None:
    opens, clicks = said("denied", 1), said("granted", 2, purpose="clicks")
    bobs = said("granted", 1, BOB)
    async with registered(topics) as register:
        await register.write_consents([opens, clicks, bobs])
        await register.current()
        assert register.consents("acme", ANNA) == {"opens": opens, "clicks": clicks}
        assert register.consents("acme", BOB) == {"opens": bobs}
        assert register.consents("other", ANNA) == {}
        assert register.denies("acme", ANNA, "opens")
        assert not register.denies("acme", ANNA, "clicks")
        assert not register.denies("acme", BOB, "opens")
        assert not register.denies("other", ANNA, "opens")


RECORDS = st.lists(
    st.tuples(
        st.builds(
            new_consent,
            tenant=st.sampled_from(["acme", "other"]),
            recipient_id=st.sampled_from([ANNA, BOB]),
            purpose=st.sampled_from(PURPOSES),
            state=st.sampled_from(["granted", "unknown", "denied"]),
            at=st.integers(0, 3),
            method=st.just("import"),
        ),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=12,
)


@given(records=RECORDS)
def test_those_who_deny_are_the_deniers(records: list[tuple[Consent, bool]]) -> None:
    """Whatever was said, taken back or removed, in any order."""
    register = Register(SETTINGS)
    for consent, stands in records:
        register._take_consent(consent_key(consent), consent if stands else None)
        for tenant in ("acme", "other"):
            for purpose in PURPOSES:
                assert register.deniers(tenant, purpose) == {
                    each for each in (ANNA, BOB) if register.denies(tenant, each, purpose)
                }


async def test_an_unknown_is_no_denial(topics: Topics) -> None:
    async with registered(topics) as register:
        await register.write_consents([said("denied", 1), said("unknown", 2)])
        await register.current()
        assert not register.denies("acme", ANNA, "opens")
        assert register.consents("acme", ANNA)["opens"].state == "unknown"


async def test_all_recipients_decide_and_the_mode_is_the_one_asked_for(topics: Topics) -> None:
    async with registered(topics) as register:
        await register.write_consents([said("granted", 1), said("granted", 1, BOB)])
        await register.current()
        assert register.permission("acme", [ANNA, BOB], BOTH).opens
        assert register.permission("acme", [ANNA], BOTH).mode == "identified"
        assert register.permission("acme", [ANNA], BOTH, "anonymous").mode == "anonymous"
        assert not register.permission("acme", [ANNA], Toggles(opens=False, clicks=True))
        await register.write_consents([said("denied", 2, BOB)])
        await register.current()
        assert register.permission("acme", [ANNA], BOTH).opens
        assert not register.permission("acme", [ANNA, BOB], BOTH).opens
        assert not register.permission("other", [ANNA], BOTH).opens


async def test_every_statement_is_proved_and_the_one_that_counts_is_in_force(
    topics: Topics,
) -> None:
    first, late, tied = said("denied", 5), said("granted", 4), said("granted", 5)
    async with registered(topics) as register:
        await register.write_consents([late, first, tied])
        assert topics.told("consent_proofs") == [late, first, tied]
        assert topics.told("consents") == [first]
        assert topics.records["consents"][0][0] == consent_key(first)
        assert topics.records["consent_proofs"][0][0] == consent_key(first)
        await register.write_consents([late])
        assert topics.told("consents") == [first]
        newer = said("granted", 6)
        await register.write_consents([newer])
        assert topics.told("consents") == [first, newer]


async def test_what_another_process_wrote_meanwhile_counts(topics: Topics) -> None:
    """A statement is measured by what stands in the topic, read or not."""
    async with registered(topics) as register:
        theirs = said("denied", 7)
        topics.put(theirs)
        await register.write_consents([said("granted", 6)])
        await register.current()
        assert topics.told("consents") == [theirs]
        assert register.consents("acme", ANNA)["opens"].state == "denied"


async def test_what_keeps_no_contract_is_not_written_nor_what_stands_beside_it(
    topics: Topics,
) -> None:
    async with registered(topics) as register:
        with pytest.raises(InvalidError):
            await register.write_consents([said("denied", 1), said("denied", 1, "anna@b.example")])
        assert not any(topics.records.values())


async def test_an_older_statement_that_came_later_is_overruled_in_the_topic(
    topics: Topics,
) -> None:
    newer, older = said("denied", 2), said("granted", 1)
    async with registered(topics) as register:
        topics.put(newer, older, said("denied", 2, BOB))
        await register.current()
        assert register.consents("acme", ANNA)["opens"].state == "denied"
        await settled(lambda: len(topics.told("consents")) > 3)
        await register.current()
        await idle()
        assert topics.told("consents")[3:] == [newer], "once, and nothing of who was not overtaken"
        topics.put(older)
        await register.current()
        await settled(lambda: len(topics.told("consents")) > 5)
        assert topics.told("consents")[5:] == [newer], "and each time that it happens"


async def test_what_was_overruled_meanwhile_or_erased_is_not_written_again(
    topics: Topics,
) -> None:
    newer, older = said("denied", 2), said("granted", 1)
    bobs, erased = said("denied", 2, BOB), said("granted", 1, BOB)
    async with registered(topics) as register:
        topics.put(newer, older, said("granted", 3), bobs, erased)
        topics.records["consents"].append((consent_key(bobs), None))
        await register.current()
        await idle()
        assert len(topics.records["consents"]) == 6
        assert register.consents("acme", BOB) == {}
        assert register.consents("acme", ANNA) == {"opens": said("granted", 3)}


async def test_before_all_is_read_nothing_is_repaired(topics: Topics) -> None:
    """What was overtaken in one record may be in force again in the next."""
    async with registered(topics) as register:
        register._take_consent(b"acme/a/opens", said("denied", 2))
        register._take_consent(b"acme/a/opens", said("granted", 1))
        await idle()
        assert not topics.tried


async def test_repairing_goes_on_until_kafka_has_taken_it(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailwake.register._AGAIN_S", 0.05)
    newer, older = said("denied", 2), said("granted", 1)
    async with registered(None) as register:
        topics.put(newer, older)
        await register.current()
        await idle()
        assert not topics.tried
        topics.refuses = 3
        register.producer = topics
        await settled(lambda: len(topics.told("consents")) > 2)
        assert topics.told("consents")[2:] == [newer]
        pauses = [later - earlier for earlier, later in pairwise(topics.tried)]
        assert len(pauses) == 3
        assert min(pauses) > 0.04, "it waits before it tries again"


async def test_nothing_can_be_written_without_kafka(topics: Topics) -> None:
    async with registered(None) as register:
        with pytest.raises(UnavailableError, match="try again"):
            await register.write_consents([said("denied", 1)])
