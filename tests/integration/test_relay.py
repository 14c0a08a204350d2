"""The relay as its own process between smtplib and a next host, on a real Kafka."""

from __future__ import annotations

import asyncio
import email
import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwake.contracts import CONSENT, Send, consent_key, new_consent
from mailwake.kafka import start_producer
from mailwake_relay.wishes import with_line_ends
from tests.mails import MAILS
from tests.relaying import SENDER, TENANT, USER, Relay, mail
from tests.smtp_host import Fault, SmtpHost, Taken

ANNA, OTTO, IDA = "anna@example.org", "otto@example.org", "ida@example.org"


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One relay for the tests that leave it as it was."""
    with SmtpHost() as host:
        made = Relay(kafka, tmp_path_factory.mktemp("relay"), host)
        asyncio.run(made.prepare())
        with made.service:
            made.wait_tracks()
            yield made


@pytest.fixture
def relay(running: Relay) -> Relay:
    running.host.reset()
    return running


@pytest.fixture
def host(relay: Relay) -> SmtpHost:
    return relay.host


async def send_of(relay: Relay, taken: Taken) -> Send:
    """The one send of a mail that arrived tracked."""
    (message_id,) = relay.tracked_ids(taken.message)
    return (await relay.sends())[message_id]


async def say(relay: Relay, address: str, state: str) -> None:
    """Records what a recipient says of being tracked, and waits until the relay knows."""
    producer = await start_producer(relay.settings, client_id="test")
    recipient = relay.keyring.recipient_id(TENANT, address)
    for purpose in ("opens", "clicks"):
        consent = new_consent(TENANT, recipient, purpose, state, 5, "test")  # type: ignore[arg-type]
        await producer.send_and_wait(
            relay.settings.topic("consents"), CONSENT.encode(consent), key=consent_key(consent)
        )
    await producer.stop()
    await asyncio.sleep(1)


async def test_a_mail_goes_out_tracked_and_its_send_is_published(
    relay: Relay, host: SmtpHost
) -> None:
    agent = "User-Agent: Thunderbird/140.0\r\nX-Mailer: other\r\n"
    message = mail(1, more=agent + "X-Mailwake-Tag: spring\r\nBcc: secret@example.org\r\n")
    assert await relay.asend(message, ["anna@example.org"]) == {}
    (taken,) = host.taken
    assert (taken.sender, taken.recipients) == (SENDER, ("anna@example.org",))
    assert relay.tracker.restore(taken.message) == mail(1, more=agent)
    send = await send_of(relay, taken)
    assert (send.tenant, send.user, send.opens, send.clicks) == (TENANT, USER, True, True)
    assert (send.tag, send.basis, send.recipient_count) == ("spring", "legitimate_interests", 1)
    assert send.links == ["https://example.com/1"]
    assert (send.sender_network, send.sender_agent) == ("127.0.0.0/24", "Thunderbird/140.0")
    assert send.retention_days == 90
    display = (await relay.displays())[send.message_id]
    assert (display.subject, display.recipients[0].name) == ("Offer 1", "Anna")
    assert "@" not in relay.service.log.read_text()


@pytest.mark.parametrize("name", MAILS)
async def test_what_arrives_restored_is_what_was_sent(
    relay: Relay, host: SmtpHost, name: str
) -> None:
    sent = with_line_ends(MAILS[name])
    await relay.asend(sent, [ANNA])
    (taken,) = host.taken
    expected = re.sub(rb"(?im)\A((?:.+\r\n)*?)bcc:.*\r\n(?:[ \t].*\r\n)*", rb"\1", sent)
    if not re.search(rb"(?im)^message-id:", sent.partition(b"\r\n\r\n")[0]):
        added = taken.message.partition(b"\r\n")[0]
        assert re.fullmatch(rb"Message-ID: <[0-9a-f]{32}@example\.com>", added)
        expected = added + b"\r\n" + expected
    if name == "empty":  # its body ends in the pixel, and SMTP ends what it carries with a line end
        expected += b"\r\n"
    assert relay.tracker.restore(taken.message) == expected


async def test_the_mails_own_word_counts_and_becomes_the_default(
    relay: Relay, host: SmtpHost
) -> None:
    before = len(await relay.sends())
    await relay.asend(mail(10, more="x-MAILWAKE-track:\r\n\tNone\r\n"))
    await relay.asend(mail(11))
    assert [taken.message for taken in host.taken] == [mail(10), mail(11)]
    assert len(await relay.sends()) == before
    await relay.asend(mail(12, more="X-Mailwake-Track: clicks\r\n"))
    await relay.asend(mail(13))
    for taken in host.taken[2:]:
        send = await send_of(relay, taken)
        assert (send.opens, send.clicks) == (False, True)
    await relay.asend(mail(14, more="X-Mailwake-Track: opens, clicks\r\n"))
    send = await send_of(relay, host.taken[4])
    assert (send.opens, send.clicks) == (True, True)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("X-Mailwake-Track: yes", b"X-Mailwake-Track must be"),
        ("X-Mailwake-Track: none, opens", b"X-Mailwake-Track must be"),
        ("X-Mailwake-Split: maybe", b'X-Mailwake-Split must be "yes" or "no"'),
        ("X-Mailwake-Tag: " + "x" * 65, b"X-Mailwake-Tag must be a label"),
        ("X-Mailwake-Trak: none", b"X-Mailwake-Trak is no header of Mailwake"),
        ("X-Mailwake-Tag: a\r\nX-Mailwake-Tag: b", b"stands twice"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused(
    relay: Relay, host: SmtpHost, field: str, told: bytes
) -> None:
    with pytest.raises(smtplib.SMTPDataError) as caught:
        await relay.asend(mail(20, more=f"{field}\r\n"))
    assert caught.value.smtp_code == 554
    assert isinstance(caught.value.smtp_error, bytes)
    assert caught.value.smtp_error.startswith(b"5.6.0 ")
    assert told in caught.value.smtp_error
    assert host.taken == []


async def test_a_shared_body_goes_once_to_all(relay: Relay, host: SmtpHost) -> None:
    await relay.asend(mail(30), [ANNA, OTTO, IDA])
    (taken,) = host.taken
    assert taken.recipients == (ANNA, OTTO, IDA)
    send = await send_of(relay, taken)
    assert send.recipient_count == 3
    assert send.recipients == [
        relay.keyring.recipient_id(TENANT, each) for each in (ANNA, OTTO, IDA)
    ]


async def test_split_gives_each_recipient_a_body(relay: Relay, host: SmtpHost) -> None:
    denied, also = "denied-1@example.org", "denied-2@example.org"
    await say(relay, denied, "denied")
    await say(relay, also, "denied")
    before = len(await relay.sends())
    await relay.asend(mail(40, more="X-Mailwake-Split: Yes\r\n"), [ANNA, denied, OTTO, also])
    by_recipients = {taken.recipients: taken for taken in host.taken}
    assert set(by_recipients) == {(ANNA,), (OTTO,), (denied, also)}
    assert by_recipients[denied, also].message == mail(40)
    ids = set()
    for address in (ANNA, OTTO):
        taken = by_recipients[(address,)]
        assert relay.tracker.restore(taken.message) == mail(40)
        send = await send_of(relay, taken)
        assert send.recipients == [relay.keyring.recipient_id(TENANT, address)]
        ids.add(send.message_id)
    assert len(ids) == 2
    assert len(await relay.sends()) == before + 2


async def test_one_who_denied_keeps_a_shared_body_untracked(relay: Relay, host: SmtpHost) -> None:
    await say(relay, "denied-3@example.org", "denied")
    before = len(await relay.sends())
    await relay.asend(mail(45), [ANNA, "denied-3@example.org"])
    assert host.taken[0].message == mail(45)
    assert len(await relay.sends()) == before


async def test_a_mail_that_is_signed_keeps_its_signature(relay: Relay, host: SmtpHost) -> None:
    signed = mail(46, more="DKIM-Signature: v=1; d=example.com; b=abc\r\n")
    await relay.asend(signed)
    assert host.taken[0].message == signed


async def test_a_mail_sent_again_after_success_is_a_mail_again(
    relay: Relay, host: SmtpHost
) -> None:
    await relay.asend(mail(50))
    await relay.asend(mail(50))
    assert len(host.taken) == 2
    assert host.taken[0].message == host.taken[1].message


async def test_split_and_a_recipient_refused_for_now(relay: Relay, host: SmtpHost) -> None:
    """451, and the client's second attempt goes to the one who lacks it, alone."""
    message = mail(60, more="X-Mailwake-Split: yes\r\n")
    host.faults = [Fault("dot", "451 4.7.1 greylisted", only=OTTO, times=1)]
    with pytest.raises(smtplib.SMTPDataError) as caught:
        await relay.asend(message, [ANNA, OTTO, IDA])
    assert caught.value.smtp_code == 451
    assert b"2 of 3 recipients have the mail" in bytes(caught.value.smtp_error)  # type: ignore[arg-type]
    assert sorted(taken.recipients for taken in host.taken) == [(ANNA,), (IDA,)]
    await relay.asend(message, [ANNA, OTTO, IDA])
    assert sorted(taken.recipients for taken in host.taken) == [(ANNA,), (IDA,), (OTTO,)]


