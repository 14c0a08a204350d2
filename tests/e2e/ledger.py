"""The test's own record of what was sent and hit, and what must come of it.

The generator makes a day of mail in the order in which it reaches Kafka; the oracle says, without
any code of the enricher, which events, tracks and alerts that must give. Readers come back in
visits ten minutes apart; hits of one visit lie within half a minute and ask for one thing, so that
there is one right answer: what is a repeat, and that nothing is a burst.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from mailwake import ids
from mailwake.contracts import Hit, Kind, Mode, Send, Verdict

AGENTS: dict[str, Verdict] = {
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36": "human",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.1.0": "human",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 "
    "(via ggpht.com GoogleImageProxy)": "proxy",
    "Mozilla/5.0": "prefetch",
    "curl/8.5.0": "scanner",
}
PERSONS = ("human", "proxy")
LINKS = [
    "https://example.com/offer?a=1&b=2#top",
    "https://example.com/prices",
    "http://example.org/",
]


@dataclass(frozen=True)
class Seen:
    """An event as the ledger knows it."""

    event_id: str
    hit_id: str
    kind: Kind
    at: int
    message_id: str
    link: int | None
    verdict: Verdict
    first: bool
    implied: bool = False
    forward: bool = False


@dataclass
class Counts:
    """A track as the ledger knows it."""

    opens: int = 0
    clicks: int = 0
    machine_opens: int = 0
    machine_clicks: int = 0
    repeats: int = 0
    forwards: int = 0
    first_open_at: int = 0
    last_open_at: int = 0
    first_click_at: int = 0
    last_click_at: int = 0
    clicked: list[int] = field(default_factory=list)


@dataclass
class Readers:
    """Who has opened a mail: whether each network and agent is a recipient's or one more's."""

    people: int = 0
    known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def is_forward(self, hit: Hit, recipients: int) -> bool:
        """Whether an opener is one more than the recipients.

        People with neither network nor program in common are two; of who has one of them in common
        with somebody, nobody can say.
        """
        who = (hit.network, hit.agent)
        if who not in self.known:
            alike = {
                forward
                for (network, agent), forward in self.known.items()
                if network == hit.network or agent == hit.agent
            }
            self.people += not alike
            self.known[who] = alike == {True} if alike else self.people > recipients
        return self.known[who]


@dataclass
class Ledger:
    """What was published, in order, and what must come of it.

    Attributes:
        early, late: sends to publish before and after the hits.
        hits: as published, duplicates included.
    """

    early: list[Send]
    late: list[Send]
    hits: list[Hit]
    events: dict[str, Seen]
    tracks: dict[str, Counts]
    readers: dict[str, Readers]

    @property
    def sends(self) -> list[Send]:
        """All sends."""
        return self.early + self.late

    @property
    def alerts(self) -> set[str]:
        """The alert_ids: one for each first; of an implied open, its click tells."""
        sends = {send.message_id: send for send in self.sends}
        return {
            ids.alert_id(
                event.event_id, sends[event.message_id].tenant, sends[event.message_id].user
            )
            for event in self.events.values()
            if event.first and not event.implied
        }


def make_ledger(seed: int, sends: int, hits: int) -> Ledger:
    """A ledger of so many sends and so many published hits (duplicates included)."""
    rng = random.Random(seed)
    made = [_send(rng) for _ in range(sends)]
    by_id = {send.message_id: send for send in made}
    streams = [ids.HitStream() for _ in range(3)]
    ledger = Ledger(
        early=made[: sends * 4 // 5],
        late=made[sends * 4 // 5 :],
        hits=[],
        events={},
        tracks={send.message_id: Counts() for send in made},
        readers={send.message_id: Readers() for send in made},
    )
    last: dict[tuple[object, ...], int] = {}
    drafts = iter(_merged(rng, [_drafts(rng, send) for send in made]))
    while len(ledger.hits) < hits:
        if ledger.hits and rng.random() < 0.1:  # a copy of an earlier hit, as a retry makes it
            ledger.hits.append(rng.choice(ledger.hits[-200:]))
            continue
        hit = msgspec.structs.replace(next(drafts), hit_id=rng.choice(streams).next())
        ledger.hits.append(hit)
        _account(ledger, hit, by_id[hit.message_id], last)
    return ledger


def _send(rng: random.Random) -> Send:
    count = rng.choice((1, 1, 1, 3))
    mode: Mode = "anonymous" if rng.random() < 0.1 else "identified"
    return Send(
        message_id=ids.new_message_id(),
        tenant=rng.choice(("acme", "globex")),
        user=rng.choice(("ben", "cleo", "dora")),
        sent_at=ids.now_ms() - 7_200_000,
        recipient_count=count,
        mode=mode,
        opens=rng.random() < 0.95,
        clicks=rng.random() < 0.95,
        recipients=[f"{rng.getrandbits(128):032x}" for _ in range(count)]
        if mode == "identified"
        else [],
        links=LINKS,
        tag=rng.choice((None, "autumn")),
    )


def _drafts(rng: random.Random, send: Send) -> list[Hit]:
    """A message's hits in the order of time: visits ten minutes apart, each of one reader."""
    drafts: list[Hit] = []
    for visit in range(rng.randint(2, 6)):
        at = send.sent_at + 600_000 * (visit + 1)
        agent = rng.choice(list(AGENTS))
        link = rng.choice((None, None, *range(len(LINKS))))
        draft = Hit(
            hit_id="0" * 32,
            kind="open" if link is None else "click",
            at=at,
            tenant=send.tenant,
            message_id=send.message_id,
            recipient=1 if send.recipient_count == 1 else 0,
            mode=send.mode,
            link=link,
            target=None if link is None else LINKS[link],
            network=f"198.51.{rng.randrange(4)}.0/24" if send.mode == "identified" else "",
            agent=agent if send.mode == "identified" else "",
        )
        times = sorted(rng.randrange(1, 30_000) for _ in range(rng.choice((0, 0, 0, 1, 3))))
        drafts += [draft, *(msgspec.structs.replace(draft, at=at + later) for later in times)]
    return drafts


