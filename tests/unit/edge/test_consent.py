"""What the edge keeps of readers who denied, and of all while it does not know who did."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from mailwake.contracts import Purpose
from mailwake.ids import reader_of, split_hit_id
from mailwake.tokens import Token
from mailwake_edge.answers import PIXEL_GIF
from tests.unit.edge.asking import CLICK, KEYRING, OPEN, Asked, counted

ANNA, BOB, CAROL = "a" * 32, "b" * 32, "c" * 32
HEADERS = [(b"user-agent", b"Thunderbird/128"), (b"referer", b"https://mail.example/")]


@pytest.fixture
def edge() -> Asked:
    return Asked()


def withheld(kind: str, reason: str) -> float:
    return counted("withheld", kind=kind, reason=reason)


def read_by(token: Token, *recipients: str) -> str:
    """The path of a token that says who may read it."""
    recipient = token.recipient if len(recipients) == 1 else 0
    told = replace(token, readers=tuple(map(reader_of, recipients)), recipient=recipient)
    return f"/{token.kind[0]}/{KEYRING.seal(told)}"


@pytest.mark.parametrize(("token", "purpose"), [(OPEN, "opens"), (CLICK, "clicks")])
async def test_nothing_is_kept_of_a_reader_who_has_denied(
    edge: Asked, token: Token, purpose: Purpose
) -> None:
    path, shared = read_by(token, ANNA), read_by(token, BOB, ANNA)
    others = read_by(token, BOB, CAROL)
    before = [counted("hits", kind=token.kind), withheld(token.kind, "withdrawn")]
    kept = [await edge(each, headers=HEADERS) for each in (path, shared, others)]
    edge.say(ANNA, purpose, "denied", 5)
    numbered = len(edge.hits)
    denied = [await edge(each, headers=HEADERS) for each in (path, shared, others)]
    assert [each.messages for each in denied] == [each.messages for each in kept]
    assert len(edge.hits) == numbered + 1
    assert [split_hit_id(hit.hit_id)[1] for hit in edge.hits] == [1, 2, 3, 4], (
        "no number is missing"
    )
    assert await edge(path, method="HEAD")
    assert [counted("hits", kind=token.kind), withheld(token.kind, "withdrawn")] == [
        before[0] + 4,
        before[1] + 3,
    ]
    edge.say(ANNA, purpose, "granted", 6)
    await edge(path)
    assert len(edge.hits) == 5


async def test_of_requests_that_come_together_each_is_kept_or_not(edge: Asked) -> None:
    edge.say(ANNA, "opens", "denied", 5)
    before = withheld("open", "withdrawn")
    paths = [read_by(OPEN, reader) for reader in (BOB, ANNA, CAROL)]
    answers = await asyncio.gather(*map(edge, paths))
    assert [answer.body for answer in answers] == [PIXEL_GIF] * 3
    assert len(edge.hits) == 2
    assert withheld("open", "withdrawn") == before + 1


async def test_who_denied_clicks_is_seen_to_open(edge: Asked) -> None:
    edge.say(ANNA, "clicks", "denied", 5)
    await edge(read_by(OPEN, ANNA))
    await edge(read_by(CLICK, ANNA))
    assert [hit.kind for hit in edge.hits] == ["open"]


@pytest.mark.fault(34)
@pytest.mark.parametrize("token", [OPEN, CLICK])
async def test_until_consents_are_known_nobody_is_identified(edge: Asked, token: Token) -> None:
    """Not even one of whom a denial is known: others may come, and this one may be overtaken."""
    edge.withdrawn.follower.caught_up.clear()
    edge.say(ANNA, "opens", "denied", 5)
    before = withheld(token.kind, "unknown")
    path = read_by(token, ANNA)
    known_to_be = replace(token, mode="anonymous", recipient=0)
    answers = [await edge(path, headers=HEADERS)]
    assert withheld(token.kind, "unknown") == before + 1
    await edge(f"/{token.kind[0]}/{KEYRING.seal(known_to_be)}", headers=HEADERS)
    one, two = edge.hits
    assert (one.mode, one.recipient, one.network, one.agent, one.referer, one.asn) == (
        *("anonymous", 0, "", "", "", 0),
    )
    assert replace(two, hit_id="") == replace(one, hit_id="")
    assert withheld(token.kind, "unknown") == before + 1
    edge.withdrawn.follower.caught_up.set()
    answers.append(await edge(read_by(token, BOB), headers=HEADERS))
    assert answers[0].messages == answers[1].messages
    assert (edge.hits[2].mode, edge.hits[2].recipient) == ("identified", token.recipient)


async def test_until_consents_are_known_an_anonymous_token_names_no_recipient(edge: Asked) -> None:
    edge.withdrawn.follower.caught_up.clear()
    await edge("/o/" + KEYRING.seal(replace(OPEN, mode="anonymous")))
    assert [(hit.mode, hit.recipient) for hit in edge.hits] == [("anonymous", 0)]
