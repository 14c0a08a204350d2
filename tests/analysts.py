"""Mails of several tenants as analysts see them, and a ledger of what the views must say."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mailwake.contracts import PERSON, Event, Kind, Send, Verdict
from mailwake_api.clients import BY_AGENT, BY_REASON, client_of
from mailwake_enricher.rows import event_columns, send_columns, track_columns
from tests.mailbox import AT, DAY, HOUR, MINUTE, Mailbox, track_of

PAGE = Path(__file__).parent.parent / "docs" / "analysts.md"
AGENTS = ("", "curl/8", *(words[0] for _, words in BY_AGENT))
TAGS = ("spring", "summer", "")
SENDERS = (("acme", "ben"), ("acme", "anna"), ("other", "ben"))
NAMES = ("anna", "bob", "carol", "dora", "emil")
DENIED: dict[tuple[str, str], tuple[Kind, ...]] = {
    ("acme", "bob"): ("open",),
    ("other", "carol"): ("open", "click"),
}


def when(at: int) -> datetime:
    """Milliseconds as ClickHouse gives a time."""
    return datetime.fromtimestamp(at / 1000, UTC)


def day(at: int) -> date:
    """The day of a time, UTC."""
    return when(at).date()


@dataclass
class Told:
    """A mail, and what may be told of it.

    Attributes:
        events: its last revisions, without repeats and without what is denied.
        hidden: the kinds that a recipient denies.
    """

    send: Send
    events: list[Event]
    hidden: frozenset[Kind]

    def acts(self, kind: Kind, *, person: bool = True) -> list[Event]:
        """Opens or clicks by persons (forwards left out), or by others, in the order of time."""
        return sorted(
            (
                each
                for each in self.events
                if each.kind == kind
                and (each.verdict in PERSON) is person
                and not (person and each.forward)
            ),
            key=lambda each: each.at,
        )


@dataclass
class Ledger:
    """Every mail; what was done to the tables in between changes nothing here."""

    mails: list[Told] = field(default_factory=list)

    def by_tag(self) -> Iterator[tuple[str, list[Told]]]:
        """The mails of each tag."""
        for tag in sorted(TAGS):
            if some := [mail for mail in self.mails if mail.send.tag == tag]:
                yield tag, some

    def events(self) -> list[Event]:
        """All that may be told."""
        return [event for mail in self.mails for event in mail.events]


def fill(
    mailbox: Mailbox, mails: int = 60, *, number: int = 0, at: int = AT, retention_days: int = 180
) -> Ledger:
    """Fills the tables as a troubled loader does: rows come twice, revisions in any order.

    The mails are numbered from after `number`, and sent from the time `at` on, seven hours apart.
    """
    rng = random.Random(11 + number)
    ledger = Ledger()
    sends, stages, tracks = [], [], []
    first = number + 1
    for place in range(mails):
        number += 1
        tenant, user = SENDERS[place % 3]
        names = rng.sample(NAMES, rng.choice((1, 1, 1, 2)))
        send = mailbox.send(
            number,
            *names,
            sent_at=at + (number - first) * 7 * HOUR,
            retention_days=retention_days,
            displayed=False,
            tenant=tenant,
            user=user,
            tag=rng.choice(TAGS),
            clicks=place % 10 != 0,
        )
        sends.append(send)
        events = [_event(mailbox, rng, send) for _ in range(rng.randrange(7))]
        judged: Verdict = "scanner"
        stages.append([replace(each, verdict=judged, reasons=["burst"]) for each in events])
        last = [replace(each, revision=rng.choice((2, 5))) for each in events]
        stages += [last, last[: len(last) // 2]]
        tracks += [
            (send.message_id, track_of(send, stages[-3], 1)),
            (send.message_id, track_of(send, last, 7)),
        ]
        hidden = frozenset(kind for name in names for kind in DENIED.get((tenant, name), ()))
        told = [each for each in last if not each.repeat and each.kind not in hidden]
        ledger.mails.append(Told(send, told, hidden))
    rng.shuffle(stages)
    rng.shuffle(tracks)
    for each in range(0, len(stages), 9):
        if some := [event for stage in stages[each : each + 9] for event in stage]:
            mailbox.insert("events", event_columns(some))
    for each in range(0, len(tracks), 20):
        mailbox.insert("tracks", track_columns(tracks[each : each + 20]))
    mailbox.insert("sends", send_columns(sends[::2]))
    for (tenant, name), kinds in DENIED.items():
        for kind in kinds:
            mailbox.say(name, "opens" if kind == "open" else "clicks", "denied", tenant=tenant)
    mailbox.say("anna", "opens", "denied")
    mailbox.say("anna", "opens", "granted", at=ledger.mails[0].send.sent_at + 1)
    return ledger


def _event(mailbox: Mailbox, rng: random.Random, send: Send) -> Event:
    kind: Kind = rng.choice(("open", "open", "click")) if send.clicks else "open"
    verdict: Verdict = rng.choice(("human", "human", "proxy", "prefetch", "scanner", "self"))
    link = rng.randrange(2)
    more: dict[str, Any] = {
        "agent": rng.choice(AGENTS),
        "score": rng.randrange(40, 100),
        "repeat": rng.random() < 0.1,
        "rules_version": 2,
    }
    if verdict == "proxy":
        more["reasons"] = [rng.choice(BY_REASON)[0]]
    if kind == "click":
        more |= {"link": link, "target": send.links[link]}
    elif verdict in PERSON:
        more["forward"] = rng.random() < 0.1
        more["implied"] = not more["forward"] and rng.random() < 0.1
    return mailbox.event(send, kind, rng.randrange(4 * DAY // MINUTE) * MINUTE + 1, verdict, **more)


def questions() -> dict[str, str]:
    """The questions of docs/analysts.md: heading -> SQL."""
    found = {}
    for part in PAGE.read_text().split("\n### ")[1:]:
        heading, _, rest = part.partition("\n")
        if "```sql\n" in rest:
            found[heading] = rest.partition("```sql\n")[2].partition("```")[0]
    return found


def columns(mailbox: Mailbox) -> str:
    """The page's tables of columns, of the comments in the database."""
    made = []
    for view, about in mailbox.client.query(
        "SELECT name, comment FROM system.tables"
        " WHERE database = currentDatabase() AND name LIKE 'v\\_%' ORDER BY name"
    ):
        made += [f"### {view}", f"{about}.", "", "| column | type | is |", "|---|---|---|"]
        for name, kind, told in mailbox.client.query(
            "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase()"
            " AND table = %(view)s ORDER BY position",
            {"view": view},
        ):
            made.append(f"| `{name}` | {kind} | {told} |")
        made.append("")
    return "\n".join(made)


