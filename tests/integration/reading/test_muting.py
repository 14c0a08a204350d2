"""Mails are muted by whom they are of, and by nobody else; on a real ClickHouse."""

from __future__ import annotations

from mailwake_api.bearer import Role
from tests.mailbox import Mailbox, ReadingApi


async def test_a_mail_is_muted_and_says_so(mailbox: Mailbox, api: ReadingApi) -> None:
    sent = mailbox.send(1, "anna")
    other = mailbox.send(2, "anna")
    path = f"/v1/messages/{sent.message_id}"
    ben = api.client()
    assert (await ben.json(path))["muted"] is False
    for does, muted in (("PUT", True), ("PUT", True), ("DELETE", False), ("DELETE", False)):
        answer = await ben.request(does, f"{path}/mute")
        assert (answer.status_code, answer.json()) == (200, {"muted": muted})
        before = (await ben.get(path)).headers["etag"]
        assert (await ben.json(path))["muted"] is muted
        assert (await ben.json(f"/v1/messages/{other.message_id}"))["muted"] is False
    await ben.put(f"{path}/mute")
    assert (await ben.get(path, headers={"If-None-Match": before})).status_code == 200
    crm = api.client("crm", "platform")
    assert (await crm.put(f"{path}/mute")).status_code == 422
    assert (await crm.delete(f"{path}/mute?user=ben")).json() == {"muted": False}


async def test_a_mail_of_somebody_else_is_none(mailbox: Mailbox, api: ReadingApi) -> None:
    sent = mailbox.send(1, "anna")
    path = f"/v1/messages/{sent.message_id}/mute"
    strangers: list[tuple[str, Role, str]] = [
        ("eve", "user", "acme"),
        ("eve", "admin", "acme"),
        ("ben", "user", "other"),
    ]
    for sub, role, tenant in strangers:
        for does in ("PUT", "DELETE"):
            answer = await api.client(sub, role, tenant).request(does, path)
            assert answer.status_code == 404
            assert answer.json()["code"] == "not_found"
    for wrong in ("0" * 32, "x", "A" * 32):
        assert (await api.client().put(f"/v1/messages/{wrong}/mute")).status_code == 404
    assert len(api.memory.connection.mutes) == 0


async def test_while_kafka_is_away_a_mail_is_told_and_not_muted(
    mailbox: Mailbox, api: ReadingApi
) -> None:
    path = f"/v1/messages/{mailbox.send(1, 'anna').message_id}"
    assert (await api.client().put(f"{path}/mute")).status_code == 200
    api.memory.register.away = True
    assert (await api.client().json(path))["muted"] is True
    assert (await api.client().delete(f"{path}/mute")).status_code == 503
