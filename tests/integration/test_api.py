"""The API as its own processes on a real Kafka."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import httpx
import pytest

from mailwake.contracts import CONSENT, DISPLAY, PREFERENCE, SEND, Preference, Send, user_key
from mailwake.ids import message_id_of, now_ms
from mailwake.keyring import read_keyring
from mailwake.settings import Settings
from mailwake_api.bearer import Role
from tests.api import Api, api_settings, json, two_apis
from tests.following import standing
from tests.topics import read_all

MAIL = b"""\
From: Ben <ben@acme.example>\r
To: Anna <anna@example.com>\r
Subject: An offer\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body><p>See <a href="https://shop.example/?a=1&amp;b=2">our offer</a>.</p></body></html>\r
"""
HTML = '<body><a href="https://shop.example/">offer</a></body>'
GRANTED = {
    "purposes": ["opens", "clicks"],
    "state": "granted",
    "method": "signup_form",
    "wording": "I agree that opens and clicks are measured.",
    "source": "https://acme.example/signup",
}


@pytest.fixture(scope="module")
def settings(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    return asyncio.run(api_settings(kafka, folder, partitions=2, api_max_bytes=200_000))


@pytest.fixture(scope="module")
def apis(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    with two_apis(settings, tmp_path_factory.mktemp("logs")) as both:
        yield both


def sends(settings: Settings, tenant: str) -> list[Send]:
    found: list[Send] = []
    for record in asyncio.run(read_all(settings, "sends")):
        found += SEND.read(record.value or b"")[0]
    return [send for send in found if send.tenant == tenant]


def test_what_one_process_was_told_the_other_tells_at_once(apis: list[Api], tenant: str) -> None:
    one, two = (api.client("ben", tenant=tenant) for api in apis)
    wish = {"opens": False, "clicks": True, "notifications": False}
    with one, two:
        first = json(one.get("/v1/preferences"))
        assert first["at"] == 0
        assert first["effective"] == {"opens": True, "clicks": True}
        for turn in range(20):
            wish["opens"] = not wish["opens"]
            json(one.put("/v1/preferences", json=wish))
            told = json(two.get("/v1/preferences"))
            assert {name: told[name] for name in wish} == wish, turn
            one, two = two, one


def test_toggles_of_the_last_mail_hold_until_the_switches_change(
    apis: list[Api], tenant: str
) -> None:
    wish = {"opens": True, "clicks": True, "notifications": True}
    with apis[0].client("ben", tenant=tenant) as one, apis[1].client("ben", tenant=tenant) as two:
        toggles = {"opens": False, "clicks": True}
        json(one.post("/v1/preferences/toggles", json=toggles))
        told = json(two.get("/v1/preferences"))
        assert (told["last"], told["effective"], told["opens"]) == (toggles, toggles, True)
        told = json(two.put("/v1/preferences", json=wish))
        assert (told["last"], told["effective"]) == (None, {"opens": True, "clicks": True})
        assert json(one.get("/v1/preferences")) == told


def test_when_notifications_were_switched_is_kept(apis: list[Api], tenant: str) -> None:
    """The notifier judges by it; neither other switches nor toggles move it."""
    wish = {"opens": True, "clicks": True, "notifications": True}
    kept: list[Preference] = []
    with apis[0].client("ben", tenant=tenant) as ben:
        for change in ({}, {"notifications": False}, {"opens": False}, {"notifications": True}):
            wish |= change
            json(ben.put("/v1/preferences", json=wish))
            json(ben.post("/v1/preferences/toggles", json={"opens": True, "clicks": True}))
            values = asyncio.run(standing(apis[0].settings, "preferences"))
            kept.append(PREFERENCE.decode(values[user_key(tenant, "ben")]))
    never, off, still, on = (each.notifications_at for each in kept)
    assert never == 0 < off == still < on <= kept[-1].at
    assert [each.notifications for each in kept] == [True, False, False, True]


def test_the_ceiling_cuts_every_wish(apis: list[Api], tenant: str) -> None:
    api = apis[0]
    wish = {"opens": True, "clicks": True, "notifications": True}
    with (
        api.client("ben", tenant=tenant) as ben,
        api.client("ada", "admin", tenant) as ada,
        api.client("crm", "platform", tenant) as crm,
    ):
        for who in (ben, crm):
            refused = who.put("/v1/policy", json={"ceiling": "off", "basis": "consent"})
            assert json(refused, 403)["code"] == "role"
        json(ada.put("/v1/policy", json={"ceiling": "off", "basis": "legitimate_interests"}))
        told = json(ben.put("/v1/preferences", json=wish))
        assert told["opens"]
        assert told["ceiling"] == "off"
        assert told["effective"] == {"opens": False, "clicks": False}
        sent = json(ben.post("/v1/sends", json={"html": HTML, "recipients": ["a@example.com"]}))
        assert sent["html"] == HTML
        assert sent["message_id"] is None
        assert sent["tracked"]["refused"] == {"opens": "ceiling", "clicks": "ceiling"}
        json(ada.put("/v1/policy", json={"ceiling": "anonymous", "basis": "legitimate_interests"}))
        assert json(ben.get("/v1/policy"))["ceiling"] == "anonymous"
        sent = json(ben.post("/v1/sends", json={"html": HTML, "recipients": ["a@example.com"]}))
        assert sent["tracked"]["mode"] == "anonymous"
    (send,) = sends(api.settings, tenant)
    assert (send.mode, send.recipients, send.basis) == ("anonymous", [], "legitimate_interests")


def test_conditions(apis: list[Api], tenant: str) -> None:
    wish = {"opens": False, "clicks": True, "notifications": True}
    with apis[0].client("ben", tenant=tenant) as one, apis[1].client("ben", tenant=tenant) as two:
        tag = one.get("/v1/preferences").headers["etag"]
        assert two.get("/v1/preferences", headers={"If-None-Match": tag}).status_code == 304
        put = one.put("/v1/preferences", json=wish, headers={"If-Match": tag})
        assert put.status_code == 200
        late = two.put("/v1/preferences", json=wish, headers={"If-Match": tag})
        assert json(late, 412)["code"] == "changed_meanwhile"
        told = two.get("/v1/preferences", headers={"If-None-Match": tag})
        assert told.status_code == 200
        assert told.headers["etag"] == put.headers["etag"]


@pytest.mark.fault(27)
def test_nobody_sees_or_changes_what_is_of_others(apis: list[Api], tenant: str) -> None:
    api = apis[0]
    wish = {"opens": False, "clicks": False, "notifications": False}
    anna = {"address": "anna@example.com"}
    body = {"html": HTML, "recipients": ["a@b.example"], "user": "ben"}
    ben = {"user": "ben"}
    with api.client("crm", "platform", tenant) as crm:
        json(crm.put("/v1/preferences", params=ben, json=wish))
        json(crm.post("/v1/consents", json=GRANTED | anna))
        assert json(crm.get("/v1/preferences"), 422)["code"] == "no_user"
    strangers: tuple[tuple[Role, str], ...] = (("user", tenant), ("admin", tenant), ("user", "x-1"))
    for role, of in strangers:
        with api.client("eve", role, of) as eve:
            for answer in (
                eve.get("/v1/preferences", params=ben),
                eve.put("/v1/preferences", params=ben, json=wish | {"opens": True}),
                eve.post(
                    "/v1/preferences/toggles", params=ben, json={"opens": True, "clicks": True}
                ),
                eve.post("/v1/sends", json=body),
            ):
                assert json(answer, 403)["code"] == "not_yours"
            if role == "user":
                assert json(eve.post("/v1/consents/lookup", json=anna), 403)["code"] == "role"
                assert json(eve.post("/v1/consents", json=GRANTED | anna), 403)["code"] == "role"
    with api.client("ben", tenant=f"{tenant}x") as namesake:
        assert json(namesake.get("/v1/preferences"))["at"] == 0
    with api.client("crm", "platform", f"{tenant}x") as elsewhere:
        assert json(elsewhere.get("/v1/preferences", params=ben))["at"] == 0
        assert json(elsewhere.post("/v1/consents/lookup", json=anna))["opens"]["state"] == "unknown"
    with api.client("ben", tenant=tenant) as ben_himself:
        told = json(ben_himself.get("/v1/preferences"))
        assert {name: told[name] for name in wish} == wish


def test_consents_are_recorded_once_told_and_proved(
    apis: list[Api], tenant: str, settings: Settings
) -> None:
    at = now_ms() - 60_000
    keyring = read_keyring(settings.keyring)
    anna = keyring.recipient_id(tenant, "anna@example.com")
    with (
        apis[0].client("crm", "platform", tenant) as one,
        apis[1].client("ada", "admin", tenant) as two,
    ):
        statements = [
            GRANTED | {"address": "Anna@Example.com", "at": at},
            GRANTED
            | {"recipient_id": anna, "state": "denied", "at": at - 1, "purposes": ["opens"]},
        ]
        first = json(one.post("/v1/consents", json=statements))["statements"]
        assert [(each["purpose"], each["state"], each["in_force"]) for each in first] == [
            ("opens", "granted", True),
            ("clicks", "granted", True),
            ("opens", "denied", False),
        ]
        assert {each["recipient_id"] for each in first} == {anna}
        assert json(two.post("/v1/consents", json=statements))["statements"] == first
        said = json(two.post("/v1/consents/lookup", json={"address": " anna@example.com"}))
        assert said["opens"] == said["clicks"]
        assert said["opens"] == {
            "state": "granted",
            "at": at,
            "method": GRANTED["method"],
            "wording": GRANTED["wording"],
            "source": GRANTED["source"],
        }
        future = GRANTED | {"recipient_id": anna, "at": now_ms() + 11 * 60_000}
        assert json(two.post("/v1/consents", json=future), 422)["code"] == "future"
        nobody = GRANTED | {"address": "nobody"}
        assert json(two.post("/v1/consents", json=nobody), 422)["code"] == "no_address"
        assert json(two.post("/v1/consents", json=[]))["statements"] == []
        little = {"recipient_id": anna, "state": "denied", "method": "m", "purposes": ["opens"]}
        many = [little] * 1001
        assert json(two.post("/v1/consents", json=many), 422)["code"] == "body"
    proofs = [
        CONSENT.decode(record.value or b"")
        for record in asyncio.run(read_all(settings, "consent_proofs"))
    ]
    assert len({each.consent_id for each in proofs if each.tenant == tenant}) == 3
    for api in apis:
        assert "example.com" not in api.log.read_text().lower()


def test_a_mail_is_tracked_as_far_as_its_recipient_agrees(
    apis: list[Api], tenant: str, settings: Settings
) -> None:
    with (
        apis[0].client("ben", tenant=tenant) as ben,
        apis[1].client("crm", "platform", tenant) as crm,
    ):
        mail = {"message": base64.b64encode(MAIL).decode(), "id": "offer-1", "footer": "Tracking"}
        sent = json(ben.post("/v1/sends", json=mail))
        assert base64.b64decode(sent["message"]) == MAIL
        assert sent["tracked"]["refused"] == {"opens": "unknown", "clicks": "unknown"}
        assert sends(settings, tenant) == []
        json(crm.post("/v1/consents", json=GRANTED | {"address": "anna@example.com"}))
        answer = ben.post("/v1/sends", json=mail)
        sent = json(answer)
        assert sent["message_id"] == message_id_of(tenant, "offer-1")
        assert sent["tracked"] == {
            "opens": True,
            "clicks": True,
            "mode": "identified",
            "basis": "consent",
            "refused": {},
        }
        tracked = base64.b64decode(sent["message"])
        assert f"{settings.tracking_url}/o/".encode() in tracked
        assert f"{settings.tracking_url}/c/".encode() in tracked
        assert f"{settings.withdrawal_url}/w/".encode() in tracked
        assert sent["report"]["message"]["links"] == 1
        # The same again, also told in the other way, is the same answer and no second send.
        assert ben.post("/v1/sends", json=mail).content == answer.content
        raw = ben.post(
            "/v1/sends",
            params={"id": "offer-1", "footer": "Tracking"},
            content=MAIL,
            headers={"Content-Type": "message/rfc822"},
        )
        assert raw.content == answer.content
        (only,) = sends(settings, tenant)
        assert (only.message_id, only.user) == (sent["message_id"], "ben")
        with apis[1].client("ben", tenant=tenant) as elsewhere:
            assert elsewhere.post("/v1/sends", json=mail).content == answer.content
        assert {each.message_id for each in sends(settings, tenant)} == {only.message_id}
        # Denied since: no pixel, no link, no further send.
        no = GRANTED | {"address": "anna@example.com", "state": "denied", "purposes": ["opens"]}
        json(crm.post("/v1/consents", json=no))
        sent = json(ben.post("/v1/sends", json=mail | {"id": "offer-2"}))
        assert sent["tracked"]["refused"] == {"opens": "denied"}
        tracked = base64.b64decode(sent["message"])
        assert f"{settings.tracking_url}/o/".encode() not in tracked
        assert f"{settings.tracking_url}/c/".encode() in tracked
    displays = [
        DISPLAY.decode(record.value or b"")
        for record in asyncio.run(read_all(settings, "displays"))
    ]
    shown = [each for each in displays if each.message_id == only.message_id]
    assert shown[0].subject == "An offer"
    assert shown[0].recipients[0].address == "anna@example.com"


def test_html_and_text_of_one_mail_share_a_send(
    apis: list[Api], tenant: str, settings: Settings
) -> None:
    addresses = ["anna@example.com", "otto@example.com"]
    with apis[0].client("crm", "platform", tenant) as crm:
        body = {
            "user": "ben",
            "html": HTML,
            "text": "See https://shop.example/ today.",
            "subject": "Offer",
            "recipients": addresses,
            "tag": "spring",
            "sent_at": 1_767_225_600_000,
        }
        json(crm.post("/v1/consents", json=GRANTED | {"address": addresses[0]}))
        sent = json(crm.post("/v1/sends", json=body))
        assert sent["tracked"]["refused"] == {"opens": "unknown", "clicks": "unknown"}
        json(crm.post("/v1/consents", json=GRANTED | {"address": addresses[1]}))
        sent = json(crm.post("/v1/sends", json=body))
        assert sent["report"].keys() == {"html", "text"}
        assert f"{settings.tracking_url}/c/" in sent["text"]
        assert f"{settings.tracking_url}/o/" in sent["html"]
        (send,) = sends(settings, tenant)
        assert (send.user, send.tag, send.recipient_count) == ("ben", "spring", 2)
        assert send.sent_at == 1_767_225_600_000
        for wrong, code in (
            ({}, "no_body"),
            ({"html": HTML}, "no_recipients"),
            ({"html": HTML, "message": "TQ=="}, "two_bodies"),
            ({"message": "TQ=="}, "not_trackable"),
            ({"html": HTML, "recipients": ["anna@example.com", "nobody"]}, "not_trackable"),
        ):
            answer = crm.post("/v1/sends", json={"user": "ben"} | wrong)
            assert json(answer, 422)["code"] == code
            assert "anna" not in answer.text


def test_limits(apis: list[Api]) -> None:
    api = apis[0]
    with api.client("ben") as ben:
        large = b"x" * 300_000
        for content in (large, iter([large])):
            answer = ben.post(
                "/v1/sends", content=content, headers={"Content-Type": "message/rfc822"}
            )
            assert json(answer, 413)["code"] == "too_large"
        assert json(ben.post("/v1/sends", content=b"a=b"), 415)["code"] == "media_type"
        assert json(ben.get("/v1/nothing"), 404)["code"] == "no_such_path"
        answer = ben.delete("/v1/policy")
        assert json(answer, 405)["code"] == "method"
        assert answer.headers["allow"] == "GET, PUT, HEAD"
    anybody = httpx.post(f"{api.url}/v1/sends", content=large)
    assert json(anybody, 401)["code"] == "no_token"
    assert anybody.headers["www-authenticate"].startswith("Bearer")
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert httpx.get(f"{api.url}{path}").status_code == 200
    assert httpx.head(f"{api.url}/docs").content == b""
    with httpx.Client(base_url=f"http://127.0.0.1:{api.ops_port}") as ops:
        assert (
            'mailwake_api_requests_total{endpoint="docs",status="200"}' in ops.get("/metrics").text
        )
    log = api.log.read_text()
    assert "post_sends 413" in log
    assert api.token("ben")[:40] not in log
