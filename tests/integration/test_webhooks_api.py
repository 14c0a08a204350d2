"""Webhooks from the call that makes one to the message that a receiver verifies: two API processes,
the sender of webhooks, a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from mailwake.settings import Settings
from tests.api import Api, api_settings, json, two_apis
from tests.following import until
from tests.running import running
from tests.webhooks.hooking import alerts, ring, service, trial
from tests.webhooks.receiver import Receiver, first, says


@dataclass
class System:
    settings: Settings
    apis: list[Api]


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("webhooks")
    settings = trial(asyncio.run(api_settings(kafka, folder, partitions=2)))
    with two_apis(settings, folder) as apis, running(service(settings, folder)):
        yield System(settings, apis)


def make(client: httpx.Client, url: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = json(client.post("/v1/webhooks", json={"url": url} | more), 201)
    return made


async def test_a_webhook_is_made_tested_and_gets_alerts(system: System, tenant: str) -> None:
    one, two = (api.client("ben", tenant=tenant) for api in system.apis)
    async with Receiver().listening() as receiver:
        with one, two:
            made = await asyncio.to_thread(make, one, receiver.url("it"))
            path = f"/v1/webhooks/{made['webhook_id']}"
            told = json(await asyncio.to_thread(two.post, f"{path}/test"))
            assert (told["delivered"], told["outcome"], told["status_class"]) == (
                True,
                "delivered",
                "2xx",
            )
            (test,) = receiver.got
            message: Any = Verifier(made["secret"]).verify(test.body.decode(), test.headers)
            assert message["type"] == "mailwake.test"
            assert message["data"] == {"webhook_id": made["webhook_id"]}
            changed = json(await asyncio.to_thread(two.post, f"{path}/secret"))
            await ring(system.settings, alerts(tenant, "ben", 1))
            await until("the alert", lambda: len(receiver.got) == 2)
            alert = receiver.got[1]
            for secret in (made["secret"], changed["secret"]):
                Verifier(secret).verify(alert.body.decode(), alert.headers)
            with pytest.raises(WebhookVerificationError):
                Verifier("whsec_" + "A" * 44).verify(alert.body.decode(), alert.headers)
            assert (await asyncio.to_thread(one.delete, path)).status_code == 204
            assert (await asyncio.to_thread(two.get, path)).status_code == 404
            await ring(system.settings, alerts(tenant, "ben", 1))
            # What comes to another webhook shows that this alert was read.
            await asyncio.to_thread(make, two, receiver.url("other"))
            await ring(system.settings, alerts(tenant, "ben", 1))
            await until("the other's", lambda: len(receiver.of("other")) == 1)
        assert len(receiver.of("it")) == 2


@pytest.mark.fault(19)
async def test_who_is_gone_is_disabled_and_what_was_missed_is_replayed(
    system: System, tenant: str
) -> None:
    with system.apis[0].client("ada", "admin", tenant=tenant) as client:
        async with Receiver(it=first(says(410))).listening() as receiver:
            made = await asyncio.to_thread(make, client, receiver.url("it"), whole_tenant=True)
            path = f"/v1/webhooks/{made['webhook_id']}"
            (alert,) = alerts(tenant, "ben", 1)
            await ring(system.settings, [alert])

            def now() -> Any:
                return json(client.get(path))

            await until("disabled", lambda: now()["disabled"] == "gone")
            (delivery,) = json(client.get(f"{path}/deliveries"))["deliveries"]
            assert (delivery["state"], delivery["alert_id"]) == ("failed", alert.alert_id)
            assert [each["outcome"] for each in delivery["attempts"]] == ["gone"]
            replay = f"{path}/deliveries/{delivery['delivery_id']}/replay"
            assert client.post(replay).status_code == 409
            change = {"url": made["url"], "kinds": made["kinds"], "enabled": True}
            assert json(client.put(path, json=change))["enabled"]
            assert json(client.post(replay), 202)["state"] == "pending"
            await until("replayed", lambda: len(receiver.got) == 2)
            assert receiver.got[0].id == receiver.got[1].id
            assert receiver.got[0].body == receiver.got[1].body

            def log() -> Any:
                return json(client.get(f"{path}/deliveries"))["deliveries"]

            await until("the log", lambda: log()[0]["state"] == "delivered")
            assert [each["outcome"] for each in log()[0]["attempts"]] == ["gone", "delivered"]
