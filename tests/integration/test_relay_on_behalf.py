"""The relay and a program that sends for its users, as the mailbox's Compose does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwake.contracts import Send
from mailwake_api.web.outgoing import Host, RefusedError, Taken, hand_over
from mailwake_relay.users import new_login, read_users, write_users
from tests.relaying import NAME, PASSWORD, SENDER, TENANT, Relay, mail
from tests.smtp_host import Fault, SmtpHost
from tests.wire import Wire

MAILBOX = "mailbox"
ANNA, BEN = "anna@example.org", "ben@example.org"
FROM = "X-Mailwake-Network: 203.0.113.0/24\r\nX-Mailwake-Agent: Gecko/1.0\r\n"


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One that tracks, with a login that sends on behalf of others."""
    with SmtpHost() as host:
        made = Relay(kafka, tmp_path_factory.mktemp("relay"), host)
        trusted = new_login(TENANT, MAILBOX, PASSWORD.encode(), on_behalf=True)
        users = made.folder / "users.json"
        write_users(users, read_users(users) | {MAILBOX: trusted})
        (made.folder / "password").write_text(PASSWORD + "\n")
        asyncio.run(made.prepare())
        with made.service:
            made.wait_tracks()
            yield made


@pytest.fixture
def relay(running: Relay) -> Relay:
    running.host.reset()
    return running


def sent_by(relay: Relay, user: str) -> list[Send]:
    return [send for send in asyncio.run(relay.sends()).values() if send.user == user]


def submit(relay: Relay, message: bytes, *to: str, name: str = MAILBOX, whom: str) -> Taken:
    where = f"smtp://{name.replace('@', '%40')}@127.0.0.1:{relay.settings.relay_port}"
    host = Host(where, 30, relay.folder / "password")
    return hand_over(host, SENDER, to or [ANNA], message, whom=whom)


def test_it_sends_for_a_user_and_says_where_that_one_is(relay: Relay) -> None:
    assert submit(relay, mail(1, more=FROM), whom="acme/dana").recipients == 1
    assert submit(relay, mail(2, more=FROM), ANNA, BEN, whom="acme/eve").recipients == 2
    (send,) = sent_by(relay, "dana")
    assert (send.sender_network, send.sender_agent) == ("203.0.113.0/24", "Gecko/1.0")
    assert len(sent_by(relay, "eve")) == 1
    assert all(b"X-Mailwake" not in taken.message for taken in relay.host.taken)


def test_of_others_these_fields_are_removed_and_count_for_nothing(relay: Relay) -> None:
    submit(relay, mail(3, more=FROM), name=NAME, whom="acme/ben")
    (send,) = sent_by(relay, "ben")
    assert (send.sender_network, send.sender_agent) == ("127.0.0.0/24", "")
    assert b"X-Mailwake" not in relay.host.taken[0].message


@pytest.mark.parametrize(("name", "whom"), [(NAME, "acme/dana"), (MAILBOX, "No/such user")])
def test_who_may_not_is_refused(relay: Relay, name: str, whom: str) -> None:
    with pytest.raises(RefusedError, match="does not know the mailbox"):
        submit(relay, mail(), name=name, whom=whom)
    assert relay.host.taken == []


def test_the_same_again_reaches_nobody_twice(relay: Relay) -> None:
    relay.host.faults.append(Fault("dot", "451 later", only=BEN, times=1))
    message = mail(4, more="X-Mailwake-Split: yes\r\n")
    with pytest.raises(RefusedError, match="now \\(451\\); send it once more"):
        submit(relay, message, ANNA, BEN, whom="acme/kim")
    assert submit(relay, message, ANNA, BEN, whom="acme/kim").recipients == 2
    assert sorted(taken.recipients for taken in relay.host.taken) == [(ANNA,), (BEN,)]
    assert len(sent_by(relay, "kim")) == 2


def test_the_identity_may_come_when_it_is_asked_for(relay: Relay) -> None:
    wire = Wire(relay)
    assert wire.ask(b"EHLO x").startswith(b"250-")
    assert wire.ask(b"AUTH PLAIN").startswith(b"334")
    given = f"acme/dana\0{MAILBOX}\0{PASSWORD}".encode()
    assert wire.ask(base64.b64encode(given)).startswith(b"235 ")
    wire.close()


def test_a_mailbox_without_its_password_says_so(relay: Relay, tmp_path: Path) -> None:
    host = Host(f"smtp://mailbox@127.0.0.1:{relay.settings.relay_port}", 30, tmp_path / "none")
    with pytest.raises(RefusedError, match="administrator"):
        hand_over(host, SENDER, [ANNA], mail(), whom="acme/dana")
    nobody = Host(f"smtp://127.0.0.1:{relay.settings.relay_port}", 30)
    with pytest.raises(RefusedError, match="administrator"):
        hand_over(nobody, SENDER, [ANNA], mail())
