"""What the daily mail says: of one recipient, of several, of hostile subjects; and its header."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from typing import Any

import pytest

from mailwake.contracts import DailyDigest
from mailwake_api.digest.due import Period
from mailwake_api.digest.letter import Whose, letter, line, message_id
from mailwake_api.digest.telling import Report, Told
from mailwake_api.mails import Recipient
from tests.unit.api.web.test_pages import HOSTILE, mail

WISH = DailyDigest("ben@example.com", "Europe/Berlin", 7)
OFF = "https://mail.acme.example/digest/off/" + "x" * 300
WHOSE = Whose("acme", "ben", "https://mail.acme.example", OFF)
PERIOD = Period("2026-06-02", 1_780_290_000_000, 1_780_376_280_000)


def told(opens: int = 0, clicks: int = 0, links: int = 0, forwards: int = 0, **of: Any) -> Told:
    return Told(mail(**of), opens, clicks, links, forwards)


def made(*some: Told, wish: DailyDigest = WISH, **more: Any) -> EmailMessage:
    values = {"opened": 1, "clicked": 0, "more": 0} | more
    data = letter("Mailwake <bell@acme.example>", wish, WHOSE, PERIOD, Report([*some], **values))
    assert data == letter(
        "Mailwake <bell@acme.example>", wish, WHOSE, PERIOD, Report([*some], **values)
    )
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def parts(message: EmailMessage) -> tuple[str, str]:
    """The text and the HTML."""
    found = [message.get_body((kind,)) for kind in ("plain", "html")]
    assert found[0]
    assert found[1]
    return found[0].get_content(), found[1].get_content()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (told(1), "Anna opened it."),
        (told(2), "Anna opened it twice."),
        (told(0, 1, 1), "Anna followed a link."),
        (told(3, 4, 2), "Anna opened it 3 times and followed 2 links 4 times."),
        (told(1, 2, 2), "Anna opened it and followed 2 links."),
        (told(1, recipients=[]), "The recipient opened it."),
        (told(1, recipient_count=3), "Someone of 3 recipients opened it."),
        # Nobody knows whether they were one or several.
        (told(2, recipient_count=3), "One or more of 3 recipients opened it twice."),
        (
            told(1, 1, 1, recipient_count=3),
            "One or more of 3 recipients opened it and followed a link.",
        ),
        (told(forwards=1), "Someone it was likely forwarded to opened it."),
        (told(1, forwards=1), "Anna opened it; so did, likely, someone it was forwarded to."),
    ],
)
def test_a_mail_is_told_in_a_sentence(what: Told, says: str) -> None:
    assert line(what) == says


def test_the_header() -> None:
    message = made(told(1))
    assert message["From"] == "Mailwake <bell@acme.example>"
    assert message["To"] == "ben@example.com"
    assert message["Subject"] == "Your mail: 1 opened"
    assert message["Date"] == "Tue, 02 Jun 2026 04:58:00 +0000"
    assert message["Message-ID"] == message_id("acme", "ben", "2026-06-02", "acme.example")
    assert message["List-Unsubscribe"] == f"<{OFF}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Mailwake-Track"] == "none"
    raw = message.as_bytes(policy=email.policy.SMTP.clone(max_line_length=998))
    assert f"\r\nList-Unsubscribe: <{OFF}>\r\n".encode() in raw


def test_the_message_id_is_of_the_user_and_the_day() -> None:
    ids = {
        message_id(tenant, user, day, "x.example")
        for tenant, user in (("acme", "ben"), ("acme", "eve"), ("other", "ben"))
        for day in ("2026-06-02", "2026-06-03")
    }
    assert len(ids) == 6
    assert all(re.fullmatch(r"<digest\.2026-06-0[23]\.[0-9a-f]{32}@x\.example>", i) for i in ids)


def test_text_and_html_say_the_same() -> None:
    message = made(told(2), told(0, 1, 1, subject="Terms"), opened=1, clicked=1, more=4)
    assert message["Subject"] == "Your mail: 1 opened, 1 with a link followed"
    for part in parts(message):
        for words in (
            "From Monday, 07:00, to Tuesday, 2 June 2026, 06:58 (Europe/Berlin)",
            "Hello", "Anna opened it twice.", "Terms", "Anna followed a link.", "4 more",
            f"https://mail.acme.example/mail/{'a' * 32}", OFF, "ben of acme asked for it",
        ):  # fmt: skip
            assert words in part, part
    assert "<img" not in parts(message)[1]
    text = parts(message)[0]
    assert not text.startswith(("\n", " "))
    assert "\n\n\n" not in text.replace("\r", "")


@pytest.mark.parametrize("subject", [*HOSTILE, "two\r\nlines\n.\nTo: eve@example.com"])
def test_a_hostile_subject_is_text_and_nothing_else(subject: str) -> None:
    message = made(told(1, subject=subject, recipients=[Recipient(None, subject, None)]))
    assert message["To"] == "ben@example.com"
    text, html = parts(message)
    assert " ".join(subject.split()) in text
    plain = parts(made(told(1, subject="x", recipients=[Recipient(None, "x", None)])))[1]
    assert re.findall("<[a-z]+", html) == re.findall("<[a-z]+", plain)


@pytest.mark.parametrize("address", ["a,b@example.com", "ben@x.example,y.example", "ä@example.com"])
def test_an_address_is_one_or_none(address: str) -> None:
    try:
        message = made(told(1), wish=DailyDigest(address, "UTC", 7))
    except ValueError:
        return
    (found,) = message["To"].addresses
    assert found.domain in ("example.com",)
