"""Who denies: from memory, and from ClickHouse while Kafka does not answer."""

from __future__ import annotations

import pytest

from mailwake.contracts import Consent, ConsentState, new_consent
from mailwake_api import withheld
from mailwake_api.withheld import Denials
from tests.unit.api.memory import Memory

MAIL, OTHER = "a" * 32, "b" * 32


def said(recipient_id: str, state: ConsentState, at: int) -> Consent:
    return new_consent(
        tenant="acme",
        recipient_id=recipient_id,
        purpose="opens",
        state=state,
        at=at,
        method="withdrawal_page",
    )


@pytest.fixture
def denials(memory: Memory) -> Denials:
    return Denials(memory.reader, memory.register)


async def test_what_is_said_hides_at_once_and_takes_no_query(
    memory: Memory, denials: Denials
) -> None:
    mails = {MAIL: ["1" * 32, "2" * 32], OTHER: ["3" * 32]}
    assert await denials.withheld("acme", mails) == {MAIL: frozenset(), OTHER: frozenset()}
    await memory.register.write_consents([said("2" * 32, "denied", 1)])
    hidden = await denials.withheld("acme", mails)
    assert hidden == {MAIL: frozenset({"opens"}), OTHER: frozenset()}
    assert await denials.withheld("other", mails) == {MAIL: frozenset(), OTHER: frozenset()}
    await memory.register.write_consents([said("2" * 32, "granted", 2)])
    assert await denials.withheld("acme", mails) == {MAIL: frozenset(), OTHER: frozenset()}
    assert memory.reader.asked == []


async def test_while_kafka_is_away_clickhouse_says_it_and_kafka_is_not_asked_each_time(
    memory: Memory, denials: Denials, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.register.away = True
    await denials.withheld("acme", {MAIL: ["1" * 32]})
    assert [values for _, values in memory.reader.asked] == [
        {"tenant": "acme", "recipients": ["1" * 32]}
    ]
    memory.register.away = False
    await denials.withheld("acme", {MAIL: ["1" * 32]})
    assert len(memory.reader.asked) == 2
    monkeypatch.setattr(withheld, "_AGAIN_S", 0.0)
    soon = Denials(memory.reader, memory.register)
    memory.register.away = True
    await soon.withheld("acme", {MAIL: ["1" * 32]})
    memory.register.away = False
    await soon.withheld("acme", {MAIL: ["1" * 32]})
    assert len(memory.reader.asked) == 3


async def test_mails_without_recipients_ask_nobody(memory: Memory, denials: Denials) -> None:
    memory.register.away = True
    assert await denials.withheld("acme", {MAIL: []}) == {MAIL: frozenset()}
    assert memory.reader.asked == []
