"""The relay as a client sees it, byte by byte: greeting, TLS, logins, limits, and no smuggling."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mailwake_local.certificate import make_certificate
from mailwake_local.ports import HOST, free_port
from mailwake_relay.users import new_login, read_users, write_users
from tests.relaying import NAME, PASSWORD, SENDER, Relay, mail
from tests.running import wait_until
from tests.smtp_host import SmtpHost
from tests.wire import Wire


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One relay, without a Kafka: what it carries is nothing to these tests."""
    with SmtpHost() as host:
        folder = tmp_path_factory.mktemp("relay")
        chain, key = make_certificate(folder)
        made = Relay(
            f"{HOST}:{free_port()}",
            folder,
            host,
            relay_certificate=str(chain),
            relay_key=str(key),
            relay_max_bytes=200_000,
        )
        with made.service:
            yield made


@pytest.fixture
def relay(running: Relay) -> Relay:
    running.host.reset()
    return running


@pytest.fixture
def wire(relay: Relay) -> Iterator[Wire]:
    made = Wire(relay)
    yield made
    made.close()


def test_the_greeting_tells_what_holds(wire: Wire) -> None:
    lines = {line[4:] for line in wire.ask(b"EHLO client.example").split(b"\r\n")}
    assert {b"SIZE 200000", b"8BITMIME", b"SMTPUTF8", b"STARTTLS", b"PIPELINING"} <= lines
    assert {b"AUTH LOGIN PLAIN", b"ENHANCEDSTATUSCODES"} <= lines


def test_no_mail_without_a_login(wire: Wire) -> None:
    assert wire.ask(b"MAIL FROM:<a@b.c>").startswith(b"503 5.5.1 ")
    wire.ask(b"EHLO client.example")
    for command in (b"MAIL FROM:<a@b.c>", b"RCPT TO:<a@b.c>", b"DATA", b"VRFY a@b.c"):
        assert wire.ask(command).startswith(b"530 5.7.0 ")


def test_pipelined_commands_are_answered_in_order(relay: Relay, wire: Wire) -> None:
    wire.log_in()
    wire.say(
        b"MAIL FROM:<ben@example.com> SIZE=1000 BODY=8BITMIME AUTH=<>",
        b"RCPT TO:<anna@example.org>",
        b"RCPT TO:<not an address",
        b"RCPT TO:<otto@example.org>",
        b"DATA",
    )
    found = [wire.answer()[:9] for _ in range(5)]
    assert found == [b"250 2.1.0", b"250 2.1.5", b"553 5.1.3", b"250 2.1.5", b"354 End d"]
    wire.say(*mail(1).split(b"\r\n")[:-1], b".", b"MAIL FROM:<ben@example.com>", b"RSET", b"NOOP")
    assert [wire.answer()[:9] for _ in range(4)] == [
        b"250 2.0.0",
        b"250 2.1.0",
        b"250 2.0.0",
        b"250 2.0.0",
    ]
    (taken,) = relay.host.taken
    assert taken.recipients == ("anna@example.org", "otto@example.org")
    assert taken.message != mail(1)  # the lines began with dots, and none was doubled
    assert b"\r\n.\r\ndots\r\n" in taken.message


def test_a_mail_arrives_dots_and_all(relay: Relay, wire: Wire) -> None:
    wire.log_in()
    wire.begin()
    wire.say(mail(1).replace(b"\r\n.", b"\r\n..") + b".")
    assert wire.answer().startswith(b"250 2.0.0 queued")
    assert relay.host.taken[0].message == mail(1)


@pytest.mark.parametrize(
    "end", [b"\n.\r\n", b"\n.\n", b"\r.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r\n\x00.\r\n"]
)
def test_nothing_but_its_own_line_ends_a_mail(relay: Relay, wire: Wire, end: bytes) -> None:
    """SMTP smuggling (CVE-2023-51764 and others): no second mail, here or at the next host."""
    wire.log_in()
    wire.begin()
    smuggled = b"MAIL FROM:<boss@example.com>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n"
    wire.socket.sendall(
        b"Subject: a\r\n\r\nfirst" + end + smuggled + b"Subject: b\r\n\r\nsecond\r\n.\r\n"
    )
    assert wire.answer().startswith(b"250 2.0.0 queued")
    assert wire.ask(b"NOOP").startswith(b"250")
    (taken,) = relay.host.taken
    assert b"second" in taken.message
    rest = taken.message.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest


