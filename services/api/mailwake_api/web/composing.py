"""Compose: a mail is written, tracked as far as its toggles and its recipients let it, and sent."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from email.utils import formatdate, make_msgid
from urllib.parse import quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from mailwake.contracts import Purpose, Toggles
from mailwake.networks import write_address
from mailwake.permission import Refusal
from mailwake.proxies import Proxies
from mailwake.settings import Settings
from mailwake_api import preferences, sends
from mailwake_api.preferences import ForUser, Preferences
from mailwake_api.problems import Problem
from mailwake_api.sends import Sender, SendRequest, Sent
from mailwake_api.web.frame import sentence
from mailwake_api.web.outgoing import RefusedError, hand_over
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
_YEAR_S = 365 * 86400
_FIELDS = ("sender", "to", "subject", "text", "tag")
_WHY: Mapping[Refusal, str] = {
    "not_wanted": "it was switched off",
    "ceiling": "your organisation tracks no mail",
    "denied": "a recipient does not agree to it",
    "unknown": "a recipient has not been asked yet",
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
    await visit.ask(preferences.put_toggles, Preferences, asked=ForUser(), body=toggles)
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
    if len(given["tag"]) > 64:
        raise WrongError("tag", "A label has 64 characters at most")
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
    """Tracks and sends each copy; gives what `told_of` makes a sentence of.

    A send is published before its mail goes out, so that no tracked mail is without one. Raises
    RefusedError when the mail server took nothing at all.
    """
    settings = visit.parts.settings
    copies = [[each] for each in recipients] if own else [list(recipients)]
    domain = sender.address.rpartition("@")[2]
    refused: dict[Purpose, Refusal] = {}
    taken = 0
    for place, copy in enumerate(copies):
        message_id = make_msgid(domain=domain if domain.isascii() else "localhost")
        message = await asyncio.to_thread(
            mail, sender, recipients, given["subject"], given["text"], message_id,
            formatdate(localtime=False),
        )  # fmt: skip
        wanted = SendRequest(
            # The same form sent twice, after a failure, is the same send.
            id=f"compose-{given['id'][:64]}-{place}",
            message=message,
            recipients=[each.address for each in copy],
            opens=toggles.opens,
            clicks=toggles.clicks,
            tag=given["tag"] or None,
            footer=settings.relay_footer[:500] or None if len(copy) == 1 else None,
            sender=Sender(_address(visit.request, settings), _agent(visit.request)),
        )
        sent = await visit.ask(sends.send, Sent, asked=sends.Options(), body=wanted)
        refused |= sent.tracked.refused
        try:
            taken += await asyncio.to_thread(
                hand_over,
                settings,
                sender.address,
                [each.address for each in copy],
                sent.message or message,
            )
        except RefusedError:
            if place == len(copies) - 1 and not taken:
                raise  # else the form would come back, and send again what went out
    told: dict[str, str] = {
        purpose: why for purpose, why in refused.items() if getattr(toggles, purpose)
    }
    left = {"left": str(len(recipients) - taken)} if taken < len(recipients) else {}
    return {"told": "sent", **told, **left}


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
