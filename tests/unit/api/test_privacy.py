"""Export and erasure: who is meant, what a receipt says; what is found of a recipient."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import NOBODY, Erasure
from mailwake.topics import registry
from mailwake_api.erasing import _merge
from mailwake_api.kept import in_lots
from mailwake_api.privacy import expiries
from tests.unit.api.asking import connect
from tests.unit.api.memory import Memory

DAY_MS = 86_400_000


@pytest.fixture
async def client(memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(memory, headers=memory.authorization("ada", "admin")) as client:
        yield client


async def test_a_recipient_is_the_same_by_address_and_by_id(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    recipient_id = memory.keyring.recipient_id("acme", "anna@example.com")
    for path in ("export", "erase"):
        for whom in ({"address": " ANNA@example.com"}, {"recipient_id": recipient_id}):
            answer = await client.post(f"/v1/privacy/{path}", json=whom)
            assert answer.status_code == 200
            assert answer.json()["recipient_id"] == recipient_id
            assert "anna" not in answer.text.lower()


@pytest.mark.parametrize(
    "whom",
    [
        {},
        {"address": "anna"},
        {"address": "a@b.example, c@d.example"},
        {"address": "a@b.example", "recipient_id": "a" * 32},
        {"recipient_id": "anna@example.com"},
        {"address": "a@b.example", "tenant": "beta"},
    ],
)
async def test_a_recipient_is_named_in_one_way(
    client: httpx.AsyncClient, whom: dict[str, str]
) -> None:
    for path in ("export", "erase"):
        answer = await client.post(f"/v1/privacy/{path}", json=whom)
        assert answer.status_code == 422
        assert "anna" not in answer.text


async def test_nobody_is_not_erased(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/privacy/erase", json={"recipient_id": NOBODY})
    assert (answer.status_code, answer.json()["code"]) == (422, "nobody")


async def test_who_is_erased_counts_as_denying_and_so_does_nobody(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    granted: dict[str, Any] = {
        "recipient_id": "a" * 32,
        "purposes": ["opens"],
        "state": "granted",
        "method": "form",
        "wording": "I agree.",
    }
    at = (await client.post("/v1/consents", json=granted)).json()["statements"][0]["at"]
    told = (await client.post("/v1/privacy/erase", json={"recipient_id": "a" * 32})).json()
    assert (told["state"], told["rows"], told["mails"]) == ("done", {}, 0)
    for each in ("a" * 32, NOBODY):
        said = memory.register.consents("acme", each)
        assert {purpose: consent.state for purpose, consent in said.items()} == {
            "opens": "denied",
            "clicks": "denied",
        }
    assert memory.register.consents("acme", "a" * 32)["opens"].at > at
    said_before = len(memory.register.proofs)
    await client.post("/v1/privacy/erase", json={"recipient_id": "a" * 32})
    assert len(memory.register.proofs) == said_before  # what was said is not said again


async def test_an_erasure_is_its_tenants_alone(memory: Memory, client: httpx.AsyncClient) -> None:
    done = (await client.post("/v1/privacy/erase", json={"recipient_id": "a" * 32})).json()
    path = f"/v1/privacy/erasures/{done['erasure_id']}"
    assert (await client.get(path)).json() == done
    theirs = memory.authorization("bea", "admin", "beta")
    assert (await client.get(path, headers=theirs)).status_code == 404


async def test_what_is_under_way_is_told_and_is_begun_once(
    memory: Memory, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailwake_api.privacy.ANSWER_S", 0)
    go_on = memory.erasing.hold()
    begun = await client.post("/v1/privacy/erase", json={"recipient_id": "a" * 32})
    again = await client.post("/v1/privacy/erase", json={"recipient_id": "a" * 32})
    assert begun.status_code == 202
    assert begun.headers["location"] == f"/v1/privacy/erasures/{begun.json()['erasure_id']}"
    assert (begun.json()["state"], begun.json()["done_at"]) == ("under_way", None)
    assert begun.json()["expires"] == []
    assert again.json()["erasure_id"] == begun.json()["erasure_id"]
    erasing = memory.erasing
    found = await erasing.get("acme", begun.json()["erasure_id"])
    assert found is not None
    go_on.set()
    assert (await erasing.wait(found, 5)).done_at


def test_what_is_done_does_not_become_undone(memory: Memory) -> None:
    """Another process that carried the same erasure through may tell of it late."""
    erasing = memory.erasing
    begun = Erasure("e" * 32, "acme", "a" * 32, 1)
    for each in (begun, msgspec.structs.replace(begun, done_at=2), begun):
        erasing._take(b"", each)
    assert erasing._known["e" * 32].done_at == 2


def test_every_topic_that_holds_something_of_a_recipient_says_until_when() -> None:
    found = {each.topic: each.at for each in expiries(1)}
    assert found.keys() == registry().keys() - {
        *("consent_proofs", "removals", "erasures", "policies", "preferences", "webhooks")
    }
    assert found["displays"] == 1 + 2 * DAY_MS  # compacted
    assert found["hits"] == 1 + 14 * DAY_MS  # 7 days, and the segment that it is in
    assert found["webhook_deliveries"] == 1 + 8 * DAY_MS  # nothing in it is overwritten
    assert found["hits.unmatched"] == 1 + 37 * DAY_MS
    assert list(found.values()) == sorted(found.values())


PLACES = st.frozensets(st.integers(1, 5), max_size=3)
FOUND = st.dictionaries(st.sampled_from("abc"), PLACES)


@given(st.lists(FOUND, max_size=4))
def test_what_was_found_once_stays_and_a_whole_mail_stays_whole(all_found: list[Any]) -> None:
    mails: dict[str, frozenset[int]] = {}
    for found in all_found:
        _merge(mails, found)
    for name in {name for found in all_found for name in found}:
        told = [found[name] for found in all_found if name in found]
        assert mails[name] == (frozenset[int]().union(*told) if all(told) else frozenset())


@given(st.lists(st.integers()), st.integers(1, 5))
def test_lots_are_all_of_it_in_its_order(values: list[int], most: int) -> None:
    lots = list(in_lots(values, most))
    assert [each for lot in lots for each in lot] == values
    assert all(0 < len(lot) <= most for lot in lots)
