"""The withdrawal page: `/w/{token}`, reached by the link that a mail carries.

The token is the authority. Whoever only looks (a GET, also a prefetcher's or a scanner's) changes
nothing; the form's POST does.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, Response

from mailwake.contracts import Consent, ConsentState, Purpose, new_consent
from mailwake.errors import UnavailableError
from mailwake.ids import now_ms
from mailwake.permission import PURPOSES
from mailwake.tokens import MAX_TEXT, TokenError, Withdrawal
from mailwake_api import page
from mailwake_api.call import Call

_CHOICES: Mapping[str, tuple[tuple[Purpose, ...], bool]] = {
    "all-off": (PURPOSES, False),
    "opens-off": (("opens",), False),
    "opens-on": (("opens",), True),
    "clicks-off": (("clicks",), False),
    "clicks-on": (("clicks",), True),
}
"""What each button says: which purposes, and whether they may be tracked."""

_NO_LINK = (
    404,
    "This link leads nowhere",
    "It may have been cut short on its way to you. Open it again from the mail it came in, or ask "
    "whoever sent the mail. Nothing was changed.",
)
_NO_CHOICE = (
    400,
    "Nothing was chosen",
    "Nothing was changed. Open the link from the mail again and use one of the buttons.",
)
_NOT_NOW = (
    503,
    "This does not work at the moment",
    "Nothing was changed, and what you said before still holds. Please try again in a few minutes.",
)
_UNSURE = (
    503,
    "Your choice may not have been saved",
    "Something failed while it was being saved. Please try again in a few minutes and look at what "
    "the page then shows; choosing the same again does no harm.",
)


async def show(call: Call) -> Response:
    """The page; changes nothing."""
    withdrawal = _opened(call)
    if withdrawal is None:
        return _notice(*_NO_LINK)
    register = call.parts.register
    try:
        await register.current()
    except UnavailableError:
        return _notice(*_NOT_NOW)
    rows = page.rows_of(
        register.policy(withdrawal.tenant),
        register.consents(withdrawal.tenant, withdrawal.recipient_id),
    )
    return HTMLResponse(page.choices(withdrawal.tenant, rows), headers=dict(page.HEADERS))


async def choose(call: Call) -> Response:
    """Records what was chosen, and leads back to the page, which shows it."""
    withdrawal = _opened(call)
    if withdrawal is None:
        return _notice(*_NO_LINK)
    chosen = _CHOICES.get(_choice(call.body))
    if chosen is None:
        return _notice(*_NO_CHOICE)
    register = call.parts.register
    try:
        await call.parts.connection.possible()
        await register.current()
    except UnavailableError:
        return _notice(*_NOT_NOW)
    statements = _statements(call, withdrawal, *chosen)
    try:
        async with call.parts.connection.writing():
            await register.write_consents(statements)
    except UnavailableError:
        return _notice(*_UNSURE)
    # Relative to this very address, so that it holds behind any proxy: the page, by a GET.
    location = call.request.path_params["token"]
    return Response(status_code=303, headers={**page.HEADERS, "Location": location})


def _opened(call: Call) -> Withdrawal | None:
    text: str = call.request.path_params["token"]
    try:
        return call.parts.keyring.open_withdrawal(text) if len(text) <= MAX_TEXT else None
    except TokenError:
        return None


def _choice(body: bytes) -> str:
    """What the form says; empty where it does not say exactly one thing."""
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=10).get("choice", [])
    except ValueError:
        return ""
    return found[0] if len(found) == 1 else ""


def _statements(
    call: Call, withdrawal: Withdrawal, purposes: tuple[Purpose, ...], on: bool
) -> list[Consent]:
    """The statements that change something; what was said already is not said again."""
    register = call.parts.register
    policy = register.policy(withdrawal.tenant)
    known = register.consents(withdrawal.tenant, withdrawal.recipient_id)
    tracked = {row.purpose: row.tracked for row in page.rows_of(policy, known)}
    state: ConsentState = "granted" if on else "denied"
    return [
        new_consent(
            withdrawal.tenant,
            withdrawal.recipient_id,
            purpose,
            state,
            # Said now is said after all that is known, also after what a fast clock dated ahead.
            max(now_ms(), known[purpose].at + 1 if purpose in known else 0),
            page.METHOD,
            page.wording_of_all(policy, tracked=any(tracked.values()))
            if len(purposes) > 1
            else page.wording(purpose, policy, tracked=not on),
            f"{call.parts.settings.withdrawal_url}/w/",
        )
        for purpose in purposes
        if purpose not in known or known[purpose].state != state
    ]


def _notice(status: int, title: str, text: str) -> Response:
    headers = {**page.HEADERS} | ({"Retry-After": "60"} if status == 503 else {})
    return HTMLResponse(page.notice(title, text), status, headers)
