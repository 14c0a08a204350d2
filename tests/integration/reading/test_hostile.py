"""Strings that want to be SQL, and people who want what is not theirs."""

from __future__ import annotations

from typing import Any

import pytest

from mailwake_api.endpoints import ENDPOINTS
from tests.mailbox import HOUR, Asking, Mailbox, ReadingApi, identity, numbers, rows

INJECTIONS = (
    "'",
    "''",
    "\\",
    "\\'",
    "\\\\'",
    "' OR '1'='1",
    "' OR 1=1 --",
    "') OR 1=1 --",
    "')) OR 1=1 --",
    "'; DROP TABLE sends; --",
    "\\'; DROP TABLE sends; --",
    "' UNION ALL SELECT subject FROM displays --",
    "') UNION ALL SELECT message_id, 1 FROM sends --",
    "' AND sleepEachRow(3) = 0 --",
    "' FORMAT JSON --",
    "' SETTINGS readonly = 0 --",
    "' INTO OUTFILE '/etc/passwd' --",
    "1) OR (1=1",
    "x' || tenant || '",
    "%(tenant)s",
    "%(user)s",
    "%s",
    "%%",
    "{tenant:String}",
    "{user:Identifier}",
    "${user}",
    "eve' /*",
    "*/ OR 1=1 /*",
    "-- ",
    "# ",
    "\x00",
    "\x00' OR 1=1 --",
    "a\nb' OR 1=1 --",
    "\u2019 OR 1=1 --",
    "\u02bc OR 1=1 --",
    "`user`",
    '" OR 1=1 --',
    "\ud7ff' OR '",
    "bf27' OR 1=1",
    "\xbf' OR 1=1 --",
    "$$ OR 1=1 $$",
    "$tag$' OR 1=1$tag$",
    "toString(user())",
    "[1,2]",
    "NULL",
    "_",
    "\U0001f4a9'",
)


def texts() -> list[tuple[str, str]]:
    """Every parameter of an endpoint that reads and takes a text."""
    return [
        (endpoint.path, name)
        for endpoint in ENDPOINTS
        if endpoint.asks is not None
        and endpoint.path.startswith(("/v1/mess", "/v1/con", "/v1/rep"))
        if endpoint.method == "GET"
        for name in endpoint.asks.__struct_fields__
    ]


@pytest.mark.parametrize("path", sorted({path for path, _ in texts()}))
async def test_no_text_is_sql(mailbox: Mailbox, api: ReadingApi, path: str) -> None:
    """Whatever is said in whichever parameter: no fault, and nothing of another user's."""
    assert len(set(INJECTIONS)) >= 40
    own = mailbox.send(1, "anna", tag="own")
    secret = mailbox.send(2, "zoe", user="eve", subject="secret-subject", tag="secret-tag")
    for send in (own, secret):
        mailbox.happen(send, mailbox.event(send, "click", HOUR), mailbox.event(send, "open", HOUR))
    names = [name for each, name in texts() if each == path]
    ids = {"message_id": own.message_id, "recipient_id": identity("anna")}
    address = path.format(**ids)
    async with api.client() as ben, api.client("crm", "platform") as crm:
        whole = await ben.get(address)
        for text in INJECTIONS:
            for name in names:
                for who in (ben, crm) if name == "user" else (ben,):
                    answer = await who.get(address, params={name: text})
                    # 404 from a platform: the user that it names has no such mail.
                    taken = (200, 403, 422) if who is ben else (404, 200, 422)
                    assert answer.status_code in taken, (name, text, answer.text)
                    for hidden in ("secret", "zoe", secret.message_id):
                        assert hidden not in answer.text, (name, text)
                    if name == "tag" and answer.status_code == 200:
                        assert own.message_id not in answer.text
                        assert '"own"' not in answer.text
            if "{" in path:
                bad = path.format_map(dict.fromkeys(ids, text.replace("/", ":")))
                url = ben.base_url.copy_with(raw_path=quoted(bad))
                answer = await ben.send(ben.build_request("GET", url))
                assert answer.status_code == 404
        assert (await ben.get(address)).content == whole.content
    async with api.client("eve") as eve:
        assert (await eve.json("/v1/messages"))["messages"][0]["subject"] == "secret-subject"


