"""Compose: a mail is written and handed to the relay, which tracks it as far as its toggles and its
recipients let it, remembers the toggles, and sends it on.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Literal
from urllib.parse import quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from mailwake.contracts import Purpose, Toggles
from mailwake.networks import cut, write_address
from mailwake.permission import UNTRACKED, Refusal
from mailwake.proxies import Proxies
from mailwake.settings import Settings
from mailwake_api import preferences
from mailwake_api.preferences import ForUser, Preferences
from mailwake_api.problems import Problem
from mailwake_api.web.frame import sentence
from mailwake_api.web.outgoing import Host, RefusedError, hand_over
from mailwake_api.web.signing_in import secure
from mailwake_api.web.visit import Visit
from mailwake_api.web.writing import (
    MOST_RECIPIENTS,
    MOST_SUBJECT,
    MOST_TEXT,
    Party,
    WrongError,
    mail,
    parties,
)

FROM = "mailwake_from"
"""The cookie that remembers the sender's line."""
_RELAY_S = 15.0
"""The relay's own time, beside that of the host it hands the mail to."""
_YEAR_S = 365 * 86400
_FIELDS = ("sender", "to", "subject", "text", "tag")
_WHY: Mapping[Refusal | Literal["away"], str] = {
    "not_wanted": "it was switched off",
    "ceiling": "your organisation tracks no mail",
    "denied": "a recipient does not agree to it",
    "unknown": "a recipient has not been asked yet",
    "away": "tracking is out of order for the moment",
}
_OF: Mapping[Purpose, str] = {"opens": "opening it", "clicks": "following its links"}


async def show(visit: Visit) -> Response:
    """`GET /compose`: an empty mail, its toggles as they were last."""
    now = await visit.ask(preferences.show, Preferences, asked=ForUser())
    given = dict.fromkeys(_FIELDS, "") | {
        "sender": unquote(visit.request.cookies.get(FROM, "")),
        "to": visit.word("to", 320),
        "id": secrets.token_urlsafe(12),
    }
    return _page(visit, now, given, now.effective, own=False)


async def send(visit: Visit) -> Response:
    """`POST /compose`: sends, or shows what is wrong, with all that was written."""
    now = await visit.ask(preferences.show, Preferences, asked=ForUser())
    given = {name: visit.form.get(name, "").strip() for name in (*_FIELDS, "id")}
    own = "own" in visit.form
    toggles = Toggles("opens" in visit.form, "clicks" in visit.form)
    try:
        sender, recipients = _checked(given)
        told = await _send(visit, given, sender, recipients, toggles, own=own)
    except WrongError as error:
        return _page(visit, now, given, toggles, own=own, wrong=(error.field, str(error)))
    except RefusedError as error:
        return _page(visit, now, given, toggles, own=own, wrong=("", str(error)))
    except Problem as problem:
        return _page(visit, now, given, toggles, own=own, wrong=("", sentence(problem.detail)))
    answer = visit.go("/mail?" + urlencode(told))
    line = f"{sender.name} <{sender.address}>" if sender.name else sender.address
    answer.set_cookie(
        FROM,
        quote(line),
        max_age=_YEAR_S,
        path="/compose",
        secure=secure(visit.parts.settings),
        httponly=True,
        samesite="lax",
    )
    return answer


def _checked(given: Mapping[str, str]) -> tuple[Party, list[Party]]:
    """The sender and the recipients. Raises WrongError."""
    senders = parties(given["sender"], "sender")
    if len(senders) != 1:
        raise WrongError("sender", "Say from which one address the mail comes")
    recipients = parties(given["to"], "to")
    if not recipients:
        raise WrongError("to", "Say to whom the mail goes")
    if len(recipients) > MOST_RECIPIENTS:
        raise WrongError("to", f"A mail goes to {MOST_RECIPIENTS} recipients at most")
    if len(given["subject"]) > MOST_SUBJECT:
        raise WrongError("subject", f"A subject has {MOST_SUBJECT} characters at most")
    if not given["text"]:
        raise WrongError("text", "Write something")
    if len(given["text"]) > MOST_TEXT:
        raise WrongError("text", f"A mail has {MOST_TEXT} characters at most")
    if len(given["tag"]) > 64 or not given["tag"].isprintable():
        raise WrongError("tag", "A label is one line of 64 characters at most")
    return senders[0], recipients


