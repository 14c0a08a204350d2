"""The mail that fills a mailbox with `mailwake up --demo`, and what becomes of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from html import escape

from mailwake_local.readers import Habit

SENDER = "Dana Whitfield <dana@demo.example>"
PEOPLE = (
    ("Anna Berg", "anna.berg@nordlicht.example"),
    ("Tomás Oliveira", "tomas@oliveira-arquitetos.example"),
    ("Priya Raman", "priya.raman@lotuslogistics.example"),
    ("Jonas Keller", "jonas.keller@kellerdruck.example"),
    ("Mei Tanaka", "mei@tanaka-studio.example"),
    ("Samuel Okafor", "s.okafor@harborfinance.example"),
    ("Claire Dubois", "claire.dubois@atelier-dubois.example"),
    ("Lars Nyström", "lars@nystrom.example"),
    ("Elena Petrova", "elena.petrova@volga-textiles.example"),
    ("Ben Carter", "ben.carter@cartercoffee.example"),
    ("Fatima Haddad", "fatima@haddad-legal.example"),
    ("Oscar Lindqvist", "oscar@fjordbikes.example"),
)
_SHOP = "https://www.whitfield-studio.example"


@dataclass(frozen=True)
class Letter:
    """One mail.

    Attributes:
        to: who gets it, by place in PEOPLE.
        links: words and address of each.
        habit: what becomes of it.
    """

    to: Sequence[int]
    subject: str
    text: str
    links: Sequence[tuple[str, str]]
    tag: str
    habit: Habit
    track: str = "opens, clicks"


_OFFER = (
    "Offer for the new signage",
    "as promised, here is our offer for the signage of your entrance. The drawings show both "
    "variants; the second one keeps the oak.",
    (("See the offer", f"{_SHOP}/offers/signage"), ("Look at the drawings", f"{_SHOP}/drawings")),
    "offers",
)
_SPRING = (
    "Our spring collection is here",
    "forty new papers, printed on the old press, and a first look before anybody else.",
    (
        ("Open the collection", f"{_SHOP}/spring?utm_source=mail"),
        ("Order samples", f"{_SHOP}/samples"),
    ),
    "spring-collection",
)
_INVOICE = (
    "Invoice 2044 and the delivery note",
    "the delivery left us this morning. The invoice and the note are ready for you.",
    (
        ("Invoice 2044", f"{_SHOP}/invoices/2044"),
        ("Follow the parcel", "https://parcel.example/t/77"),
    ),
    "invoices",
)
_VISIT = (
    "Thursday at ten?",
    "would Thursday at ten suit you for the visit? The way to us is easy from the station.",
    (("The way to us", "https://maps.example/whitfield"), ("Pick another time", f"{_SHOP}/visit")),
    "",
)
_NEWS = (
    "Studio news: letterpress evenings",
    "every second Wednesday we open the workshop. Bring a text of your own; we bring the type.",
    (("Reserve a place", f"{_SHOP}/evenings"), ("Pictures of the last one", f"{_SHOP}/pictures")),
    "newsletter",
)
_FOLLOW = (
    "A few answers on paper and price",
    "you asked about the heavier stock: it adds a week and about a tenth to the price.",
    (("Compare the papers", f"{_SHOP}/papers"), ("The whole price list", f"{_SHOP}/prices")),
    "offers",
)

_Words = tuple[str, str, Sequence[tuple[str, str]], str]
_SENT: tuple[tuple[_Words, Sequence[tuple[int, Habit]]], ...] = (
    (_NEWS, ((0, "gmail"), (1, "phone"), (2, "scanned"), (3, "nobody"), (4, "apple_privacy"),
             (5, "outlook_click"), (6, "yahoo"), (7, "prefetched"))),
    (_INVOICE, ((8, "outlook"), (9, "both_links"), (10, "nobody"), (11, "desk"))),
    (_SPRING, ((0, "gmail_click"), (1, "twice"), (2, "scanned_then_read"), (3, "outlook"),
               (4, "phone_click"), (5, "nobody"), (6, "gmail"), (8, "both_links"), (9, "desk"),
               (11, "apple_privacy"))),
    (_OFFER, ((2, "outlook_click"), (7, "twice"), (10, "gmail_click"))),
    (_VISIT, ((4, "phone_click"), (9, "outlook"), (1, "nobody"))),
    (_FOLLOW, ((0, "desk"), (6, "phone_click"), (3, "shared"), (5, "scanned"))),
)  # fmt: skip


def letters() -> Iterator[Letter]:
    """All of them, in the order they are sent."""
    for (subject, text, links, tag), fates in _SENT:
        for person, habit in fates:
            yield Letter([person], subject, text, links, tag, habit)
    yield Letter([0, 4, 8], "Minutes of our call", _VISIT[1], _VISIT[2], "", "twice")
    yield Letter([3, 5], "Draft of the contract", _OFFER[1], _OFFER[2], "offers", "nobody")
    yield Letter(
        [7], "Your question about delivery", _INVOICE[1], _INVOICE[2], "", "gmail", "opens"
    )


def written(letter: Letter) -> tuple[str, bytes]:
    """The Message-ID of a letter and the mail, as a mail program hands it to the relay."""
    names = [PEOPLE[place] for place in letter.to]
    greeting = ", ".join(name.split()[0] for name, _ in names)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = SENDER
    mail["To"] = ", ".join(f"{name} <{address}>" for name, address in names)
    mail["Subject"] = letter.subject
    mail["Date"] = format_datetime(datetime.now(UTC))
    message_id = make_msgid(domain="demo.example")
    mail["Message-ID"] = message_id
    mail["X-Mailwake-Track"] = letter.track
    if letter.tag:
        mail["X-Mailwake-Tag"] = letter.tag
    links = "\n".join(f"{words}: {url}" for words, url in letter.links)
    mail.set_content(f"Dear {greeting},\n\n{letter.text}\n\n{links}\n\nDana\n")
    anchors = "".join(f'<p><a href="{url}">{escape(words)}</a></p>' for words, url in letter.links)
    mail.add_alternative(
        f"<html><body><p>Dear {escape(greeting)},</p><p>{escape(letter.text)}</p>{anchors}"
        "<p>Dana</p></body></html>",
        subtype="html",
    )
    return message_id, mail.as_bytes()
