"""What becomes of a mail that is given to the API."""

from __future__ import annotations

import httpx

from mailwake.contracts import Toggles
from tests.unit.api.asking import GOOD, HTML, SAID, WISH, problem
from tests.unit.api.memory import Memory


async def test_a_send_told_again_is_published_once(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    body = {
        "id": "offer 1",
        "html": HTML,
        "text": "See https://shop.example/.",
        "recipients": ["anna@example.com"],
    }
    await client.post("/v1/consents", json=SAID, headers=headers)
    answers = [(await client.post("/v1/sends", json=body, headers=headers)) for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    (send,) = memory.connection.sends
    assert (send.opens, send.clicks) == (True, False)
    # The same mail on another basis is another send of the same id; the later one replaces it.
    await client.post("/v1/consents", json=SAID | {"purposes": ["clicks"]}, headers=headers)
    answer = await client.post("/v1/sends", json=body, headers=headers)
    assert answer.json()["tracked"]["clicks"]
    later = memory.connection.sends[1]
    assert (later.message_id, later.sent_at) == (send.message_id, send.sent_at)
    # Without an id of its own each is new.
    del body["id"]
    told = {
        (await client.post("/v1/sends", json=body, headers=headers)).json()["message_id"]
        for _ in range(3)
    }
    assert len(told) == 3


async def test_the_users_toggles_are_the_default_of_a_send(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    consent = SAID | {"purposes": ["opens", "clicks"]}
    await client.post("/v1/consents", json=consent, headers=headers)
    await client.put("/v1/preferences", json=WISH, headers=headers)
    assert memory.register.toggles("acme", "ben") == Toggles(True, False)
    body = {"html": HTML, "recipients": ["anna@example.com"]}
    tracked = (await client.post("/v1/sends", json=body, headers=headers)).json()["tracked"]
    assert (tracked["opens"], tracked["clicks"]) == (True, False)
    assert tracked["refused"] == {"clicks": "not_wanted"}
    body |= {"clicks": True, "opens": False}  # type: ignore[dict-item]
    tracked = (await client.post("/v1/sends", json=body, headers=headers)).json()["tracked"]
    assert (tracked["opens"], tracked["clicks"]) == (False, True)


async def test_recipients_of_a_raw_mail_stand_in_a_field(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin") | {"Content-Type": "message/rfc822"}
    wanted = ["jörg@example.com", "anna@example.com"]
    for address in wanted:
        told = SAID | {"address": address, "purposes": ["opens", "clicks"]}
        await client.post("/v1/consents", json=told, headers=memory.authorization("ben", "admin"))
    answer = await client.post(
        "/v1/sends",
        content=b"To: otto@example.com\r\nContent-Type: text/html\r\n\r\n" + HTML.encode(),
        headers=httpx.Headers(
            headers | {"Mailwake-Recipients": ", ".join(wanted)}, encoding="utf8"
        ),
    )
    assert answer.json()["tracked"]["mode"] == "identified"
    (send,) = memory.connection.sends
    assert send.recipients == [memory.keyring.recipient_id("acme", each) for each in wanted]
    # Those of its header have not been asked.
    answer = await client.post(
        "/v1/sends",
        content=b"To: otto@example.com\r\nContent-Type: text/html\r\n\r\n" + HTML.encode(),
        headers=headers,
    )
    assert answer.json()["tracked"]["refused"] == {"opens": "unknown", "clicks": "unknown"}


async def test_a_body_with_nothing_to_track_publishes_nothing(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    await client.post("/v1/consents", json=SAID | {"purposes": ["clicks"]}, headers=headers)
    body = {"text": "No link in here.", "recipients": ["anna@example.com"]}
    sent = (await client.post("/v1/sends", json=body, headers=headers)).json()
    assert (sent["message_id"], sent["text"]) == (None, "No link in here.")
    assert memory.connection.sends == []


async def test_of_the_senders_address_the_network_is_kept(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ben", "admin")
    await client.post("/v1/consents", json=SAID, headers=headers)
    body = {"html": HTML, "recipients": ["anna@example.com"]}
    for sender, mode in (
        ({"address": "203.0.113.77", "agent": "Firefox/140"}, "identified"),
        ({"address": "::ffff:203.0.113.77"}, "identified"),
        ({"address": "2001:db8:1:2::3"}, "identified"),
        ({"agent": "Firefox/140"}, "identified"),
        ({"address": "203.0.113.77", "agent": "Firefox/140"}, "anonymous"),
    ):
        told = body | {"sender": sender, "mode": mode}
        answer = await client.post("/v1/sends", json=told, headers=headers)
        assert answer.status_code == 200
    assert [(send.sender_network, send.sender_agent) for send in memory.connection.sends] == [
        ("203.0.113.0/24", "Firefox/140"),
        ("203.0.113.0/24", ""),
        ("2001:db8:1::/48", ""),
        ("", "Firefox/140"),
        ("", ""),
    ]
    wrong = body | {"sender": {"address": "203.0.113.777"}}
    answer = await client.post("/v1/sends", json=wrong, headers=headers)
    assert problem(answer, 422) == "sender_address"
    assert "113.777" not in answer.text


async def test_sends_carry_the_days_of_the_policy_that_held(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    headers = memory.authorization("ada", "admin")
    await client.post("/v1/consents", json=SAID, headers=headers)
    assert (await client.get("/v1/policy", headers=headers)).json()["retention_days"] == 180
    wish = {"ceiling": "identified", "basis": "consent"}
    for days, kept in ((30, 30), (None, 30), (180, 180)):
        more = {} if days is None else {"retention_days": days}
        answer = await client.put("/v1/policy", json=wish | more, headers=headers)
        assert answer.json()["retention_days"] == kept
        again = await client.get("/v1/policy", headers=headers)
        assert (again.json(), again.headers["etag"]) == (answer.json(), answer.headers["etag"])
        await client.post("/v1/sends", json=GOOD["post_sends"], headers=headers)
    assert [send.retention_days for send in memory.connection.sends] == [30, 30, 180]
    for no_days in (0, 181, -1, "30", 1.5):
        answer = await client.put(
            "/v1/policy", json=wish | {"retention_days": no_days}, headers=headers
        )
        assert answer.status_code == 422