def _merged(rng: random.Random, lists: list[list[Hit]]) -> Iterator[Hit]:
    """The hits of all messages shuffled together, each message's in its own order."""
    turns = [index for index, drafts in enumerate(lists) for _ in drafts]
    rng.shuffle(turns)
    iterators = [iter(drafts) for drafts in lists]
    return (next(iterators[index]) for index in turns)


def _account(ledger: Ledger, hit: Hit, send: Send, last: dict[tuple[object, ...], int]) -> None:
    if not (send.opens if hit.kind == "open" else send.clicks):
        return
    counts = ledger.tracks[send.message_id]
    reader = (hit.message_id, hit.kind, hit.link, hit.network, hit.agent)
    if reader in last and hit.at - last[reader] < 60_000:
        counts.repeats += 1
        return
    last[reader] = hit.at
    verdict = AGENTS.get(hit.agent, "human")
    person = verdict in PERSONS
    first = forward = False
    if not person:
        counts.machine_opens += hit.kind == "open"
        counts.machine_clicks += hit.kind == "click"
    elif hit.link is None:
        forward = verdict == "human" and ledger.readers[send.message_id].is_forward(
            hit, send.recipient_count
        )
        first = not forward and _open(counts, hit.at)
        counts.forwards += forward
    else:
        first = hit.link not in counts.clicked
        counts.clicks += 1
        counts.first_click_at = counts.first_click_at or hit.at
        counts.last_click_at = hit.at
        counts.clicked += [hit.link] if first else []
        if not counts.opens and send.opens:
            _open(counts, hit.at)
            _tell(ledger, hit, "open", verdict, first=True, implied=True)
    _tell(ledger, hit, hit.kind, verdict, first=first, forward=forward)


def _open(counts: Counts, at: int) -> bool:
    """Counts an open; whether it is the first."""
    counts.opens += 1
    counts.first_open_at = counts.first_open_at or at
    counts.last_open_at = at
    return counts.opens == 1


def _tell(
    ledger: Ledger,
    hit: Hit,
    kind: Kind,
    verdict: Verdict,
    *,
    first: bool,
    implied: bool = False,
    forward: bool = False,
) -> None:
    event, link = ids.event_id(hit.hit_id, kind), None if implied else hit.link
    told = (event, hit.hit_id, kind, hit.at, hit.message_id, link)
    ledger.events[event] = Seen(*told, verdict, first, implied, forward)