async def test_split_and_a_recipient_refused_for_good(relay: Relay, host: SmtpHost) -> None:
    """The others have it, so the answer is yes, and the sender is told by mail who has not."""
    host.faults = [Fault("dot", "550 5.7.1 not from you", only=OTTO)]
    await relay.asend(mail(70, more="X-Mailwake-Split: yes\r\n"), [ANNA, OTTO])
    one, notice = host.taken
    assert one.recipients == (ANNA,)
    assert (notice.sender, notice.recipients) == ("<>", (SENDER,))
    told = email.message_from_bytes(notice.message)
    assert told.get_content_type() == "multipart/report"
    parts = told.get_payload()
    assert isinstance(parts, list)
    text, status, original = parts
    assert OTTO in text.get_payload(decode=True).decode()  # type: ignore[union-attr]
    block = status.get_payload()[1]  # type: ignore[union-attr,index]
    assert block["Final-Recipient"] == f"rfc822; {OTTO}"  # type: ignore[index]
    assert (block["Action"], block["Status"]) == ("failed", "5.7.1")  # type: ignore[index]
    assert b"Subject: Offer 70" in original.get_payload(decode=True)  # type: ignore[union-attr]


async def test_split_where_all_are_refused_says_so(relay: Relay, host: SmtpHost) -> None:
    host.faults = [Fault("dot", "550 5.7.1 not from you")]
    with pytest.raises(smtplib.SMTPDataError) as caught:
        await relay.asend(mail(71, more="X-Mailwake-Split: yes\r\n"), [ANNA, OTTO])
    assert (caught.value.smtp_code, caught.value.smtp_error) == (550, b"5.7.1 not from you")
    assert host.taken == []


