"""People: how they open, click, come back and hand on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.quality.chance import Network
from bench.quality.machines import apple_fetches, check_click, fetch_for, preview
from bench.quality.parameters import Program
from bench.quality.story import Story, Visitor


@dataclass(frozen=True, slots=True)
class Reader:
    """A person with a mail program and a device.

    Attributes:
        actor: the person's number in the mail.
        recipient: the index in the body that the person has.
        elsewhere: the network the person is in now and then.
        agent: what the mail program calls itself; where a fetcher loads images, it is not seen.
        guarded: whether Safe Links is between the person and the links.
    """

    actor: int
    recipient: int
    program: Program
    network: Network
    elsewhere: Network
    agent: str
    browser: str
    blocks: bool
    guarded: bool

    @property
    def opening(self) -> Visitor:
        """The mail program."""
        name = self.program.name
        return Visitor("person", name, self.actor, self.recipient, self.network, self.agent)

    @property
    def clicking(self) -> Visitor:
        """The browser that a link opens in."""
        return replace(self.opening, agent=self.browser)


def person(story: Story, recipient: int, office: Network | None = None) -> Reader:
    """A person who gets the body of a recipient; `office` is where the sender sits too."""
    parameters, dice = story.parameters, story.dice
    people, programs = parameters.people, parameters.programs
    program = dice.choices(programs, [each.weight for each in programs])[0]
    device = dice.choice(program.devices)
    browser = dice.choice(parameters.devices[device].browsers)
    agents = program.agents.get(device) or [browser]
    microsoft = program.name in ("desktop", "outlook_web")
    return Reader(
        actor=story.actor(),
        recipient=recipient,
        program=program,
        network=office or story.network(["homes6" if story.happens(people.ipv6) else "homes"]),
        elsewhere=story.network(["homes", "offices"]),
        agent=dice.choice(agents),
        browser=browser,
        blocks=story.happens(program.blocks),
        guarded=microsoft and story.happens(parameters.safe_links.share),
    )


def read(story: Story, reader: Reader, first: int, *, hands_on: bool = True) -> None:
    """All that a person does with a mail whose first reading is at `first`."""
    people = story.parameters.people
    times = [first]
    while story.happens(people.reopens):
        times.append(story.after(times[-1], people.reopening))
    story.readings += times
    for number, at in enumerate(times):
        moved = number > 0 and story.happens(people.moves)
        _open(story, replace(reader, network=reader.elsewhere) if moved else reader, at)
    if story.happens(people.clicks):
        _click(story, reader, story.after(story.dice.choice(times), people.clicking))
    if hands_on and story.happens(people.forwards):
        other = person(story, reader.recipient)
        time = story.after(first, people.forwarding)
        if other.program.images == "apple":
            apple_fetches(story, other.opening, time, time)
        read(story, other, time, hands_on=False)
    if hands_on and story.happens(story.parameters.preview.share):
        _talk_about(story, reader, story.after(first, people.clicking))


def _open(story: Story, reader: Reader, at: int) -> None:
    """Loads the pixel, unless the program does not; Apple's fetch comes from `machines`."""
    people, program = story.parameters.people, reader.program
    if reader.blocks or program.images == "apple":
        return
    times = [at + story.dice.randrange(100, 2000)]
    if story.happens(people.loads_twice):
        times.append(times[0] + story.dice.randrange(500, 20_000))
    for time in times:
        if program.images == "direct":
            story.fetch(time, None, reader.opening, referer=program.referer)
        else:
            fetch_for(story, program.images, reader.opening, time)
    if program.web and story.happens(people.link_prefetch):
        ahead = replace(reader.clicking, who="prefetch", source="link_prefetch")
        story.fetch(times[0] + 300, story.dice.choice(story.links), ahead, purpose="prefetch")


def _click(story: Story, reader: Reader, at: int) -> None:
    people = story.parameters.people
    unclicked = list(story.links)
    story.dice.shuffle(unclicked)
    if story.happens(people.tabs):
        for link in sorted(unclicked):
            _follow(story, reader, link, at)
            at = story.after(at, people.between_tabs)
        return
    while unclicked:
        _follow(story, reader, unclicked.pop(), at)
        if not story.happens(people.more_links):
            break
        at = story.after(at, people.between_clicks)


def _follow(story: Story, reader: Reader, link: int, at: int) -> None:
    """A click, now and then doubled or done again, now and then checked by Safe Links."""
    people = story.parameters.people
    times = [at]
    if story.happens(people.clicks_again):
        times.append(at + story.dice.randrange(150, 2000))
    if story.happens(people.returns):
        times.append(story.after(at, people.reopening))
    for time in times:
        story.fetch(time, link, reader.clicking, referer=reader.program.referer)
    if reader.guarded:
        check_click(story, reader.recipient, link, at)


def _talk_about(story: Story, reader: Reader, at: int) -> None:
    """Puts a link into a chat; a previewer fetches it, a colleague may follow it."""
    link = story.dice.choice(story.links)
    preview(story, reader.recipient, link, at)
    if story.happens(story.parameters.preview.colleague):
        other = person(story, reader.recipient)
        time = story.after(at, story.parameters.people.clicking)
        story.fetch(time, link, replace(other.clicking, source="colleague"))
