"""The API while Kafka is away: it says so, nothing is half done, and it goes on by itself."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from mailwake.contracts import CONSENT, SEND
from mailwake.keyring import read_keyring
from mailwake.topics_apply import apply_topics
from mailwake.tracker import Tracker
from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.api import Api, json, new_keys
from tests.installation import own_settings
from tests.running import wait_until
from tests.topics import read_all

HTML = '<body><a href="https://shop.example/">offer</a></body>'
SAID = {
    "address": "anna@example.com",
    "purposes": ["opens", "clicks"],
    "state": "granted",
    "method": "form",
    "wording": "I agree.",
}


def test_kafka_comes_goes_and_comes_back(tmp_path: Path) -> None:
    local = LocalKafka(tmp_path / "kafka", port=free_port())
    settings = own_settings(f"127.0.0.1:{local.port}", partitions=1, **new_keys(tmp_path))
    tracker = Tracker(
        read_keyring(settings.keyring), "https://t.example", withdrawal_url="https://w.example"
    )
    page = tracker.withdrawal_link("acme", "anna@example.com").removeprefix("https://w.example")
    body = {"id": "1", "html": HTML, "recipients": ["anna@example.com"], "sent_at": 1}
    api = Api(settings, tmp_path)
    api.start(wait=False)
    try:
        wait_until("the API answers", lambda: _status(f"{api.url}/health") == 200)
        assert _status(f"{api.url}/ready") == 503
        with api.client("crm", "admin") as crm:

            def refused() -> None:
                """Asked side by side, for each waits a few seconds for Kafka to come back."""
                with ThreadPoolExecutor() as pool:
                    calls = [
                        pool.submit(crm.get, "/v1/preferences"),
                        pool.submit(crm.post, "/v1/consents", json=SAID),
                        pool.submit(crm.post, "/v1/sends", json=body),
                    ]
                    pages = [
                        pool.submit(crm.get, page),
                        pool.submit(crm.post, page, data={"choice": "all-off"}),
                    ]
                for call in calls:
                    assert json(call.result(), 503)["code"] == "unavailable"
                for shown in pages:
                    assert shown.result().status_code == 503
                    assert "Nothing was changed" in shown.result().text

            refused()
            local.start()
            asyncio.run(apply_topics(settings))
            api.wait_ready()
            json(crm.post("/v1/consents", json=SAID))
            first = crm.post("/v1/sends", json=body)
            assert json(first)["tracked"]["opens"]
            local.stop()
            refused()
            local.start()

            def goes_on() -> bool:
                return crm.post("/v1/sends", json=body).status_code == 200

            wait_until("the API goes on", goes_on)
            assert crm.post("/v1/sends", json=body).content == first.content
            assert crm.post(page, data={"choice": "opens-off"}).status_code == 303
            assert re.search("You refused this on .*, on this page", crm.get(page).text)
        sends = [
            SEND.read(each.value or b"")[0] for each in asyncio.run(read_all(settings, "sends"))
        ]
        assert len({each for some in sends for each in map(SEND.encode, some)}) == 1
        proofs = [
            CONSENT.decode(each.value or b"")
            for each in asyncio.run(read_all(settings, "consent_proofs"))
        ]
        assert {(each.purpose, each.state) for each in proofs} == {
            ("opens", "granted"),
            ("clicks", "granted"),
            ("opens", "denied"),
        }
        assert api.stop() == 0
    finally:
        api.kill()
        local.stop()
    log = api.log.read_text()
    assert "Traceback" not in log
    assert page.rpartition("/")[2][:30] not in log
    assert "anna" not in log


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.HTTPError:
        return 0