def quantile(values: list[float], level: float) -> float:
    """As quantileExact has it."""
    return sorted(values)[min(int(level * len(values)), len(values) - 1)]


def _rate(part: int, whole: int) -> float:
    """As round(part / whole, 3) has it, which gives halves to the even side."""
    return float(round(Decimal(part) / Decimal(whole), 3))


def _campaigns(ledger: Ledger) -> Any:
    for tag, mails in ledger.by_tag():
        told = sum("open" not in mail.hidden for mail in mails)
        opened = sum(bool(mail.acts("open")) for mail in mails)
        clicked = sum(bool(mail.acts("click")) for mail in mails)
        yield tag, len(mails), told, opened, _rate(opened, told), clicked


def _fast(ledger: Ledger) -> Any:
    for tag, mails in ledger.by_tag():
        after = [
            (mail.acts("open")[0].at - mail.send.sent_at) / 1000
            for mail in mails
            if mail.acts("open")
        ]
        yield tag, len(after), quantile(after, 0.5), quantile(after, 0.9)


def _week(ledger: Ledger) -> Any:
    hours = Counter(
        (when(each.at).isoweekday(), when(each.at).hour)
        for mail in ledger.mails
        for each in mail.acts("open")
        if not each.implied
    )
    found = [(*hour, count) for hour, count in hours.items()]
    return sorted(found, key=lambda row: (-row[2], row[0], row[1]))[:5]


def _links(ledger: Ledger) -> Any:
    carried: Counter[str] = Counter()
    followed: Counter[str] = Counter()
    for mail in ledger.mails:
        if mail.send.clicks and "click" not in mail.hidden:
            carried.update(mail.send.links)
            followed.update({each.target for each in mail.acts("click") if each.target})
    rows = [
        (target, carried[target], followed[target], _rate(followed[target], carried[target]))
        for target in carried
    ]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def _read_with(ledger: Ledger) -> Any:
    acts = Counter(
        client_of(each.agent, each.reasons)
        for mail in ledger.mails
        for each in mail.acts("open") + mail.acts("click")
        if not each.implied
    )
    return sorted(acts.items(), key=lambda row: (-row[1], row[0]))


def _machines(ledger: Ledger) -> Any:
    for kind in ("click", "open"):
        told = [each for each in ledger.events() if each.kind == kind]
        machines = sum(each.verdict not in PERSON for each in told)
        yield kind, len(told), machines, _rate(machines, len(told))


def _never_clicked(ledger: Ledger) -> Any:
    found = [
        (mail.send.message_id, len(mail.acts("open")), when(mail.acts("open")[-1].at))
        for mail in ledger.mails
        if mail.acts("open")
        and not mail.acts("click")
        and mail.send.clicks
        and "click" not in mail.hidden
    ]
    return sorted(found, key=lambda row: (-row[1], row[0]))[:20]


def _senders(ledger: Ledger) -> Any:
    sent: dict[str, list[bool]] = defaultdict(list)
    for mail in ledger.mails:
        sent[mail.send.user].append(bool(mail.acts("open")))
    rows = [
        (user, len(opened), sum(opened), _rate(sum(opened), len(opened)))
        for user, opened in sent.items()
    ]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def _again(ledger: Ledger) -> Any:
    for tag, mails in ledger.by_tag():
        again = sum(
            opens[-1].at - opens[0].at >= 2 * DAY
            for opens in (mail.acts("open") for mail in mails)
            if opens
        )
        if again:
            yield tag, again


def _withheld(ledger: Ledger) -> Any:
    months: dict[date, list[bool]] = defaultdict(list)
    for mail in ledger.mails:
        months[day(mail.send.sent_at).replace(day=1)].append(bool(mail.hidden))
    return sorted((month, len(some), sum(some)) for month, some in months.items())


ANSWERS: tuple[Callable[[Ledger], Any], ...] = (
    _campaigns,
    _fast,
    _week,
    _links,
    _read_with,
    _machines,
    _never_clicked,
    _senders,
    _again,
    _withheld,
)
"""What the ledger says to each question of the page, in its order."""