def test_lines_longer_than_allowed_go_on_as_they_are(relay: Relay, wire: Wire) -> None:
    wire.log_in()
    wire.begin()
    body = b"Message-ID: <1@x>\r\n\r\n" + b"x" * 50_000 + b"\r\n"
    wire.say(body + b".")
    assert wire.answer().startswith(b"250")
    assert relay.host.taken[0].message == body


def test_limits(relay: Relay, wire: Wire) -> None:
    wire.log_in()
    assert wire.ask(b"MAIL FROM:<a@example.com> SIZE=200001").startswith(b"552 5.3.4 ")
    wire.begin()
    wire.say(b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 20_000 + b".")
    assert wire.answer().startswith(b"552 5.3.4 ")
    assert wire.ask(b"MAIL FROM:<a@example.com>").startswith(b"250")
    commands = [b"RCPT TO:<r%d@example.org>" % number for number in range(1001)]
    wire.say(*commands)
    answers = [wire.answer()[:9] for _ in commands]
    assert set(answers[:1000]) == {b"250 2.1.5"}
    assert answers[1000] == b"452 4.5.3"
    assert wire.ask(b"X" * 5000).startswith(b"500 5.5.2 ")
    assert relay.host.taken == []


def test_addresses_beyond_ascii(relay: Relay, wire: Wire) -> None:
    wire.log_in()
    sender = "bén@exämple.com".encode()
    assert wire.ask(b"MAIL FROM:<" + sender + b">").startswith(b"553 5.6.7 ")
    assert wire.ask(b"MAIL FROM:<" + sender + b"> SMTPUTF8").startswith(b"250")
    assert wire.ask("RCPT TO:<änna@exämple.org>".encode()).startswith(b"250")
    assert wire.ask(b"DATA").startswith(b"354")
    wire.say("Message-ID: <1@x>\r\nSubject: für Änna\r\n\r\nGrüße\r\n.".encode())
    assert wire.answer().startswith(b"250")
    (taken,) = relay.host.taken
    assert (taken.sender, taken.recipients) == (sender.decode(), ("änna@exämple.org",))
    assert "SMTPUTF8" in taken.options
    assert "Grüße".encode() in taken.message
    relay.host.utf8 = False
    relay.host.stop()
    relay.host.start()
    try:
        assert wire.ask(b"MAIL FROM:<" + sender + b"> SMTPUTF8").startswith(b"550 5.6.7 ")
    finally:
        relay.host.utf8 = True


def test_an_empty_sender_is_passed_on(relay: Relay, wire: Wire) -> None:
    wire.log_in()
    assert wire.ask(b"MAIL FROM:<>").startswith(b"250")
    assert wire.ask(b"RCPT TO:<anna@example.org>").startswith(b"250")
    assert wire.ask(b"DATA").startswith(b"354")
    wire.say(b"Subject: x\r\n\r\n\r\n.")
    assert wire.answer().startswith(b"250")
    assert relay.host.taken[0].sender == "<>"


def test_starttls_and_what_came_before_it_is_forgotten(relay: Relay) -> None:
    chain = Path(relay.settings.relay_certificate)
    context = ssl.create_default_context(cafile=str(chain))
    with smtplib.SMTP(HOST, relay.settings.relay_port, timeout=20) as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail(SENDER, ["anna@example.org"], mail(1))
        assert caught.value.smtp_code == 530
        client.login(NAME, PASSWORD)
        client.sendmail(SENDER, ["anna@example.org"], mail(1))
    assert relay.host.taken[0].message == mail(1)
    wire = Wire(relay)
    wire.ask(b"EHLO client.example")
    # The command injected behind STARTTLS (CVE-2011-0411) is never carried out.
    wire.say(b"STARTTLS", b"EHLO injected.example")
    assert wire.answer().startswith(b"220 ")
    wire.socket.settimeout(1)
    with context.wrap_socket(wire.socket, server_hostname="localhost") as secure:
        secure.sendall(b"NOOP\r\n")
        assert secure.recv(1000).startswith(b"250 ")
        with pytest.raises(TimeoutError):
            secure.recv(1000)


