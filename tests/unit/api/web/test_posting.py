"""Webhooks on their pages: made, changed, tried, and what was posted."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from mailwake.ids import now_ms
from mailwake.webhook import OUTCOMES, Attempt, Delivery
from mailwake_api.web import posting
from tests.unit.api.memory import Memory
from tests.unit.api.values import alert
from tests.unit.api.web.signed_in import HERE, token
from tests.webhooks.targets import REFUSED, written

URL = "https://crm.acme.example/hooks"
SECRET = re.compile(r"<code>(whsec_[A-Za-z0-9+/=]+)</code>")


async def post(browser: httpx.AsyncClient, path: str, **fields: Any) -> httpx.Response:
    form = {"token": await token(browser)} | fields
    return await browser.post(path, headers=HERE, data=form)


async def made(browser: httpx.AsyncClient, **fields: Any) -> str:
    """The path of a webhook's page."""
    wish = {"url": URL, "open": "on", "click": "on"} | fields
    answer = await post(browser, "/webhooks", **wish)
    assert answer.status_code == 200, answer.text
    found = re.search(r'action="(/webhooks/[0-9a-f]{32})"', answer.text)
    assert found
    return found[1]


def failed(path: str) -> Delivery:
    attempt = Attempt(now_ms(), "status", 500, 31)
    return Delivery(
        "d" * 32, path[-32:], "acme", "alert.opened", now_ms(),
        alert=alert(1), state="failed", tries=1, attempts=[attempt],
    )  # fmt: skip


async def test_a_secret_is_told_once(dana: httpx.AsyncClient) -> None:
    answer = await post(dana, "/webhooks", url=URL, open="on")
    (secret,) = SECRET.findall(answer.text)
    path = re.search(r"/webhooks/[0-9a-f]{32}", answer.text)
    assert path
    assert secret not in (await dana.get(path[0])).text
    anew = await post(dana, f"{path[0]}/secret")
    (other,) = SECRET.findall(anew.text)
    assert other != secret
    assert "the one before it too" in anew.text


async def test_it_is_listed_changed_switched_off_and_deleted(dana: httpx.AsyncClient) -> None:
    path = await made(dana, click="on")
    assert f'href="{path}"' in (await dana.get("/webhooks")).text
    answer = await post(dana, path, url=URL + "/2", click="on")
    assert answer.headers["location"] == path + "?told=saved"
    page = (await dana.get(answer.headers["location"])).text
    assert "Saved." in page
    assert f'value="{URL}/2"' in page
    assert re.search(r'name="click" checked', page)
    assert not re.search(r'name="(open|enabled)" checked', page)
    assert "Switched off." in (await dana.get("/webhooks")).text
    gone = await post(dana, path + "/delete")
    assert "is deleted" in (await dana.get(gone.headers["location"])).text
    assert (await dana.get(path)).status_code == 404


@pytest.mark.parametrize("url", ["", "x", "javascript:alert(1)", *map(written, list(REFUSED)[:8])])
async def test_what_is_wrong_is_said_and_what_was_written_stays(
    dana: httpx.AsyncClient, url: str
) -> None:
    for where in ("/webhooks", await made(dana)):
        answer = await post(dana, where, url=url, click="on")
        assert answer.status_code == 422
        assert 'id="wrong-url"' in answer.text
        assert re.search(r'name="click" checked', answer.text)
    answer = await post(dana, "/webhooks", url=URL)
    assert (answer.status_code, "Choose what is to be posted" in answer.text) == (422, True)


async def test_a_test_says_what_came_of_it(memory: Memory, dana: httpx.AsyncClient) -> None:
    path = await made(dana)
    assert "The test was taken, after 12 ms." in (await post(dana, path + "/test")).text
    memory.deliveries.answers = Attempt(now_ms(), "status", 503, 7)
    answer = await post(dana, path + "/test")
    assert "came to nothing: answered with an error (5xx), after 7 ms" in answer.text
    assert len(memory.deliveries.sent) == 2


async def test_what_failed_is_sent_again(memory: Memory, dana: httpx.AsyncClient) -> None:
    path = await made(dana)
    memory.deliveries.answers = None
    memory.deliveries.take(b"", failed(path))
    page = (await dana.get(path)).text
    assert "answered with an error (500)" in page
    (again,) = re.findall(rf'action="({path}/deliveries/[0-9a-f]{{32}})"', page)
    answer = await post(dana, again)
    assert answer.headers["location"] == path + "?told=again"
    assert [each.delivery_id for each in memory.deliveries.sent] == ["d" * 32]
    memory.deliveries.take(b"", memory.deliveries.sent[0])
    second = await post(dana, again)
    assert "Not sent: it has a next attempt already" in second.text
    assert (await post(dana, path + "/deliveries/" + "e" * 32)).status_code == 404


async def test_what_did_not_fail_has_no_button(memory: Memory, dana: httpx.AsyncClient) -> None:
    path = await made(dana)
    one = failed(path)
    for other in (
        replace(one, state="delivered"),
        replace(one, state="pending", due_at=now_ms()),
        replace(one, alert=None),
    ):
        memory.deliveries.take(b"", other)
        assert "Send again" not in (await dana.get(path)).text
    memory.deliveries.take(b"", one)
    assert "Send again" in (await dana.get(path)).text


async def test_somebody_elses_is_not_there(
    memory: Memory, client: httpx.AsyncClient, dana: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben")
    answer = await client.post("/v1/webhooks", headers=headers, json={"url": URL})
    path = f"/webhooks/{answer.json()['webhook_id']}"
    assert (await dana.get(path)).status_code == 404
    for what in ("", "/test", "/secret", "/delete", "/deliveries/" + "d" * 32):
        assert (await post(dana, path + what, url=URL, open="on")).status_code == 404
    assert path not in (await dana.get("/webhooks")).text


def test_every_outcome_has_its_words() -> None:
    assert set(posting.OUTCOMES) == set(OUTCOMES)
