"""The relay when something fails: no mail lost, none doubled, none tracked without its send."""

from __future__ import annotations

import asyncio
import random
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailwake_local.kafka import LocalKafka
from mailwake_local.ports import free_port
from tests.relaying import SENDER, Relay, mail
from tests.running import standing_still, wait_until
from tests.smtp_host import Fault, SmtpHost, Step

ANNA, OTTO = "anna@example.org", "otto@example.org"
SPLIT = "X-Mailwake-Split: yes\r\n"


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One relay for the tests that leave it as it was; its next host has a second to answer."""
    with SmtpHost() as host:
        made = Relay(kafka, tmp_path_factory.mktemp("relay"), host, relay_next_timeout_s=1.0)
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


async def assert_tracked_with_sends(relay: Relay) -> None:
    """Every mail that arrived tracked has its send, and the send says so."""
    sends = await relay.sends()
    for taken in relay.host.taken:
        for message_id in relay.tracked_ids(taken.message):
            assert sends[message_id].opens or sends[message_id].clicks


def code_of(error: smtplib.SMTPException) -> int:
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code
    assert isinstance(error, smtplib.SMTPRecipientsRefused), error
    return next(iter(error.recipients.values()))[0]


@pytest.mark.parametrize("more", ["", SPLIT], ids=["shared", "split"])
@pytest.mark.parametrize(
    ("step", "does", "code"),
    [
        ("connect", "421 4.3.2 not now", 451),
        ("connect", "554 5.7.1 not you", 451),
        ("connect", "die", 451),
        ("connect", "hang", 451),
        ("mail", "421 4.3.2 going down", 451),
        ("mail", "451 4.7.1 later", 451),
        ("mail", "550 5.7.1 never", 550),
        ("mail", "die", 451),
        ("mail", "hang", 451),
        ("rcpt", "450 4.2.1 later", 450),
        ("rcpt", "550 5.1.1 nobody", 550),
        ("rcpt", "die", 451),
        ("rcpt", "hang", 451),
        ("data", "451 4.3.0 later", 451),
        ("data", "554 5.5.1 no", 554),
        ("data", "die", 451),
        ("data", "hang", 451),
        ("middle", "die", 451),
        ("dot", "421 4.3.2 going down", 451),
        ("dot", "452 4.3.1 full", 452),
        ("dot", "554 5.7.1 spam", 554),
        ("dot", "die", 451),
    ],
)
async def test_a_fault_is_answered_and_the_next_attempt_arrives_once(
    relay: Relay, host: SmtpHost, step: Step, does: str, code: int, more: str
) -> None:
    """Nothing is taken in any of these, so the mail must arrive exactly once in the end."""
    number = random.randrange(10**9)
    host.stop()  # no connection is kept from the test before
    host.start()
    host.faults = [Fault(step, does)]
    started = time.monotonic()
    with pytest.raises(smtplib.SMTPException) as caught:
        await relay.asend(mail(number, more=more), [ANNA, OTTO])
    assert code_of(caught.value) == code
    assert time.monotonic() - started < 8
    assert host.taken == []
    host.faults = []
    await relay.asend(mail(number, more=more), [ANNA, OTTO])
    everyone = Counter(each for taken in host.taken for each in taken.recipients)
    assert everyone == {ANNA: 1, OTTO: 1}
    for taken in host.taken:
        assert relay.tracker.restore(taken.message) == mail(number)
        assert relay.tracked_ids(taken.message)
    await assert_tracked_with_sends(relay)


@pytest.mark.parametrize(
    ("step", "does"),
    [("connect", "die"), ("mail", "die"), ("data", "die"), ("dot", "421 4.3.2 going down")],
)
async def test_one_fault_is_made_up_for_where_nothing_was_given(
    relay: Relay, host: SmtpHost, step: Step, does: str
) -> None:
    """A kept connection that is gone is replaced without the client's noticing."""
    number = random.randrange(10**9)
    await relay.asend(mail(number))
    host.faults = [Fault(step, does, times=1)]
    if step == "connect":
        host.faults = [Fault("mail", "die", times=1)]
    await relay.asend(mail(number + 1))
    assert len(host.taken) == 2


async def test_the_client_hears_of_each_recipient(relay: Relay, host: SmtpHost) -> None:
    host.faults = [Fault("rcpt", "550 5.1.1 nobody of that name", only=OTTO)]
    refused = await relay.asend(mail(1), [ANNA, OTTO])
    assert refused == {OTTO: (550, b"5.1.1 nobody of that name")}
    assert [taken.recipients for taken in host.taken] == [(ANNA,)]
    (message_id,) = relay.tracked_ids(host.taken[0].message)
    assert (await relay.sends())[message_id].recipient_count == 1


