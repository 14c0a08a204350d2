"""The withdrawal page as it is asked: looking changes nothing, choosing does, and says so."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest

from mailwake.contracts import Policy, Purpose, new_consent
from mailwake.ids import now_ms
from mailwake.permission import PURPOSES
from mailwake.tokens import Token
from mailwake_api import page
from tests.unit.api.memory import Memory

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def path(memory: Memory) -> str:
    return urlsplit(memory.parts.tracker.withdrawal_link("acme", "anna@example.com")).path


@pytest.fixture
def anna(memory: Memory) -> str:
    return memory.keyring.recipient_id("acme", "Anna@example.com")


def states(memory: Memory, anna: str) -> dict[Purpose, str]:
    known = memory.register.consents("acme", anna)
    return {purpose: known[purpose].state for purpose in PURPOSES if purpose in known}


async def test_whoever_only_looks_changes_nothing(
    memory: Memory, client: httpx.AsyncClient, path: str
) -> None:
    for method, query in (("GET", ""), ("HEAD", ""), ("GET", "?choice=all-off"), ("OPTIONS", "")):
        answer = await client.request(method, path + query)
        assert answer.status_code == (405 if method == "OPTIONS" else 200)
    for method in ("PUT", "DELETE", "PATCH"):
        assert (await client.request(method, path, content=b"choice=all-off")).status_code == 405
    assert memory.register.proofs == []


async def test_every_answer_keeps_the_address_to_itself(
    memory: Memory, client: httpx.AsyncClient, path: str
) -> None:
    for answer in (
        await client.get(path),
        await client.post(path, data={"choice": "all-off"}),
        await client.get("/w/nothing"),
        await client.post(path, data={}),
    ):
        for name, value in page.HEADERS.items():
            assert answer.headers[name] == value
        assert "set-cookie" not in answer.headers
        assert path.rpartition("/")[2] not in answer.text


async def test_choosing_is_recorded_with_its_proof(
    memory: Memory, client: httpx.AsyncClient, path: str, anna: str
) -> None:
    memory.register._policies[b"acme"] = Policy("acme", 1, basis="legitimate_interests")
    before = (await client.get(path)).text
    assert "Mail from acme to you is tracked." in before
    answer = await client.post(path, data={"choice": "all-off"})
    assert answer.status_code == 303
    assert answer.headers["location"] == path.rpartition("/")[2]
    assert states(memory, anna) == {"opens": "denied", "clicks": "denied"}
    opens, clicks = memory.register.proofs
    assert abs(opens.at - now_ms()) < 10_000
    assert opens.method == "withdrawal_page"
    assert opens.source == "http://127.0.0.1:8026/w/"
    sentence, _, button = opens.wording.partition(" [")
    assert sentence in before
    assert f">{button[:-1]}</button>" in before
    assert clicks.recipient_id == anna
    assert "Mail from acme to you is not tracked." in (await client.get(path)).text
    # Told again, nothing is recorded anew.
    assert (await client.post(path, data={"choice": "opens-off"})).status_code == 303
    assert len(memory.register.proofs) == 2
    before = (await client.get(path)).text
    await client.post(path, data={"choice": "clicks-on"})
    assert states(memory, anna) == {"opens": "denied", "clicks": "granted"}
    sentence, _, button = memory.register.proofs[-1].wording.partition(" [")
    assert sentence in before
    assert (sentence.split()[-1], button) == ("network.", "Turn on]")


async def test_what_is_said_here_counts_against_what_a_fast_clock_dated_ahead(
    memory: Memory, client: httpx.AsyncClient, path: str, anna: str
) -> None:
    ahead = now_ms() + 9 * 60_000
    told = new_consent("acme", anna, "opens", "granted", ahead, "import")
    await memory.register.write_consents([told])
    await client.post(path, data={"choice": "opens-off"})
    assert states(memory, anna) == {"opens": "denied"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"List-Unsubscribe=One-Click",
        b"choice=",
        b"choice=everything",
        b"choice=all-off&choice=opens-on",
        b"choice=all-off;x",
        "choice=ällóff".encode(),
        b"&" * 100,
        b"{}",
    ],
)
async def test_what_is_no_choice_changes_nothing(
    memory: Memory, client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await client.post(path, content=body, headers=FORM)
    assert answer.status_code == 400
    assert "Nothing was changed" in answer.text
    assert memory.register.proofs == []


@pytest.mark.parametrize("kind", ["cut", "changed", "pixel", "long", "letters"])
async def test_a_link_that_is_none_of_ours(
    memory: Memory, client: httpx.AsyncClient, path: str, kind: str
) -> None:
    token = path.rpartition("/")[2]
    bad = {
        "cut": token[:-1],
        "changed": ("A" if token[-5] != "A" else "B").join((token[:-5], token[-4:])),
        "pixel": memory.keyring.seal(Token("open", "acme", "0" * 32, 1, "identified")),
        "long": "A" * 60_000,
        "letters": "%F0%9F%98%80",
    }[kind]
    for answer in (
        await client.get(f"/w/{bad}"),
        await client.post(f"/w/{bad}", data={"choice": "all-off"}),
    ):
        assert answer.status_code == 404
        assert "This link leads nowhere" in answer.text
    assert memory.register.proofs == []


async def test_while_kafka_is_away_it_says_that_nothing_was_changed(
    memory: Memory, client: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.register.away = True
    for answer in (await client.get(path), await client.post(path, data={"choice": "all-off"})):
        assert answer.status_code == 503
        assert "Nothing was changed" in answer.text
        assert "try again" in answer.text
        assert answer.headers["retry-after"]
    memory.register.away = False
    memory.connection.connected.clear()
    monkeypatch.setattr("mailwake_api.connection.CONNECT_S", 0.01)
    assert (await client.post(path, data={"choice": "all-off"})).status_code == 503
    assert memory.register.proofs == []


async def test_a_large_body_is_not_read(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b"choice=" + b"x" * 5000, headers=FORM)
    assert answer.status_code == 413
