"""For how long a mail had been quiet, from what persons did; on a real ClickHouse."""

from __future__ import annotations

from mailwake_api import returning
from tests.mailbox import DAY, HOUR, MINUTE, Mailbox, ReadingApi


async def test_what_persons_did_counts_and_what_was_judged_anew_no_more(
    mailbox: Mailbox, api: ReadingApi
) -> None:
    sent = mailbox.send(1, "anna")
    first = mailbox.event(sent, "open", HOUR)
    taken_back = mailbox.event(sent, "open", DAY)
    mailbox.happen(
        sent,
        first,
        mailbox.event(sent, "open", HOUR + MINUTE, repeat=True),
        mailbox.event(sent, "open", 2 * HOUR, "scanner"),
        mailbox.event(sent, "click", 3 * HOUR),
        taken_back,
        mailbox.event(
            sent,
            "open",
            DAY,
            "scanner",
            event_id=taken_back.event_id,
            hit_id=taken_back.hit_id,
            revision=2,
        ),
    )
    other = mailbox.send(2, "anna", user="eve")
    mailbox.happen(other, mailbox.event(other, "open", HOUR))
    mails = [sent.message_id, other.message_id]
    found = await returning.times(api.reader, "acme", "ben", mails)
    assert {name: [*times] for name, times in found.items()} == {
        sent.message_id: [sent.sent_at + HOUR, sent.sent_at + 3 * HOUR]
    }
    assert returning.quiet_before(found[sent.message_id], sent.sent_at + 5 * DAY) == (
        5 * DAY - 3 * HOUR
    )
    assert await returning.times(api.reader, "acme", "ben", []) == {}
