"""Webhooks through the API: whose they are, their secrets, tests, the log and replays."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from mailwake.ids import now_ms
from mailwake.topics import registry
from mailwake.webhook import WEBHOOK, Attempt, Delivery, Webhook, secret_text, webhook_key
from mailwake_api import deliveries, webhooks
from mailwake_api.bearer import Role
from mailwake_api.deliveries import Deliveries
from tests.unit.api.asking import problem
from tests.unit.api.memory import Memory
from tests.unit.api.values import alert
from tests.webhooks.targets import REFUSED, TAKEN, written

URL = "https://crm.acme.example/hooks"


class Asking:
    """Calls as somebody."""

    def __init__(self, memory: Memory, client: httpx.AsyncClient) -> None:
        self._memory = memory
        self._client = client

    async def __call__(
        self, method: str, path: str = "", who: str = "ben", role: Role = "user", **more: Any
    ) -> httpx.Response:
        tenant = more.pop("tenant", "acme")
        headers = self._memory.authorization(who, role, tenant) | more.pop("headers", {})
        return await self._client.request(method, f"/v1/webhooks{path}", headers=headers, **more)

    async def made(self, who: str = "ben", role: Role = "user", **wish: Any) -> dict[str, Any]:
        tenant, params = wish.pop("tenant", "acme"), wish.pop("params", {})
        body = {"url": URL} | wish
        answer = await self("POST", "", who, role, json=body, tenant=tenant, params=params)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"/v1/webhooks/{found['webhook_id']}"
        return found


@pytest.fixture
def ask(memory: Memory, client: httpx.AsyncClient) -> Asking:
    return Asking(memory, client)


def known(memory: Memory, webhook_id: str) -> Webhook:
    found = memory.webhooks.get("acme", webhook_id)
    assert found is not None
    return found


async def test_a_webhook_is_made_shown_changed_and_deleted(memory: Memory, ask: Asking) -> None:
    made = await ask.made()
    secret = base64.b64decode(made.pop("secret").removeprefix("whsec_"))
    assert len(secret) == 32
    assert made["kinds"] == ["open", "click"]
    assert (made["user"], made["enabled"], made["disabled"]) == ("ben", True, None)
    path = f"/{made['webhook_id']}"
    shown = await ask("GET", path)
    assert shown.json() == made
    assert (await ask("GET")).json() == {"webhooks": [made]}
    change = {"url": URL + "/2", "kinds": ["click"], "enabled": False}
    stale = await ask("PUT", path, json=change, headers={"If-Match": '"x"'})
    assert problem(stale, 412) == "changed_meanwhile"
    tag = {"If-Match": shown.headers["etag"]}
    changed = (await ask("PUT", path, json=change, headers=tag)).json()
    assert (changed["url"], changed["kinds"]) == (URL + "/2", ["click"])
    assert (changed["enabled"], changed["disabled"]) == (False, "by_user")
    again = (await ask("PUT", path, json=change | {"enabled": True})).json()
    assert (again["enabled"], again["disabled"], again["disabled_at"]) == (True, None, None)
    gone = await ask("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert problem(await ask(method, path), 404) == "not_found"
    assert (await ask("GET")).json() == {"webhooks": []}


async def test_a_secret_is_told_once_and_stands_nowhere(memory: Memory, ask: Asking) -> None:
    made = await ask.made()
    for answer in (await ask("GET"), await ask("GET", f"/{made['webhook_id']}")):
        assert "secret" not in answer.text.replace("old_secret_until", "")
    (record,) = [value for topic, _, value in memory.connection.written if topic == "webhooks"]
    raw = base64.b64decode(made["secret"].removeprefix("whsec_"))
    assert record is not None
    for form in (raw, base64.b64encode(raw), base64.urlsafe_b64encode(raw), raw.hex().encode()):
        assert form.rstrip(b"=") not in record
    sealed = WEBHOOK.decode(record).secrets[0].sealed
    key = webhook_key("acme", made["webhook_id"])
    assert memory.keyring.open_secret(sealed, key) == raw


async def test_a_secret_is_changed_and_the_old_one_signs_for_a_day(
    memory: Memory, ask: Asking
) -> None:
    made = await ask.made()
    key, path = webhook_key("acme", made["webhook_id"]), f"/{made['webhook_id']}"
    secrets = [made["secret"]]
    for _ in range(2):
        answer = await ask("POST", f"{path}/secret")
        assert answer.status_code == 200
        secrets.append(answer.json()["secret"])
    current, before = known(memory, made["webhook_id"]).secrets
    opened = [memory.keyring.open_secret(each.sealed, key) for each in (current, before)]
    assert [secret_text(each) for each in opened] == [secrets[2], secrets[1]]
    assert current.expires_at == 0
    assert before.expires_at == pytest.approx(now_ms() + 86_400_000, abs=60_000)
    assert (await ask("GET", path)).json()["old_secret_until"] == before.expires_at


async def test_a_secret_that_cannot_be_read_any_more_is_replaced(
    memory: Memory, ask: Asking
) -> None:
    made = await ask.made()
    hook = known(memory, made["webhook_id"])
    lost = replace(hook, disabled="no_secret", disabled_at=1)
    lost = replace(lost, secrets=[replace(hook.secrets[0], sealed="A" * 67)])
    key = webhook_key("acme", made["webhook_id"])
    await memory.connection.write("webhooks", [(key, WEBHOOK.encode(lost))])
    answer = (await ask("POST", f"/{made['webhook_id']}/secret")).json()
    assert (answer["enabled"], answer["old_secret_until"]) == (True, None)
    assert len(known(memory, made["webhook_id"]).secrets) == 1


@pytest.mark.fault(28)
@pytest.mark.parametrize("why", REFUSED)
async def test_a_target_that_is_not_public_is_refused(ask: Asking, why: str) -> None:
    url = written(REFUSED[why])
    answer = await ask("POST", json={"url": url})
    assert problem(answer, 422) in ("url", "body")
    assert "127.0.0.1" not in answer.text
    made = await ask.made()
    change = {"url": url, "kinds": ["open"], "enabled": True}
    assert problem(await ask("PUT", f"/{made['webhook_id']}", json=change), 422)


async def test_a_public_target_is_taken(ask: Asking) -> None:
    for number, url in enumerate(TAKEN):
        assert (await ask.made(f"u{number}", url=url))["url"].lower() == url.lower()


MAY: dict[str, tuple[str, Role, str]] = {
    "the user": ("ben", "user", "acme"),
    "the user as an admin": ("ben", "admin", "acme"),
    "another user": ("ada", "user", "acme"),
    "the administrator": ("ada", "admin", "acme"),
    "the platform": ("crm", "platform", "acme"),
    "the same name elsewhere": ("ben", "user", "globex"),
    "an administrator elsewhere": ("ada", "admin", "globex"),
    "a platform elsewhere": ("crm", "platform", "globex"),
}


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("whole_tenant", "may"),
    [
        (False, {"the user", "the user as an admin", "the platform"}),
        (True, {"the user as an admin", "the administrator", "the platform"}),
    ],
)
@pytest.mark.parametrize("caller", MAY)
async def test_what_is_somebody_elses_is_not_there(
    memory: Memory, ask: Asking, whole_tenant: bool, may: set[str], caller: str
) -> None:
    made = await ask.made("ben", "admin", whole_tenant=whole_tenant)
    told = Delivery("d" * 32, made["webhook_id"], "acme", "alert.opened", now_ms(), alert=alert(1))
    memory.deliveries.take(b"", replace(told, state="delivered"))
    who, role, tenant = MAY[caller]
    path = f"/{made['webhook_id']}"
    change = {"url": URL, "kinds": ["open"], "enabled": True}
    listed = (await ask("GET", "", who, role, tenant=tenant)).json()["webhooks"]
    assert bool(listed) == (caller in may)
    for method, more, body in (
        ("GET", "", None),
        ("PUT", "", change),
        ("POST", "/secret", None),
        ("POST", "/test", None),
        ("GET", "/deliveries", None),
        ("POST", f"/deliveries/{'d' * 32}/replay", None),
        ("DELETE", "", None),
    ):
        answer = await ask(method, path + more, who, role, tenant=tenant, json=body)
        if caller in may:
            assert answer.status_code < 300, (method, more, answer.text)
        else:
            assert problem(answer, 404) == "not_found"
    assert (memory.webhooks.get("acme", made["webhook_id"]) is None) == (caller in may)


async def test_who_may_make_which(ask: Asking) -> None:
    refused = await ask("POST", json={"url": URL, "whole_tenant": True})
    assert problem(refused, 403) == "role"
    for role in ("admin", "platform"):
        made = await ask.made("crm", role, whole_tenant=True)
        assert made["user"] is None
    unnamed = await ask("POST", "", "crm", "platform", json={"url": URL})
    assert problem(unnamed, 422) == "no_user"
    assert (await ask.made("crm", "platform", params={"user": "eve"}))["user"] == "eve"
    named = await ask("GET", "", "crm", "platform", params={"user": "eve"})
    assert [each["user"] for each in named.json()["webhooks"]] == ["eve"]
    assert len((await ask("GET", "", "crm", "platform")).json()["webhooks"]) == 3
    other = await ask("GET", params={"user": "eve"})
    assert problem(other, 403) == "not_yours"


async def test_an_owner_has_so_many_and_others_have_theirs(ask: Asking) -> None:
    for _ in range(webhooks.MOST_OF_AN_OWNER):
        await ask.made()
    assert problem(await ask("POST", json={"url": URL}), 409) == "too_many"
    await ask.made("ada")
    await ask.made("ada", "admin", whole_tenant=True)


async def test_a_test_tells_what_came_of_it_and_no_more(memory: Memory, ask: Asking) -> None:
    made = await ask.made()
    answer = await ask("POST", f"/{made['webhook_id']}/test")
    assert answer.json() == {
        "delivered": True,
        "outcome": "delivered",
        "status_class": "2xx",
        "took_ms": 12,
    }
    memory.deliveries.answers = Attempt(now_ms(), "timeout", 0, 15_000)
    answer = await ask("POST", f"/{made['webhook_id']}/test")
    assert answer.json()["status_class"] is None
    assert answer.json()["outcome"] == "timeout"
    one, two = memory.deliveries.sent
    assert (one.type, one.alert) == ("mailwake.test", None)
    assert one.delivery_id != two.delivery_id


async def test_a_test_that_nobody_carries_out(
    memory: Memory, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MORE_S", 0.05 - memory.settings.webhook_timeout_s)
    memory.deliveries.answers = None
    made = await ask.made()
    assert problem(await ask("POST", f"/{made['webhook_id']}/test"), 503) == "unavailable"


def delivery(webhook_id: str, number: int, **more: Any) -> Delivery:
    fields: dict[str, Any] = {
        "delivery_id": f"{number:032x}",
        "webhook_id": webhook_id,
        "tenant": "acme",
        "type": "alert.opened",
        "made_at": now_ms(),
        "state": "delivered",
        "tries": 1,
        "attempts": [Attempt(now_ms(), "delivered", 204, 5)],
        "alert": alert(number),
    }
    return Delivery(**fields | more)


async def test_the_log_and_a_replay(memory: Memory, ask: Asking) -> None:
    made = await ask.made()
    path = f"/{made['webhook_id']}/deliveries"
    failed = delivery(
        made["webhook_id"], 2, state="failed", attempts=[Attempt(now_ms(), "status", 500, 7)]
    )
    waits = delivery(made["webhook_id"], 3, state="pending", due_at=now_ms() + 5000)
    for each in (delivery(made["webhook_id"], 1), failed, waits):
        memory.deliveries.take(b"", each)
    told = (await ask("GET", path)).json()["deliveries"]
    assert [each["state"] for each in told] == ["pending", "failed", "delivered"]
    assert told[1]["attempts"] == [
        {"at": failed.attempts[0].at, "outcome": "status", "status": 500, "took_ms": 7}
    ]
    assert told[0]["next_at"] == waits.due_at
    assert told[1]["alert_id"] == alert(2).alert_id
    assert "3" * 32 not in str(told)  # no recipient
    assert len((await ask("GET", path, params={"limit": "1"})).json()["deliveries"]) == 1
    assert problem(await ask("POST", f"{path}/{waits.delivery_id}/replay"), 409) == "pending"
    assert problem(await ask("POST", f"{path}/{'9' * 32}/replay"), 404) == "not_found"
    again = await ask("POST", f"{path}/{failed.delivery_id}/replay")
    assert again.status_code == 202
    assert again.json()["state"] == "pending"
    (sent,) = memory.deliveries.sent
    assert (sent.delivery_id, sent.tries, sent.alert) == (failed.delivery_id, 0, failed.alert)
    told = (await ask("GET", path)).json()["deliveries"]
    assert told[0]["delivery_id"] == failed.delivery_id
    assert [each["outcome"] for each in told[0]["attempts"]] == ["status", "delivered"]
    change = {"url": URL, "kinds": ["open"], "enabled": False}
    await ask("PUT", f"/{made['webhook_id']}", json=change)
    assert problem(await ask("POST", f"{path}/{failed.delivery_id}/replay"), 409) == "disabled"


def test_of_the_log_so_much_is_kept(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "MOST", 120)
    kept = Deliveries(memory.settings)
    for number in range(60):
        for hook in ("a" * 32, "b" * 32, "c" * 32):
            kept.take(b"", delivery(hook, number))
    counts = [len(kept.of("acme", hook)) for hook in ("a" * 32, "b" * 32, "c" * 32)]
    assert sum(counts) == 120 == kept._size
    assert counts == sorted(counts)
    assert kept.of("acme", "c" * 32)[0].delivery_id == f"{59:032x}"
    assert kept.of("acme", "c" * 32)[-1].delivery_id == f"{60 - counts[2]:032x}"


def test_of_the_log_nothing_is_kept_longer_than_in_the_topic(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, now = Deliveries(memory.settings), now_ms()
    kept.take(b"", delivery("a" * 32, 1))
    week = int(registry()["webhook_deliveries"].config["retention.ms"])
    monkeypatch.setattr(deliveries, "now_ms", lambda: now + week + 1000)
    assert kept.of("acme", "a" * 32) == []
    assert kept.get("acme", "a" * 32, f"{1:032x}") is None
    later = [Attempt(now + week, "delivered", 204, 5)]
    kept.take(b"", delivery("b" * 32, 2, attempts=later))
    assert kept._kept.keys() == {webhook_key("acme", "b" * 32)}