async def test_a_host_that_takes_the_mail_and_dies_gets_the_same_mail_again(
    relay: Relay, host: SmtpHost
) -> None:
    """Nobody can know, so the client is told to try again; both copies are one to reports."""
    host.faults = [Fault("dot", "die", taken=True, times=1)]
    with pytest.raises(smtplib.SMTPDataError) as caught:
        await relay.asend(mail(2))
    assert caught.value.smtp_code == 451
    await relay.asend(mail(2))
    first, second = host.taken
    assert first.message == second.message
    assert relay.count("unknown") >= 1
    await assert_tracked_with_sends(relay)


async def test_a_slow_host_is_waited_for(relay: Relay, host: SmtpHost) -> None:
    host.faults = [Fault("dot", "hang", taken=True, seconds=4)]
    await relay.asend(mail(3))
    assert len(host.taken) == 1


@pytest.mark.parametrize("more", ["", SPLIT], ids=["shared", "split"])
async def test_a_client_that_goes_before_the_answer_gets_no_second_copy(
    relay: Relay, host: SmtpHost, more: str
) -> None:
    """It goes while the next host ponders, and sends again at once, while that still goes on."""
    number = random.randrange(10**9)
    host.faults = [Fault("dot", "hang", taken=True, seconds=2)]
    with pytest.raises((smtplib.SMTPServerDisconnected, TimeoutError)):
        await relay.asend(mail(number, more=more), [ANNA, OTTO], timeout=1)
    await relay.asend(mail(number, more=more), [ANNA, OTTO])
    everyone = Counter(each for taken in host.taken for each in taken.recipients)
    assert everyone == {ANNA: 1, OTTO: 1}
    assert relay.count("repeated") >= 1
    host.faults = []
    await relay.asend(mail(number, more=more), [ANNA, OTTO])  # now the client knows: a new mail
    everyone = Counter(each for taken in host.taken for each in taken.recipients)
    assert everyone == {ANNA: 2, OTTO: 2}


async def test_what_a_client_does_not_know_outlives_the_process(kafka: str, tmp_path: Path) -> None:
    with SmtpHost() as host:
        relay = Relay(kafka, tmp_path, host)
        await relay.prepare()
        host.faults = [Fault("dot", "hang", only=OTTO, taken=True)]
        message = mail(4, more=SPLIT)
        with relay.service:
            relay.wait_tracks()
            sending = asyncio.create_task(relay.asend(message, [ANNA, OTTO]))
            await asyncio.to_thread(
                wait_until, "both have it, and one did not say so", lambda: len(host.taken) == 2, 30
            )
            await asyncio.sleep(0.5)
            relay.service.kill()
            with pytest.raises((smtplib.SMTPException, OSError)):
                await sending
            host.faults = []
            relay.service.start()
            relay.wait_tracks()
            await relay.asend(message, [ANNA, OTTO])
        everyone = Counter(each for taken in host.taken for each in taken.recipients)
        # The host has taken Otto's and not said so: that one nobody can know of.
        assert everyone == {ANNA: 1, OTTO: 2}
        await assert_tracked_with_sends(relay)


@pytest.mark.parametrize("choice", ["untracked", "refuse"])
async def test_without_kafka_from_the_start(tmp_path: Path, choice: str) -> None:
    with SmtpHost() as host:
        relay = Relay(f"127.0.0.1:{free_port()}", tmp_path, host, relay_without_kafka=choice)
        with relay.service:
            await relay.asend(mail(5, more="X-Mailwake-Track: none\r\n"))
            assert [taken.message for taken in host.taken] == [mail(5)]
            if choice == "untracked":
                await relay.asend(mail(6, more="X-Mailwake-Track: opens\r\n"))
                assert [taken.message for taken in host.taken] == [mail(5), mail(6)]
                assert relay.count("kafka_away") == 1
            else:
                with pytest.raises(smtplib.SMTPDataError) as caught:
                    await relay.asend(mail(6))
                assert caught.value.smtp_code == 451
                assert b"4.3.0 the mail cannot be tracked now" in bytes(caught.value.smtp_error)  # type: ignore[arg-type]
                assert len(host.taken) == 1
            assert relay.service.stop() == 0


