"""A contact, and what recipients allow to be shown, on the real engine."""

from __future__ import annotations

import random

from mailwake_api.mails import read_mails
from mailwake_api.messages import MessagesQuery, page
from mailwake_api.withheld import Denials
from tests.mailbox import (
    AT,
    HOUR,
    Asking,
    Mailbox,
    ReadingApi,
    identity,
    numbers,
)


async def test_who_denies_is_not_shown(mailbox: Mailbox, ben: Asking) -> None:
    alone, shared, other = (
        mailbox.send(1, "anna"),
        mailbox.send(2, "anna", "bob"),
        mailbox.send(3, "bob"),
    )
    for send in (alone, shared, other):
        mailbox.happen(
            send, mailbox.event(send, "open", HOUR), mailbox.event(send, "click", 2 * HOUR)
        )

    async def counted() -> list[tuple[int, int]]:
        found = (await ben.json("/v1/messages", sort="oldest"))["messages"]
        return [(each["opens"]["count"], each["clicks"]["count"]) for each in found]

    assert await counted() == [(1, 1)] * 3
    mailbox.say("anna", "opens", "granted", AT)
    mailbox.say("anna", "opens", "denied", AT + 1)
    assert await counted() == [(0, 1), (0, 1), (1, 1)]
    assert numbers(await ben.json("/v1/messages", opened=True)) == [3]
    assert numbers(await ben.json("/v1/messages", opened=False)) == [2, 1]
    assert numbers(await ben.json("/v1/messages", sort="opened")) == [3]
    assert numbers(await ben.json("/v1/messages", clicked=True)) == [3, 2, 1]
    for send in (alone, shared):
        view = await ben.json(f"/v1/messages/{send.message_id}")
        opens = view["message"]["opens"]
        assert opens == {
            "tracked": True,
            "withheld": True,
            "count": 0,
            "machines": 0,
            "first_at": None,
            "last_at": None,
            "score": None,
        }
        assert (view["message"]["opened"], view["message"]["readers"]) == (False, None)
        assert [each["kind"] for each in view["events"]] == ["click"]
        assert view["links"][0]["clicks"] == 1
    row = (await ben.json("/v1/reports/overview"))["rows"][0]
    assert (row["mails"], row["opens"], row["clicks"], row["withheld"]) == (3, 1, 3, 2)
    contact = await ben.json(f"/v1/contacts/{identity('anna')}")
    assert contact["consent"] == {
        "opens": {"state": "denied", "at": AT + 1},
        "clicks": {"state": "unknown", "at": None},
    }
    mailbox.say("anna", "clicks", "denied", AT + 2)
    view = await ben.json(f"/v1/messages/{alone.message_id}")
    assert view["events"] == []
    assert view["links"][0]["clicks"] == 0
    mailbox.say("anna", "opens", "granted", AT + 3, wording="Yes?")
    assert await counted() == [(1, 0), (1, 0), (1, 1)]


async def test_the_rule_is_that_of_the_view(mailbox: Mailbox, api: ReadingApi) -> None:
    """Whatever recipients say: what a page tells is what `consented_events` has, whether the
    register knows it or ClickHouse is asked."""
    random.seed(11)
    names = ["anna", "bob", "carol", "dora"]
    sends = []
    for number in range(1, 31):
        send = mailbox.send(number, *random.sample(names, random.choice((1, 1, 2, 3))))
        mailbox.happen(
            send,
            *(mailbox.event(send, "open", n * HOUR) for n in range(number % 3)),
            *(mailbox.event(send, "click", n * HOUR) for n in range(number % 2)),
        )
        sends.append(send)
    ids = [send.message_id for send in sends]
    by_register = Denials(api.reader, api.memory.register)
    asked = MessagesQuery(opened=False, limit=200)  # nobody has said anything
    everybody = await page(api.reader, by_register, "acme", "ben", asked)
    assert everybody == await page(api.reader, Denials(api.reader), "acme", "ben", asked)
    assert everybody.messages
    async with api.client() as ben:
        for turn in range(8):
            for name in names:
                for purpose in ("opens", "clicks"):
                    state = random.choice(("granted", "denied", "unknown"))
                    at = AT + random.randrange(20) + turn
                    said = mailbox.say(name, purpose, state, at, wording=f"{turn}")  # type: ignore[arg-type]
                    await api.memory.register.write_consents([said])
            rows = mailbox.client.query(
                "SELECT message_id, countIf(kind = 'open'), countIf(kind = 'click')"
                " FROM consented_events(tenant = 'acme', user = 'ben') GROUP BY message_id"
            )
            expected = {row[0]: row[1:] for row in rows}
            mails = await read_mails(api.reader, Denials(api.reader), "acme", "ben", ids)
            assert await read_mails(api.reader, by_register, "acme", "ben", ids) == mails
            for mail in mails:
                counts = (mail.opens.count, mail.clicks.count)
                assert counts == expected.get(mail.message_id, (0, 0))
            opened = {each.message_id for each in mails if each.opened}
            for wish, those in ((True, opened), (False, {*ids} - opened)):
                found = await ben.json("/v1/messages", opened=wish, limit=200)
                assert {each["message_id"] for each in found["messages"]} == those
                asked = MessagesQuery(opened=wish, limit=200)
                known = await page(api.reader, by_register, "acme", "ben", asked)
                assert {each.message_id for each in known.messages} == those
            row = (await ben.json("/v1/reports/overview"))["rows"][0]
            assert row["opens"] == sum(each[0] for each in expected.values())
            assert row["clicks"] == sum(each[1] for each in expected.values())


async def test_a_contact(mailbox: Mailbox, ben: Asking) -> None:
    for number in range(1, 6):
        send = mailbox.send(number, *(("anna",) if number % 2 else ("bob", "anna")))
        mailbox.happen(send, mailbox.event(send, "open", HOUR))
    mailbox.send(9, "carol")
    mailbox.say("anna", "opens", "granted", AT, wording="I agree.")
    path = f"/v1/contacts/{identity('anna')}"
    contact = await ben.json(path, limit=3)
    assert (contact["name"], contact["address"]) == ("Anna", "anna@example.com")
    assert (contact["sent"], contact["last_sent_at"]) == (5, AT + 5 * HOUR)
    assert contact["consent"]["opens"] == {"state": "granted", "at": AT}
    assert numbers(contact) == [5, 4, 3]
    rest = await ben.json(path, limit=3, cursor=contact["next"])
    assert (numbers(rest), rest["next"]) == ([2, 1], None)
    assert numbers(await ben.json(path, sort="oldest")) == [1, 2, 3, 4, 5]
    await ben.json(f"/v1/contacts/{identity('dora')}", 404)
