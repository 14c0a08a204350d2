"""The mail of a user: the list, one mail, and what was sent to one recipient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from msgspec.structs import replace
from starlette.responses import Response

from mailwake_api import contacts, messages, muting
from mailwake_api.contacts import Contact, ContactQuery
from mailwake_api.mails import Happened, Mail
from mailwake_api.messages import Messages, MessagesQuery, OneMessage
from mailwake_api.muting import Muted
from mailwake_api.timeline import EventView, LinkView, MessageView
from mailwake_api.web.clock import Clock
from mailwake_api.web.composing import told_of
from mailwake_api.web.visit import Visit

PER_PAGE = 40
FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "all": ("All", {}),
    "tracked": ("Tracked emails", {"tracked": True}),
    "opened": ("Opened", {"opened": True}),
    "clicked": ("Clicked", {"clicked": True}),
    "unopened": ("Not opened", {"tracked": True, "opened": False}),
}
"""What the list may be narrowed to: the word for it, and what it asks the API."""


async def mail(visit: Visit) -> Response:
    """`GET /mail`: what the user has sent."""
    chosen = visit.word("show")
    chosen = chosen if chosen in FILTERS else "all"
    words, tag, cursor = visit.word("q", 200), visit.word("tag", 64), visit.word("cursor", 64)
    asked = MessagesQuery(
        **FILTERS[chosen][1], q=words, tag=tag or None, cursor=cursor or None, limit=PER_PAGE
    )
    found = await visit.ask(messages.messages, Messages, asked=asked)
    kept = {"show": chosen if chosen != "all" else "", "q": words, "tag": tag}
    return visit.page(
        "mail.html",
        **TOLD,
        groups=visit.clock.by_day(found.messages, lambda each: each.sent_at),
        filters=[(name, label, _link({**kept, "show": name if name != "all" else ""}))
                 for name, (label, _) in FILTERS.items()],
        chosen=chosen,
        q=words,
        tag=tag,
        older=_link({**kept, "cursor": found.next}) if found.next else None,
        newest=_link(kept) if cursor else None,
        narrowed=bool(words or tag or chosen != "all"),
        without_tag=_link({**kept, "tag": ""}),
        told=told_of(visit.request.query_params),
    )  # fmt: skip


async def message(visit: Visit) -> Response:
    """`GET /mail/{message_id}`: one mail, its links and its timeline."""
    found = await visit.ask(messages.message, MessageView, asked=OneMessage())
    mail = found.message
    links = gathered(found.links)
    return visit.page(
        "message.html",
        **TOLD,
        mail=mail,
        links=links,
        most=max((link.clicks for link in links), default=0),
        events=[(event, _said(event, mail)) for event in found.events],
        more=found.more_events,
        muted=found.muted,
    )


async def mute(visit: Visit) -> Response:
    """`POST /mail/{message_id}/mute`: mutes the mail, or has it ring again."""
    does = muting.unmute if visit.form.get("muted") == "0" else muting.mute
    await visit.ask(does, Muted, asked=OneMessage())
    return visit.go(f"/mail/{visit.request.path_params['message_id']}")


async def contact(visit: Visit) -> Response:
    """`GET /contacts/{recipient_id}`: the mails to one recipient."""
    cursor = visit.word("cursor", 64)
    asked = ContactQuery(cursor=cursor or None, limit=PER_PAGE)
    found = await visit.ask(contacts.contact, Contact, asked=asked)
    own = visit.request.url.path
    return visit.page(
        "contact.html",
        **TOLD,
        contact=found,
        groups=visit.clock.by_day(found.messages, lambda each: each.sent_at),
        older=f"{own}?{urlencode({'cursor': found.next})}" if found.next else None,
        newest=own if cursor else None,
    )


def gathered(links: Sequence[LinkView]) -> list[LinkView]:
    """One line for each target: a link in the mail's text and its HTML, or at two places, is one
    link to people. Of its words those are taken that say more than the address."""
    found: dict[str, LinkView] = {}
    for link in links:
        before = found.get(link.target)
        if before is None:
            found[link.target] = link
            continue
        words = [each.text for each in (before, link) if each.text and "://" not in each.text]
        found[link.target] = replace(
            before,
            text=words[0] if words else before.text,
            clicks=before.clicks + link.clicks,
            machines=before.machines + link.machines,
            first_at=min(filter(None, (before.first_at, link.first_at)), default=None),
            last_at=max(filter(None, (before.last_at, link.last_at)), default=None),
        )
    return list(found.values())


def sign(happened: Happened, of: str, clock: Clock) -> tuple[str, list[str]]:
    """What an icon says: its state (`on`, `off`, `none`, `hidden`), and the lines that show on
    hover: when, how often, how sure.

    `of` is opens or clicks.
    """
    done = "Opened" if of == "opens" else "Clicked"
    if not happened.tracked:
        return "none", [f"{'Opening' if of == 'opens' else 'Links'} not tracked"]
    if happened.withheld:
        return "hidden", ["Not told: a recipient does not agree to it"]
    machines = _times(happened.machines, "machine request", "machine requests")
    if not happened.count or happened.first_at is None or happened.last_at is None:
        lines = [f"Not {done.lower()} yet"]
        return "off", [*lines, f"{machines}, not counted"] if happened.machines else lines
    lines = [f"{done} {clock.full(happened.first_at)}"]
    if happened.count > 1:
        lines.append(f"{happened.count} times, last {clock.full(happened.last_at)}")
    if happened.score is not None:
        lines.append(f"{sure(happened.score)} ({happened.score} %)")
    if happened.machines:
        lines.append(f"{machines}, not counted")
    return "on", lines


def sure(score: int) -> str:
    """How sure a verdict is, in words."""
    return "Sure" if score >= 80 else "Fairly sure" if score >= 60 else "Not very sure"


def title(mail: Mail) -> str:
    """The subject, or what stands in its place."""
    if mail.subject is None:
        return "(subject not kept)"
    return mail.subject.strip() or "(no subject)"


def people(mail: Mail, most: int = 3) -> str:
    """Who the mail went to, the first few by name."""
    named = [each.name or each.address or "" for each in mail.recipients]
    named = [name for name in named if name]
    if not named:
        return _times(mail.recipient_count, "recipient", "recipients")
    more = mail.recipient_count - min(len(named), most)
    text = ", ".join(named[:most])
    return f"{text} and {more} more" if more else text


_VERDICTS = {
    ("open", "human"): "opened the mail",
    ("open", "proxy"): "opened the mail",
    ("open", "prefetch"): "A mail program loaded the mail in advance",
    ("open", "scanner"): "A security scanner looked at the mail",
    ("open", "self"): "You looked at the mail yourself",
    ("click", "human"): "followed a link",
    ("click", "proxy"): "followed a link",
    ("click", "prefetch"): "A link was loaded in advance",
    ("click", "scanner"): "A security scanner tested a link",
    ("click", "self"): "You followed a link yourself",
}


def face(mail: Mail) -> str:
    """Whose initials stand for the mail: the first recipient's."""
    return next((each.name or each.address or "" for each in mail.recipients), "")


TOLD: dict[str, Any] = {
    "says": sign, "title": title, "people": people, "sure": sure, "face": face,
}  # fmt: skip
"""What templates that show mails call."""


def _said(event: EventView, mail: Mail) -> str:
    """What happened, as a sentence."""
    told = _VERDICTS[event.kind, event.verdict]
    if not event.person:
        return told
    who = _who(event, mail)
    if event.forward:
        return "Someone it was likely forwarded to opened the mail"
    if event.implied:
        return f"{who} has read the mail: a link was followed"
    return f"{who} {told}"


def _who(event: EventView, mail: Mail) -> str:
    place = event.recipient
    if place is None and mail.recipient_count == 1 and mail.mode == "identified":
        place = 1
    if place is not None and place <= len(mail.recipients):
        recipient = mail.recipients[place - 1]
        return recipient.name or recipient.address or "The recipient"
    return "Someone"


def _times(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _link(parameters: Mapping[str, str | None]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return "/mail" + (f"?{urlencode(given)}" if given else "")