async def _send(
    visit: Visit,
    given: Mapping[str, str],
    sender: Party,
    recipients: Sequence[Party],
    toggles: Toggles,
    *,
    own: bool,
) -> dict[str, str]:
    """Hands the mail to the relay, which tracks it; gives what `told_of` makes a sentence of.

    The same form sent twice, after a failure, is the same mail to the relay, so that whoever has it
    does not get it again. Raises RefusedError when nobody was sent anything.
    """
    settings, who = visit.parts.settings, visit.who
    whom = f"{who.tenant}/{who.sub}"
    domain = sender.address.rpartition("@")[2]
    name = hashlib.blake2b(f"{whom}/{given['id']}".encode(), digest_size=16).hexdigest()
    wishes = {
        "X-Mailwake-Track": ", ".join(_wanted(toggles)) or "none",
        "X-Mailwake-Split": "yes" if own else "no",
        "X-Mailwake-Tag": given["tag"],
        "X-Mailwake-Network": cut(_address(visit.request, settings)),
        "X-Mailwake-Agent": _agent(visit.request),
    }
    message = await asyncio.to_thread(
        mail, sender, recipients, given["subject"], given["text"],
        f"<{name}@{domain if domain.isascii() else 'localhost'}>", formatdate(localtime=False),
        wishes,
    )  # fmt: skip
    refused = await _refused(visit, recipients, toggles, own=own)
    host = Host(
        settings.compose_relay, settings.relay_next_timeout_s + _RELAY_S, settings.compose_password
    )
    addresses = [each.address for each in recipients]
    done = await asyncio.to_thread(hand_over, host, sender.address, addresses, message, whom=whom)
    if done.text.endswith(UNTRACKED):
        refused = dict.fromkeys(_wanted(toggles), "away")
    taken = done.recipients
    left = {"left": str(len(recipients) - taken)} if taken < len(recipients) else {}
    return {"told": "sent", **{str(purpose): why for purpose, why in refused.items()}, **left}


def _wanted(toggles: Toggles) -> list[Purpose]:
    return [purpose for purpose in _OF if getattr(toggles, purpose)]


async def _refused(
    visit: Visit, recipients: Sequence[Party], toggles: Toggles, *, own: bool
) -> dict[Purpose, str]:
    """What the relay will not track of what is wanted, and why: it follows the same register."""
    register, keyring, tenant = visit.parts.register, visit.parts.keyring, visit.who.tenant
    await register.current()
    readers = [keyring.recipient_id(tenant, each.address) for each in recipients]
    found: dict[Purpose, str] = {}
    for body in [[each] for each in readers] if own else [readers]:
        found |= register.permission(tenant, body, toggles).refused
    return {purpose: found[purpose] for purpose in _wanted(toggles) if purpose in found}


def told_of(parameters: Mapping[str, str]) -> str:
    """The sentence that tells of a mail just sent; empty without one. It is made of words of ours
    alone, so that no link can put others into the page."""
    if parameters.get("told") != "sent":
        return ""
    whys = [
        f"{name} is not tracked, for {_WHY[why]}"  # type: ignore[index]
        for purpose, name in _OF.items()
        if (why := parameters.get(purpose, "")) in _WHY
    ]
    left = parameters.get("left", "")
    if left.isdecimal() and len(left) < 4:
        whys.append(f"the mail server did not take it for {left} of the recipients")
    return "; ".join(["Sent", *whys]) + "."


def _address(request: Request, settings: Settings) -> str:
    """The address that the browser comes from; empty where none is known."""
    peer = request.client.host if request.client else ""
    address = Proxies(settings.trusted_proxies).client(peer, request.headers.raw)
    return "" if address is None else write_address(address)


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")[:512]


def _page(
    visit: Visit,
    now: Preferences,
    given: Mapping[str, str],
    toggles: Toggles,
    *,
    own: bool,
    wrong: tuple[str, str] | None = None,
) -> Response:
    return visit.page(
        "compose.html",
        422 if wrong else 200,
        given=given,
        toggles=toggles,
        own=own,
        ceiling=now.ceiling,
        wrong_field=wrong[0] if wrong else None,
        wrong=wrong[1] if wrong else "",
    )
