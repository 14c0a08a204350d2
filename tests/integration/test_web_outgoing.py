"""How mail is handed over, against an SMTP host that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailwake_api.web.outgoing import Host, RefusedError, hand_over
from tests.smtp_host import Fault, SmtpHost

MAIL = b"Subject: Hello\r\n\r\nHi\r\n"
ANNA, BEN = "anna@example.com", "ben@example.com"


@pytest.fixture
def host() -> Iterator[SmtpHost]:
    with SmtpHost() as host:
        yield host


def reached(host: SmtpHost, scheme: str = "smtp") -> Host:
    return Host(f"{scheme}://127.0.0.1:{host.port}", timeout_s=2)


def test_it_arrives_as_it_was_made(host: SmtpHost) -> None:
    assert hand_over(reached(host), "dana@acme.example", [ANNA, BEN], MAIL).recipients == 2
    (taken,) = host.taken
    assert (taken.sender, taken.recipients) == ("dana@acme.example", (ANNA, BEN))
    assert taken.message.rstrip() == MAIL.rstrip()


def test_who_is_refused_is_counted(host: SmtpHost) -> None:
    host.faults.append(Fault("rcpt", "550 nobody", only=BEN))
    assert hand_over(reached(host), "dana@acme.example", [ANNA, BEN], MAIL).recipients == 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("rcpt", "550 nobody"), "none of these recipients"),
        (Fault("mail", "550 not you"), "from this sender"),
        (Fault("dot", "554 no"), "refused the mail (554)"),
        (Fault("connect", "554 no"), "(554)"),
        (Fault("dot", "hang"), "does not answer"),
        (Fault("data", "die"), "does not answer"),
    ],
)
def test_what_went_wrong_is_said_without_an_address(
    host: SmtpHost, fault: Fault, told: str
) -> None:
    host.faults.append(fault)
    with pytest.raises(RefusedError) as raised:
        hand_over(reached(host), "dana@acme.example", [ANNA], MAIL)
    assert told in str(raised.value)
    assert "@" not in str(raised.value)


def test_who_insists_on_tls_sends_nothing_without(host: SmtpHost) -> None:
    with pytest.raises(RefusedError):
        hand_over(reached(host, "smtp+tls"), "dana@acme.example", [ANNA], MAIL)
    assert host.taken == []


def test_nobody_there_is_told() -> None:
    nobody = Host("smtp://127.0.0.1:1", timeout_s=1)
    with pytest.raises(RefusedError, match="does not answer"):
        hand_over(nobody, "dana@acme.example", [ANNA], MAIL)