@pytest.mark.parametrize("choice", ["untracked", "refuse"])
async def test_kafka_stops_answering_and_comes_back(tmp_path: Path, choice: str) -> None:
    """A send is in the air: its mail goes out untracked, and the send is put right afterwards."""
    with SmtpHost() as host, LocalKafka(tmp_path / "kafka") as kafka:
        relay = Relay(kafka.bootstrap, tmp_path, host, relay_without_kafka=choice)
        await relay.prepare()
        with relay.service:
            relay.wait_tracks()
            await relay.asend(mail(7))
            with standing_still(kafka.pid):
                for number in (8, 9):
                    if choice == "refuse":
                        with pytest.raises(smtplib.SMTPDataError) as caught:
                            await relay.asend(mail(number))
                        assert caught.value.smtp_code == 451
                    else:
                        await relay.asend(mail(number))
            relay.wait_tracks()
            await relay.asend(mail(8))
            bodies = [taken.message for taken in host.taken]
            assert [bool(relay.tracked_ids(body)) for body in bodies] == (
                [True, False, False, True] if choice == "untracked" else [True, True]
            )
            await asyncio.sleep(1)
            await assert_tracked_with_sends(relay)
            kafka.kill()
            if choice == "untracked":
                await relay.asend(mail(10))
                assert host.taken[-1].message == mail(10)
            kafka.start()
            relay.wait_tracks()
            await relay.asend(mail(11))
            await assert_tracked_with_sends(relay)
            assert relay.tracked_ids(host.taken[-1].message)


@dataclass
class Ledger:
    """What clients sent, and what they were told."""

    accepted: set[str] = field(default_factory=set)
    attempts: Counter[str] = field(default_factory=Counter)
    unheard: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def client(relay: Relay, name: str, mails: int, ledger: Ledger) -> None:
    """Sends mails one after the other, each until it is accepted."""
    for number in range(mails):
        key = f"{name}-{number}"
        more = SPLIT if number % 3 == 0 else ""
        message = mail(1, more=f"X-Key: {key}\r\n{more}").replace(
            b"Message-ID: <1@", f"Message-ID: <{key}@".encode()
        )
        deadline = time.monotonic() + 90
        while key not in ledger.accepted:
            assert time.monotonic() < deadline, key
            ledger.attempts[key] += 1
            try:
                relay.send(message, [f"a-{key}@example.org", f"b-{key}@example.org"], timeout=20)
                ledger.accepted.add(key)
            except smtplib.SMTPResponseException as error:
                if not 400 <= error.smtp_code < 500:
                    ledger.wrong.append(str(error))
                time.sleep(0.1)
            except (smtplib.SMTPException, OSError):
                ledger.unheard.add(key)
                time.sleep(0.1)


async def test_the_ledger_holds_when_the_relay_is_killed_under_load(
    kafka: str, tmp_path: Path
) -> None:
    """Killed with -9 at random moments. Each mail arrives; twice only when a kill fell between the
    next host's taking it and the relay's hearing of it."""
    with SmtpHost(delay_s=0.01) as host:
        relay = Relay(kafka, tmp_path, host)
        await relay.prepare()
        ledger = Ledger()
        kills = 6
        with relay.service:
            relay.wait_tracks()
            threads = [
                threading.Thread(target=client, args=(relay, f"c{number}", 40, ledger))
                for number in range(6)
            ]
            for thread in threads:
                thread.start()
            for _ in range(kills):
                await asyncio.sleep(random.uniform(0.3, 1.2))
                relay.service.kill()
                relay.service.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        assert ledger.wrong == []
        assert len(ledger.accepted) == 240
        everyone = Counter(each for taken in host.taken for each in taken.recipients)
        expected = {f"{side}-{key}@example.org" for key in ledger.accepted for side in "ab"}
        assert set(everyone) == expected
        doubled = {address for address, times in everyone.items() if times > 1}
        assert {address[2:].partition("@")[0] for address in doubled} <= ledger.unheard
        # Of each kill at most what was in the air: 6 clients, 4 bodies at once of a split mail.
        assert len(doubled) <= kills * 6 * 2
        print(f"doubled: {len(doubled)} of {len(expected)}, unheard: {len(ledger.unheard)}")
        sends = await relay.sends()
        untracked = 0
        for taken in host.taken:
            ids = relay.tracked_ids(taken.message)
            untracked += not ids
            assert ids <= set(sends)
            assert taken.sender == SENDER
            key = re.search(rb"X-Key: (\S+)", taken.message)
            assert key is not None
            restored = mail(1, more=f"X-Key: {key[1].decode()}\r\n")
            assert relay.tracker.restore(taken.message) == restored.replace(
                b"Message-ID: <1@", b"Message-ID: <" + key[1] + b"@"
            )
        print(f"untracked: {untracked} of {len(host.taken)}")
