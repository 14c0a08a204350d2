"""Relays set up in their own ways: TLS and logins on either side, wrong settings, an end."""

from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mailwake_local.certificate import make_certificate
from mailwake_local.ports import HOST, free_port
from tests.relaying import SENDER, Relay, mail
from tests.running import wait_until, without_settings
from tests.smtp_host import Fault, SmtpHost
from tests.wire import LOGIN, Wire


def test_a_password_needs_tls_where_it_is_to(tmp_path: Path) -> None:
    with SmtpHost() as host:
        relay = Relay(f"{HOST}:{free_port()}", tmp_path, host, relay_plain_auth="never")
        with relay.service:
            wire = Wire(relay)
            assert b"AUTH" not in wire.ask(b"EHLO client.example")
            assert wire.ask(LOGIN).startswith(b"538 5.7.11 ")
            wire.close()


async def test_an_end_in_order_cuts_no_mail_off(tmp_path: Path) -> None:
    with SmtpHost() as host:
        relay = Relay(f"{HOST}:{free_port()}", tmp_path, host)
        relay.service.start()
        host.faults = [Fault("dot", "hang", taken=True, seconds=2)]
        idle = Wire(relay)
        idle.log_in()
        client = relay.connect()
        sending = asyncio.create_task(
            asyncio.to_thread(client.sendmail, SENDER, ["anna@example.org"], mail(1))
        )
        await asyncio.to_thread(wait_until, "it is under way", lambda: bool(host.taken), 20)
        stopping = asyncio.create_task(asyncio.to_thread(relay.service.stop))
        assert (await asyncio.to_thread(idle.answer)).startswith(b"421 4.3.2 ")
        assert await sending == {}
        assert client.docmd("NOOP")[0] == 421
        assert await stopping == 0
        client.close()
        idle.close()
        assert len(host.taken) == 1


async def test_the_next_host_wants_tls_and_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    def folder() -> Path:
        return Path(tempfile.mkdtemp(dir=tmp_path))

    with SmtpHost(tls=context, login=("relay@x", "p/w")) as host:
        nobody = f"{HOST}:{free_port()}"
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        for url, code in (
            (f"smtp+tls://relay%40x:p%2Fw@localhost:{host.port}", 250),
            (f"smtp://relay%40x:p%2Fw@localhost:{host.port}", 250),
            (f"smtp+tls://relay%40x:wrong@localhost:{host.port}", 451),
            (f"smtp+tls://localhost:{host.port}", 451),
        ):
            relay = Relay(nobody, folder(), host, relay_next=url)
            with relay.service:
                if code == 250:
                    await relay.asend(mail(1))
                else:
                    with pytest.raises(smtplib.SMTPSenderRefused) as caught:
                        await relay.asend(mail(1))
                    assert caught.value.smtp_code == 451
                    assert b"does not take the relay's login" in caught.value.smtp_error
            assert "p/w" not in relay.service.log.read_text()
        assert len(host.taken) == 2
        monkeypatch.delenv("SSL_CERT_FILE")
        relay = Relay(nobody, folder(), host, relay_next=f"smtp+tls://a:b@localhost:{host.port}")
        with relay.service, pytest.raises(smtplib.SMTPSenderRefused) as caught:
            await relay.asend(mail(1))  # its certificate is nobody's we know
        assert caught.value.smtp_code == 451
        assert len(host.taken) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"relay_users": Path("nowhere.json")}, "there is no file of users"),
        ({"relay_certificate": "nowhere.pem"}, "cannot read the certificate"),
        ({"keyring": Path("nowhere.json")}, "there is no key file"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    tmp_path: Path, wrong: dict[str, object], told: str
) -> None:
    with SmtpHost() as host:
        relay = Relay(f"{HOST}:{free_port()}", tmp_path, host, **wrong)
        relay.service.start(wait=False)
        assert relay.service.process is not None
        assert relay.service.process.wait(30) == 2
        last = relay.service.log.read_text().splitlines()[-1]
        assert last.startswith("mailwake relay: ")
        assert told in last


def test_the_sink_keeps_every_mail(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    process = subprocess.Popen(
        [sys.executable, "-m", "mailwake_local.sink", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        env=without_settings(),
    )
    try:
        assert process.stdout is not None
        word, _, address = process.stdout.readline().decode().strip().partition(" ")
        assert word == "ready"
        port = int(address.rpartition(":")[2])
        with smtplib.SMTP(HOST, port, timeout=20) as client:
            client.sendmail(SENDER, ["anna@example.org", "otto@example.org"], mail(1))
            client.sendmail(SENDER, ["anna@example.org"], mail(2))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout.read() == b""
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    first, second = sorted(folder.iterdir())
    assert (first.name, second.name) == ("0001-offer-1.eml", "0002-offer-2.eml")
    assert first.read_bytes() == (
        b"X-Envelope-From: ben@example.com\r\nX-Envelope-To: anna@example.org\r\n"
        b"X-Envelope-To: otto@example.org\r\n" + mail(1)
    )
