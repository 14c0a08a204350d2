"""The link of a digest: it switches off, whatever is posted, and does nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import jwt
import pytest

from mailwake.contracts import DailyDigest, Preference, QuietHours
from mailwake.keyring import new_keyring
from mailwake_api.bearer import Caller
from mailwake_api.digest.off import off_token, owner_of
from mailwake_api.web.sessions import Sessions
from tests.unit.api.asking import connect
from tests.unit.api.memory import Memory

WISH = Preference(
    "acme",
    "ben",
    at=5,
    opens=False,
    quiet=QuietHours("UTC", "22:00", "07:00"),
    daily_digest=DailyDigest("ben@example.com", "UTC"),
)


@pytest.fixture
async def client(memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    await memory.register.write_preference(WISH)
    async with connect(memory) as client:
        yield client


def path(memory: Memory, user: str = "ben") -> str:
    return f"/digest/off/{off_token(memory.keyring, 'acme', user)}"


def wanted(memory: Memory) -> bool:
    return memory.register.preference("acme", "ben").daily_digest is not None


async def test_to_look_changes_nothing(memory: Memory, client: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD"):
        answer = await client.request(method, path(memory))
        assert answer.status_code == 200
        assert "form-action 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
    page = await client.get(path(memory))
    assert "ben of acme gets a mail a day" in " ".join(page.text.split())
    assert "ben@example.com" not in page.text
    assert wanted(memory)


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        (
            b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
            b"One-Click\r\n--b--",
            "multipart/form-data; boundary=b",
        ),
        (b"", "application/x-www-form-urlencoded"),
    ],
)
async def test_one_click_switches_off_and_leaves_the_rest(
    memory: Memory, client: httpx.AsyncClient, body: bytes, media: str
) -> None:
    for _ in range(2):
        answer = await client.post(path(memory), content=body, headers={"Content-Type": media})
        assert answer.status_code == 200
        assert "The daily mail is off" in answer.text
        kept = memory.register.preference("acme", "ben")
        assert (kept.daily_digest, kept.quiet, kept.opens) == (None, WISH.quiet, False)


async def test_another_link_switches_nothing_off(memory: Memory, client: httpx.AsyncClient) -> None:
    good = off_token(memory.keyring, "acme", "ben")
    sessions = Sessions(memory.keyring)
    strangers = (
        off_token(new_keyring(), "acme", "ben"),
        good[:-2],
        good.replace(".", ".x", 1),
        jwt.encode({"tenant": "acme", "sub": "ben", "aud": "mailwake-digest"}, "", "none"),
        sessions.begin(Caller("acme", "ben")),
        sessions.link(Caller("acme", "ben")),
        "x",
    )
    for token in strangers:
        for method in ("GET", "POST"):
            answer = await client.request(
                method,
                f"/digest/off/{token}",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            assert answer.status_code == 404
    assert (await client.post(path(memory, "eve"), data={"x": "y"})).status_code == 200
    assert wanted(memory)
    # And it is no session, nor a bearer token.
    assert sessions.read(good) is None
    assert sessions.whose(good) is None
    answer = await client.get("/v1/preferences", headers={"Authorization": f"Bearer {good}"})
    assert answer.status_code == 401


async def test_a_link_of_before_a_rotation_holds_until_its_key_is_revoked() -> None:
    old = new_keyring()
    token = off_token(old, "acme", "ben")
    rotated = old.rotate()
    assert owner_of(rotated, token) == owner_of(old, token)
    assert owner_of(rotated, off_token(rotated, "acme", "ben")) is not None
    assert owner_of(rotated.revoke(old.current), token) is None


async def test_while_kafka_is_away_it_says_so(memory: Memory, client: httpx.AsyncClient) -> None:
    memory.register.away = True
    answer = await client.post(path(memory), data={"x": "y"})
    assert answer.status_code == 503
    memory.register.away = False
    assert wanted(memory)