def quoted(path: str) -> bytes:
    """The path with everything of it that is not plain as `%..`."""
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"/_" else f"%{byte:02X}"
        for byte in path.encode()
    ).encode()


async def test_what_is_stored_with_such_a_text_is_found_by_it(
    mailbox: Mailbox, ben: Asking
) -> None:
    """And nothing else is."""
    tags = [text.replace("\x00", "?") for text in INJECTIONS]
    for number, tag in enumerate(tags):
        mailbox.send(number, "anna", tag=tag, subject=f"About {tag} it")
    for number, tag in enumerate(tags):
        same = [place for place, each in enumerate(tags) if each == tag]
        assert number in same
        found = await ben.json("/v1/messages", tag=tag, sort="oldest")
        assert [int(each["message_id"], 16) for each in found["messages"]] == same
        (row,) = await rows(ben, "overview", by="tag", tag=tag)
        assert (row["group"], row["mails"]) == (tag, len(same))
        words = tag.lower().split()[:8]
        found = await ben.json("/v1/messages", q=tag, sort="oldest")
        told = [int(each["message_id"], 16) for each in found["messages"]]
        assert told == [
            place
            for place, each in enumerate(tags)
            if all(
                any(word in text for text in (f"about {each} it".lower(), "anna@example.com"))
                for word in words
            )
        ], tag


@pytest.mark.fault(27)
async def test_nobody_sees_what_is_not_theirs(mailbox: Mailbox, api: ReadingApi) -> None:
    send = mailbox.send(1, "anna", tag="secret")
    mailbox.happen(send, mailbox.event(send, "open", HOUR), mailbox.event(send, "click", HOUR))
    mailbox.send(2, "zoe", user="eve")
    paths = [f"/v1/messages/{send.message_id}", f"/v1/contacts/{identity('anna')}"]
    nothing = [f"/v1/messages/{9:032x}", f"/v1/contacts/{identity('nobody')}", "/v1/messages/x"]
    reports = [f"/v1/reports/{name}" for name in ("overview", "links", "times", "clients")]
    for sub, role, tenant, params in (
        ("eve", "user", "acme", {}),
        ("ada", "admin", "acme", {}),
        ("ben", "user", "other", {}),
        ("crm", "platform", "acme", {"user": "eve"}),
        ("crm", "platform", "other", {"user": "ben"}),
        ("ben", "platform", "acme", {"user": "eve"}),
    ):
        async with api.client(sub, role, tenant) as other:  # type: ignore[arg-type]
            answers = {(await other.get(each, params=params)).content for each in paths + nothing}
            assert len(answers) == 1  # nothing tells what is another's from what is not at all
            assert b"not_found" in answers.pop()
            wishes: list[dict[str, Any]] = [{}, {"q": "offer"}, {"opened": True}]
            for wish in [*wishes, {"recipient": identity("anna")}]:
                found = await other.get("/v1/messages", params=params | wish)
                assert send.message_id not in found.text
            for each in reports:
                found = await other.get(each, params=params | {"by": "tag"})
                assert "secret" not in found.text
                assert "shop.example" not in found.text
    async with api.client("crm", "platform") as crm:
        assert numbers(await crm.json("/v1/messages", user="ben")) == [1]
        await crm.json(paths[0], user="ben")
        for each in ("/v1/messages", *paths, *reports):
            assert (await crm.json(each, 422))["code"] == "no_user"
    async with api.client("eve") as eve:
        for each in ("/v1/messages", *paths, *reports):
            assert (await eve.json(each, 403, user="ben"))["code"] == "not_yours"
