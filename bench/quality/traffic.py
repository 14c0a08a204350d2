"""The simulated mails of a seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.quality.chance import Network, network_of, weighed
from bench.quality.machines import (
    apple_fetches,
    gateway,
    google_fetches_ahead,
    safe_links,
    script,
)
from bench.quality.mail import Mail
from bench.quality.parameters import Parameters
from bench.quality.people import person, read
from bench.quality.story import Story, Visitor
from mailwake.contracts import Send
from mailwake.ids import message_id_of

TENANT = "acme"
START = 1_790_000_000_000
"""When the first mail may be sent, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One who sends mails; `skew_ms` is how much the sender's clock goes before."""

    user: str
    network: Network
    agent: str
    browser: str
    skew_ms: int


def mails(parameters: Parameters, seed: int, count: int) -> Iterator[Mail]:
    """So many mails. Each has dice of its own: the same number gives the same mail."""
    dice = random.Random(f"senders/{seed}")
    senders = [_sender(parameters, dice, number) for number in range(parameters.mails.senders)]
    for number in range(count):
        yield _mail(parameters, random.Random(f"mail/{seed}/{number}"), senders, f"{seed}/{number}")


def _sender(parameters: Parameters, dice: random.Random, number: int) -> Sender:
    desktop = next(each for each in parameters.programs if each.name == "desktop")
    device = dice.choice(desktop.devices)
    most = parameters.mails.skew_s * 1000
    skewed = dice.random() < parameters.mails.skewed
    return Sender(
        user=f"user-{number}",
        network=network_of(parameters.networks, ["offices"], dice),
        agent=dice.choice(desktop.agents[device]),
        browser=dice.choice(parameters.devices[device].browsers),
        skew_ms=dice.randint(-most, most) if skewed else 0,
    )


def _mail(parameters: Parameters, dice: random.Random, senders: list[Sender], name: str) -> Mail:
    sending = parameters.mails
    sender = dice.choice(senders)
    sent_at = START + dice.randrange(round(sending.hours * 3_600_000))
    recipients = weighed(sending.recipients, dice)
    links = weighed(sending.links, dice)
    unsubscribe = links >= 3 and dice.random() < sending.unsubscribe
    story = Story(parameters, dice, sent_at, range(links))
    shared = recipients > 1 and story.happens(sending.shared_body)
    for number in range(1, recipients + 1):
        _receive(story, 0 if shared else number, sender)
    _look_back(story, 0 if recipients > 1 else 1, sender)
    late = dice.uniform(0, sending.late_s) if story.happens(sending.late_sends) else 0.05
    return Mail(
        send=Send(
            message_id=message_id_of(TENANT, name),
            tenant=TENANT,
            user=sender.user,
            sent_at=sent_at + sender.skew_ms,
            recipient_count=recipients,
            mode="identified",
            opens=True,
            clicks=True,
            recipients=[_id(f"{name}/{number}") for number in range(recipients)],
            links=[target(links, link, unsubscribe) for link in range(links)],
            sender_network=sender.network[0],
            sender_agent=sender.agent,
        ),
        sent_at=sent_at,
        send_at=sent_at + round(late * 1000),
        network=sender.network,
        agent=sender.agent,
        readings=tuple(sorted(story.readings)),
        fetches=tuple(sorted(story.fetches, key=lambda fetch: fetch.at)),
    )


def target(links: int, link: int, unsubscribe: bool) -> str:
    """Where a link leads; the last one may lead out of the list."""
    if unsubscribe and link == links - 1:
        return "https://shop.example/unsubscribe?list=7"
    return f"https://shop.example/offers/{link}?from=mail"


def _receive(story: Story, recipient: int, sender: Sender) -> None:
    """What a recipient's machines and the recipient make of the mail."""
    parameters = story.parameters
    colleague = story.happens(parameters.people.same_office)
    reader = person(story, recipient, sender.network if colleague else None)
    delivered = story.after(story.sent_at, parameters.mails.delivery)
    reads = story.happens(parameters.people.reads)
    first = max(delivered, story.after(story.sent_at, parameters.people.opening))
    if story.happens(parameters.gateway.share):
        gateway(story, recipient)
    if story.happens(parameters.script.share):
        script(story, recipient)
    if reader.guarded:
        safe_links(story, recipient)
    if reader.program.images == "apple" and not reader.blocks:
        apple_fetches(story, reader.opening, delivered, first if reads else None)
    if reader.program.images == "google":
        google_fetches_ahead(story, reader.opening, delivered)
    if reads:
        read(story, reader, first)


def _look_back(story: Story, recipient: int, sender: Sender) -> None:
    """Now and then the sender loads the pixel of the mail, and tries a link."""
    parameters = story.parameters
    if not story.happens(parameters.sender.opens):
        return
    visitor = Visitor("self", "self", story.actor(), recipient, sender.network, sender.agent)
    browser = sender.browser
    if story.happens(parameters.sender.elsewhere):
        other = person(story, recipient)
        visitor = replace(visitor, network=other.network, agent=other.agent)
        browser = other.browser
    at = story.after(story.sent_at, parameters.sender.after)
    story.fetch(at, None, visitor)
    if story.happens(parameters.sender.clicks):
        at += story.dice.randrange(2000, 30_000)
        story.fetch(at, story.dice.choice(story.links), replace(visitor, agent=browser))


def _id(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