def test_a_handshake_that_fails_leaves_nothing(relay: Relay) -> None:
    wire = Wire(relay)
    wire.ask(b"EHLO client.example")
    assert wire.ask(b"STARTTLS").startswith(b"220 ")
    wire.socket.sendall(b"this is no handshake at all\r\n" * 10)
    with contextlib.suppress(ConnectionError):
        while wire.socket.recv(1000):
            pass
    wire.close()
    wait_until("it is gone", lambda: "mailwake_relay_sessions 0.0" in relay.metrics(), 10)
    log = relay.service.log.read_text()
    assert "Traceback" not in log
    assert "never retrieved" not in log


def test_passwords(relay: Relay) -> None:
    port = relay.settings.relay_port
    for name, password in ((NAME, "wrong"), ("nobody", PASSWORD), (NAME, "")):
        with smtplib.SMTP(HOST, port, timeout=20) as client:
            started = time.monotonic()
            with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                client.login(name, password)
            assert caught.value.smtp_code == 535
            assert time.monotonic() - started >= 1
    wire = Wire(relay)
    wire.ask(b"EHLO client.example")
    wrong = b"AUTH PLAIN " + b64encode(b"\0somebody\0wrong")
    assert [wire.ask(wrong)[:3] for _ in range(3)] == [b"535"] * 3
    assert wire.answer().startswith(b"421 4.3.2 ")
    assert wire.reader.read() == b""
    wire.close()


def test_a_right_password_is_hashed_once(relay: Relay) -> None:
    relay.connect().close()
    login = read_users(relay.folder / "users.json")[NAME]
    began = time.process_time()
    assert login.fits(PASSWORD.encode())
    hashing = time.process_time() - began
    assert relay.service.process is not None
    process = psutil.Process(relay.service.process.pid)
    before = sum(process.cpu_times()[:2])
    for _ in range(20):
        relay.connect().close()
    assert sum(process.cpu_times()[:2]) - before < 20 * hashing


def test_auth_login_in_lower_case_and_junk(wire: Wire) -> None:
    wire.ask(b"EHLO client.example")
    assert wire.ask(b"AUTH LOGIN ???").startswith(b"501 5.5.2 ")
    assert wire.ask(b"AUTH PLAIN aGFsbG8=").startswith(b"501 5.5.2 ")
    assert wire.ask(b"AUTH CRAM-MD5").startswith(b"504 5.5.4 ")
    assert wire.ask(b"AUTH").startswith(b"501 ")
    assert wire.ask(b"auth login") == b"334 VXNlcm5hbWU6\r\n"
    assert wire.ask(b64encode(NAME.encode())) == b"334 UGFzc3dvcmQ6\r\n"
    assert wire.ask(b64encode(PASSWORD.encode())).startswith(b"235 2.7.0 ")


def test_users_are_read_anew(relay: Relay) -> None:
    path = relay.settings.relay_users
    users = read_users(path)
    write_users(path, users | {"new": new_login("acme", "new", b"secret")})
    with smtplib.SMTP(HOST, relay.settings.relay_port, timeout=20) as client:
        client.login("new", "secret")
    write_users(path, users)
    client = smtplib.SMTP(HOST, relay.settings.relay_port, timeout=20)
    with client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("new", "secret")
    path.write_text("{")
    with smtplib.SMTP(HOST, relay.settings.relay_port, timeout=20) as client:
        client.login(NAME, PASSWORD)
    write_users(path, users)


def test_strangers_keep_no_user_out(relay: Relay) -> None:
    wait_until("nobody is there", lambda: "mailwake_relay_sessions 0.0" in relay.metrics(), 10)
    with contextlib.ExitStack() as open_ones:
        user = Wire(relay)
        open_ones.callback(user.close)
        user.log_in()
        greetings = []
        for _ in range(220):
            address = (HOST, relay.settings.relay_port)
            stranger = open_ones.enter_context(socket.create_connection(address, timeout=20))
            greetings.append(stranger.recv(100)[:4])
        assert greetings == [b"220 "] * 200 + [b"421 "] * 20
        user.begin()
        user.say(b"Subject: x\r\n\r\n.")
        assert user.answer().startswith(b"250 ")
    wait_until("they are gone", lambda: "mailwake_relay_sessions 0.0" in relay.metrics(), 10)


def test_two_relays_do_not_share_a_state(relay: Relay) -> None:
    other = relay.second(relay_port=free_port())
    other.start(wait=False)
    assert other.process is not None
    assert other.process.wait(30) == 2
    assert "another relay keeps its deliveries here" in other.log.read_text()
