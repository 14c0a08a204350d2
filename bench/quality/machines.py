"""Machines: fetchers of images, scanners, previewers."""

from __future__ import annotations

from dataclasses import replace

from bench.quality.chance import along, weighed
from bench.quality.story import Story, Visitor


def fetch_for(story: Story, name: str, reader: Visitor, at: int) -> None:
    """A fetcher loads the pixel in a reader's stead."""
    fetcher = story.parameters.fetchers[name]
    visitor = replace(
        reader,
        who=fetcher.who,
        network=story.network(fetcher.networks),
        agent=story.dice.choice(fetcher.agents or [reader.agent]),
    )
    story.fetch(at, None, visitor)


def apple_fetches(story: Story, reader: Visitor, delivered: int, first: int | None) -> None:
    """Mail Privacy Protection: the pixel in advance, at the first reading at the latest."""
    apple = story.parameters.apple
    times = [] if first is None else [first]
    if story.happens(apple.fetches):
        times.append(story.after(delivered, apple.after))
    if times:
        fetch_for(story, "apple", reader, min(times))
        if story.happens(apple.second_device):
            fetch_for(story, "apple", reader, story.after(min(times), apple.after))


def google_fetches_ahead(story: Story, reader: Visitor, delivered: int) -> None:
    """A proxy in Google's network that fetches the pixel in advance."""
    ahead = story.parameters.google_prefetch
    if story.happens(ahead.share):
        network = story.network(["google"])
        visitor = replace(
            reader, who="prefetch", source="google_prefetch", network=network, agent=ahead.agent
        )
        story.fetch(story.after(delivered, ahead.after), None, visitor)


def gateway(story: Story, recipient: int) -> None:
    """A security gateway fetches nearly all links, and often the pixel, within seconds."""
    gateway, dice = story.parameters.gateway, story.dice
    vendor = dice.choice(list(gateway.named_agents))
    operator = vendor if story.happens(gateway.own_network) else "cloud"
    named = story.happens(gateway.named)
    agents = gateway.named_agents[vendor] if named else gateway.agents
    actor = story.actor()
    visitors = [
        Visitor(
            "scanner", "gateway", actor, recipient, story.network([operator]), dice.choice(agents)
        )
        for _ in range(weighed(gateway.networks, dice))
    ]
    targets: list[int | None] = [
        link
        for link in story.links
        if not story.happens(gateway.skips_link)
        for _ in range(1 + story.happens(gateway.twice))
    ]
    dice.shuffle(targets)
    if not targets or story.happens(gateway.fetches_pixel):
        targets.insert(0, None)
    begins = story.after(story.sent_at, gateway.after)
    span = along(gateway.span_s, dice) * 1000
    offsets = [0.0, *sorted(dice.uniform(0, span) for _ in targets[1:])]
    for target, offset in zip(targets, offsets, strict=True):
        at, visitor = begins + round(offset), dice.choice(visitors)
        if target is not None and story.happens(gateway.heads_first):
            story.fetch(at, target, visitor, method="HEAD")
            at += 200
        story.fetch(at, target, visitor)


def safe_links(story: Story, recipient: int) -> None:
    """Fetches some links before delivery, one after the other."""
    scanner = story.parameters.safe_links
    actor = story.actor()
    at = story.after(story.sent_at, scanner.after)
    for link in story.some_links(scanner.takes_link):
        story.fetch(at, link, _safe_links(story, actor, recipient))
        at = story.after(at, scanner.between)


def check_click(story: Story, recipient: int, link: int, clicked: int) -> None:
    """Now and then fetches the link that a person has just clicked."""
    scanner = story.parameters.safe_links
    if story.happens(scanner.at_click):
        visitor = replace(_safe_links(story, story.actor(), recipient), source="click_check")
        story.fetch(story.after(clicked, scanner.after_click), link, visitor)


def _safe_links(story: Story, actor: int, recipient: int) -> Visitor:
    network = story.network(["microsoft"])
    agent = story.dice.choice(story.parameters.safe_links.agents)
    return Visitor("scanner", "safe_links", actor, recipient, network, agent)


def script(story: Story, recipient: int) -> None:
    """A scanner that says what it is."""
    scanner, dice = story.parameters.script, story.dice
    agent = dice.choice(scanner.agents)
    network = story.network(["cloud"])
    visitor = Visitor("scanner", "script", story.actor(), recipient, network, agent)
    at = story.after(story.sent_at, scanner.after)
    for link in story.some_links(scanner.takes_link):
        story.fetch(at, link, visitor, method="HEAD" if story.happens(scanner.heads) else "GET")
        at += dice.randrange(50, 3000)


def preview(story: Story, recipient: int, link: int, at: int) -> None:
    """A chat's previewer fetches a link."""
    agent = story.dice.choice(story.parameters.preview.agents)
    network = story.network(["cloud"])
    story.fetch(at, link, Visitor("scanner", "preview", story.actor(), recipient, network, agent))
