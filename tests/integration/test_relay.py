"""The relay as its own process between smtplib and a next host, on a real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mailwake.contracts import Send
from mailwake.tokens import TokenError
from tests.relaying import SENDER, TENANT, USER, Relay, mail
from tests.smtp_host import SmtpHost, Taken


@pytest.fixture
def host() -> Iterator[SmtpHost]:
    with SmtpHost() as made:
        yield made


@pytest.fixture
async def relay(kafka: str, tmp_path: Path, host: SmtpHost) -> AsyncIterator[Relay]:
    made = Relay(kafka, tmp_path, host)
    await made.prepare()
    with made.service:
        made.wait_tracks()
        yield made


def tracked_ids(relay: Relay, message: bytes) -> set[str]:
    """The message ids that the tokens in a mail speak of."""
    import re

    found = set()
    for text in re.findall(rb"https://t\.example\.com/[oc]/([A-Za-z0-9_-]+)", message):
        try:
            found.add(relay.keyring.open(text.decode()).message_id)
        except TokenError as error:
            raise AssertionError("a token that is none") from error
    return found


async def send_of(relay: Relay, taken: Taken) -> Send:
    """The one send of a mail that arrived tracked."""
    (message_id,) = tracked_ids(relay, taken.message)
    return (await relay.sends())[message_id]


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
    display = (await relay.displays())[send.message_id]
    assert (display.subject, display.recipients[0].name) == ("Offer 1", "Anna")
    assert relay.count("tracked") == 1
    log = relay.service.log.read_text()
    assert "@" not in log
    assert relay.service.stop() == 0