async def test_a_thousand_split(relay: Relay, host: SmtpHost) -> None:
    recipients = [f"r{number}@example.org" for number in range(300)]
    await relay.asend(mail(80, more="X-Mailwake-Split: yes\r\n"), recipients)
    assert sorted(taken.recipients[0] for taken in host.taken) == sorted(recipients)
    ids = [relay.tracked_ids(taken.message) for taken in host.taken]
    assert len(set.union(*ids)) == 300
    assert set.union(*ids) <= set(await relay.sends())


async def test_a_footer_and_the_limit_of_the_next_host(kafka: str, tmp_path: Path) -> None:
    with SmtpHost(most_bytes=len(mail(90)) + 20) as host:
        relay = Relay(kafka, tmp_path, host, relay_footer="No tracking, please")
        await relay.prepare()
        with relay.service:
            relay.wait_tracks()
            await relay.asend(mail(90))
            assert host.taken[0].message == mail(90)
            assert await relay.sends() == {}
            host.most_bytes = 50_000_000
            await asyncio.sleep(16)  # until no connection is kept that says otherwise
            await relay.asend(mail(91))
            assert b"No tracking, please" in host.taken[1].message
            assert relay.tracker.restore(host.taken[1].message) == mail(91)


@pytest.mark.fault(32)
async def test_without_consent_there_is_no_tracking(kafka: str, tmp_path: Path) -> None:
    with SmtpHost() as host:
        relay = Relay(kafka, tmp_path, host)
        await relay.prepare(basis="consent")
        with relay.service:
            relay.wait_tracks()
            await relay.asend(mail(95))
            await say(relay, ANNA, "granted")
            await relay.asend(mail(96))
            assert host.taken[0].message == mail(95)
            send = await send_of(relay, host.taken[1])
            assert send.basis == "consent"
            assert list(await relay.sends()) == [send.message_id]
            assert (relay.count("untracked"), relay.count("tracked")) == (1, 1)
            assert relay.service.stop() == 0
            assert "@" not in relay.service.log.read_text()
