"""The daily digest as its own process, on a real Kafka, ClickHouse and SMTP host: what it tells,
and that it comes once, whatever process is killed."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mailwake.contracts import (
    DIGEST,
    MUTE,
    PREFERENCE,
    DailyDigest,
    Mute,
    Preference,
    Send,
    mute_key,
    user_key,
)
from mailwake.ids import now_ms
from mailwake.settings import Settings
from tests.api import Api, api_settings
from tests.following import put, standing
from tests.mailbox import HOUR, MINUTE, Mailbox, noon
from tests.relaying import NAME, PASSWORD, Relay
from tests.running import Service, running, wait_until
from tests.smtp_host import Fault, SmtpHost, Taken

ADDRESS = "ben@example.com"
KEY = user_key("acme", "ben")


@pytest.fixture
def mailbox(clickhouse: str) -> Iterator[Mailbox]:
    made = Mailbox(clickhouse)
    yield made
    made.client.close()


@pytest.fixture
def host() -> Iterator[SmtpHost]:
    with SmtpHost() as host:
        yield host


class Ben:
    """Who wants a digest, of a day that is half over.

    Attributes:
        digest: the process that sends it, not yet started.
    """

    def __init__(self, settings: Settings, mailbox: Mailbox, folder: Path) -> None:
        self.settings = settings
        self.mailbox = mailbox
        self.digest = Service("digest", settings, folder / "digest.log")
        self._mails = 0

    async def wants(self, user: str = "ben", *, wanted: bool = True, **more: Any) -> None:
        wish = DailyDigest(ADDRESS, noon(), 0) if wanted else None
        preference = Preference(
            "acme",
            user,
            at=now_ms(),
            daily_digest=wish,
            daily_digest_at=more.get("on", now_ms() - 20 * HOUR),
        )
        key = user_key("acme", user)
        await put(self.settings, "preferences", [(key, PREFERENCE.encode(preference))])

    def sent(self, *names: str, **more: Any) -> Send:
        """A mail of the day before yesterday."""
        self._mails += 1
        return self.mailbox.send(self._mails, *names, sent_at=now_ms() - 48 * HOUR, **more)

    def happens(self, send: Send, kind: Any, ago: int = HOUR, *args: Any, **more: Any) -> None:
        at = now_ms() - ago
        self.mailbox.happen(send, self.mailbox.event(send, kind, at - send.sent_at, *args, **more))

    async def state(self, user: str = "ben") -> str:
        """What is remembered of the last digest; empty when nothing is."""
        kept = (await standing(self.settings, "digests")).get(user_key("acme", user))
        return DIGEST.decode(kept).state if kept else ""


@pytest.fixture
async def ben(kafka: str, mailbox: Mailbox, host: SmtpHost, tmp_path: Path) -> Ben:
    settings = await api_settings(
        kafka,
        tmp_path,
        partitions=2,
        clickhouse_url=mailbox.url,
        relay_next=f"smtp://127.0.0.1:{host.port}",
        relay_next_timeout_s=5.0,
        withdrawal_url="https://mail.acme.example",
        digest_from="Mailwake <bell@acme.example>",
    )
    return Ben(settings, mailbox, tmp_path)


async def until_state(ben: Ben, state: str, user: str = "ben") -> None:
    async with asyncio.timeout(60):
        while await ben.state(user) != state:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.2)


def read(taken: Taken) -> tuple[EmailMessage, str]:
    """A mail that was taken, and its text."""
    parsed = email.message_from_bytes(taken.message, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    body = parsed.get_body(("plain",))
    assert body
    text: str = body.get_content()
    return parsed, text.replace("\r\n", "\n")


async def test_it_tells_what_may_be_told_and_once(ben: Ben, host: SmtpHost) -> None:
    opened = ben.sent("anna", subject="The offer")
    ben.happens(opened, "open", 2 * HOUR)
    ben.happens(opened, "open", HOUR)
    shared = ben.sent("bob", "carol", "dora", subject="The minutes")
    ben.happens(shared, "click", HOUR)
    hidden = ben.sent("eve", subject="Not agreed")
    ben.happens(hidden, "open")
    ben.mailbox.say("eve", "opens", "denied", now_ms())
    ben.happens(ben.sent("finn", subject="Scanned"), "open", HOUR, "scanner")
    ben.happens(ben.sent("gina", subject="Long ago"), "open", 30 * HOUR)
    ben.happens(ben.sent("hugo", subject="Of somebody else", user="eve"), "open")
    muted = ben.sent("ines", subject="Muted")
    ben.happens(muted, "open")
    mute = Mute("acme", "ben", muted.message_id, now_ms())
    mute_record = mute_key("acme", "ben", muted.message_id), MUTE.encode(mute)
    await put(ben.settings, "mutes", [mute_record])
    await ben.wants()
    await ben.wants("nobody")
    await ben.wants("ada", wanted=False)
    with running(ben.digest):
        await until_state(ben, "sent")
        await until_state(ben, "nothing", "nobody")
        assert ben.digest.metric('mailwake_digests_total{outcome="sent"}') == 1
    (taken,) = host.taken
    assert (taken.sender, taken.recipients) == ("bell@acme.example", (ADDRESS,))
    message, text = read(taken)
    assert message["Subject"] == "Your mail: 1 opened, 1 with a link followed"
    assert "* The offer\n  Anna opened it twice.\n" in text
    assert "* The minutes\n  Someone of 3 recipients followed a link.\n" in text
    assert sorted(re.findall(r"^\* (.*)$", text, re.M)) == ["The minutes", "The offer"]
    assert f"https://mail.acme.example/mail/{opened.message_id}" in text
    assert b"/o/" not in taken.message
    # Nothing more that day, also from another process, which has looked: another's comes.
    ben.happens(opened, "open", 10 * MINUTE)
    ben.happens(ben.sent("anna", subject="Hers", user="eve"), "open")
    await ben.wants("eve")
    with running(ben.digest):
        await until_state(ben, "sent", "eve")
    assert ["Hers" in read(each)[1] for each in host.taken] == [False, True]
    log = ben.digest.log.read_text()
    assert ADDRESS not in log
    assert "offer" not in log
    assert await ben.state("ada") == ""


async def test_the_next_day_begins_where_the_last_ended(ben: Ben, host: SmtpHost) -> None:
    opened = ben.sent("anna", subject="The offer")
    ben.happens(opened, "open", 5 * HOUR)
    later = ben.sent("bob", subject="The terms")
    ben.happens(later, "open", HOUR)
    await ben.wants()
    yesterday = DIGEST.decode(
        b'{"tenant":"acme","user":"ben","day":"2026-01-01","since":1,"until":%d,"state":"sent"}'
        % (now_ms() - 3 * HOUR)
    )
    await put(ben.settings, "digests", [(KEY, DIGEST.encode(yesterday))])
    with running(ben.digest):
        await until_state(ben, "sent")
        await asyncio.to_thread(wait_until, "it comes", lambda: bool(host.taken))
    text = read(host.taken[0])[1]
    assert "The terms" in text
    assert "The offer" not in text


async def test_killed_after_the_host_has_it_the_same_mail_comes_once_more(
    ben: Ben, host: SmtpHost
) -> None:
    ben.happens(ben.sent("anna"), "open")
    await ben.wants()
    host.faults = [Fault("dot", "hang", taken=True)]
    with running(ben.digest):
        await asyncio.to_thread(wait_until, "the host has it", lambda: bool(host.taken))
        assert await ben.state() == "sending"
        ben.digest.kill()
    host.faults = []
    for _ in range(2):  # and no third time
        with running(ben.digest):
            await until_state(ben, "sent")
    first, second = host.taken
    assert read(first)[0]["Message-ID"] == read(second)[0]["Message-ID"]
    assert first.message == second.message


async def test_killed_before_the_host_has_it_it_comes_once(ben: Ben, host: SmtpHost) -> None:
    ben.happens(ben.sent("anna"), "open")
    await ben.wants()
    host.faults = [Fault("mail", "hang")]
    with running(ben.digest):
        await until_state(ben, "sending")
        ben.digest.kill()
    host.faults = []
    for _ in range(2):
        with running(ben.digest):
            await until_state(ben, "sent")
    assert len(host.taken) == 1


async def test_two_processes_send_one_and_the_other_takes_over(
    ben: Ben, host: SmtpHost, tmp_path: Path
) -> None:
    users = [f"u{number}" for number in range(12)]
    for user in users:
        ben.happens(ben.sent("anna", user=user), "open")
        await ben.wants(user)
    host.delay_s = 0.3
    other = Service("digest", ben.settings, tmp_path / "other.log")
    with running(ben.digest, other):
        await asyncio.to_thread(wait_until, "some are sent", lambda: len(host.taken) >= 4)
        ben.digest.kill()
        for user in users:
            await until_state(ben, "sent", user)
    ids = [read(taken)[0]["Message-ID"] for taken in host.taken]
    assert len({*ids}) == 12
    assert len(ids) <= 13, "only the one that was under way may have come twice"


async def test_an_address_that_is_refused_for_good_is_left_alone_until_tomorrow(
    ben: Ben, host: SmtpHost
) -> None:
    ben.happens(ben.sent("anna"), "open")
    await ben.wants()
    host.faults = [Fault("rcpt", "550 5.1.1 no such user")]
    with running(ben.digest):
        await until_state(ben, "refused")
    assert host.taken == []
    assert ADDRESS not in ben.digest.log.read_text()


async def test_an_address_that_is_refused_for_now_gets_it_later(ben: Ben, host: SmtpHost) -> None:
    ben.happens(ben.sent("anna"), "open")
    await ben.wants()
    host.faults = [Fault("rcpt", "451 4.3.0 later")]
    with running(ben.digest):
        await asyncio.to_thread(
            wait_until, "it waits", lambda: "a digest waits" in ben.digest.log.read_text()
        )
        assert await ben.state() == "sending"
        assert ben.digest.metric("mailwake_digests_due") == 1  # though it waits
    host.faults = []
    with running(ben.digest):
        await until_state(ben, "sent")
    assert len(host.taken) == 1
    assert ADDRESS not in ben.digest.log.read_text()


async def test_one_click_in_the_mail_switches_it_off(
    ben: Ben, host: SmtpHost, tmp_path: Path
) -> None:
    ben.happens(ben.sent("anna"), "open")
    await ben.wants()
    with running(ben.digest):
        await until_state(ben, "sent")
    message, text = read(host.taken[0])
    url = message["List-Unsubscribe"].strip("<>")
    assert url in text
    api = Api(replace(ben.settings, withdrawal_url="http://127.0.0.1:1"), tmp_path)
    with running(api), api.client("ben") as client:
        assert client.get("/v1/preferences").json()["daily_digest"]["address"] == ADDRESS
        path = url.removeprefix("https://mail.acme.example")
        body = {"List-Unsubscribe": "One-Click"}
        answer = client.post(path, data=body, headers={"Authorization": ""})
        assert answer.status_code == 200, answer.text
        assert client.get("/v1/preferences").json()["daily_digest"] is None
        assert path.rpartition("/")[2] not in api.log.read_text()


async def test_through_our_own_relay_it_is_not_tracked(
    kafka: str, mailbox: Mailbox, host: SmtpHost, tmp_path: Path
) -> None:
    relay = Relay(kafka, tmp_path, host)
    await relay.prepare()
    login = f"{quote(NAME, safe='')}:{quote(PASSWORD, safe='')}"
    settings = replace(
        relay.settings,
        clickhouse_url=mailbox.url,
        digest_smtp=f"smtp://{login}@127.0.0.1:{relay.settings.relay_port}",
        digest_from=NAME,
        state=Settings().state,
    )
    ben = Ben(settings, mailbox, tmp_path)
    ben.happens(ben.sent("anna"), "open")
    await ben.wants()
    with running(relay.service):
        relay.wait_tracks()
        with running(ben.digest):
            await until_state(ben, "sent")
    (taken,) = host.taken
    message, _ = read(taken)
    assert message["X-Mailwake-Track"] is None
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert relay.tracked_ids(taken.message) == set()
    assert await relay.sends() == {}
