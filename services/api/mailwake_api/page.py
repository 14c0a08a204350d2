"""The page where a recipient sees and changes what is tracked: from what is known to HTML.

It is read by people who may mistrust the mail it came in: no script, nothing loaded from elsewhere,
plain words, and the state before the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mailwake.contracts import Consent, Mode, Policy, Purpose, Toggles
from mailwake.permission import PURPOSES, Consents, permit
from mailwake_api.web.frame import plain, plain_headers

STOP_ALL = {True: "Stop all tracking", False: "Refuse all tracking"}
"""What the button for everything says, by whether anything is tracked now."""
METHOD = "withdrawal_page"
"""The method of what is said on this page."""
BUTTONS = {True: "Turn off", False: "Turn on"}
"""What the button of a purpose says, by whether it is tracked now."""

_NAMES: Mapping[Purpose, str] = {"opens": "Opening mail", "clicks": "Clicking links"}
_SENTENCES: Mapping[tuple[Purpose, Mode], str] = {
    ("opens", "identified"): "If this is on, {sender} is told that you opened a mail, when, with "
    "which kind of program and from which network.",
    ("clicks", "identified"): "If this is on, {sender} is told which link you clicked, when, with "
    "which kind of program and from which network.",
    ("opens", "anonymous"): "If this is on, {sender} counts that its mail was opened. That it was "
    "you is not recorded.",
    ("clicks", "anonymous"): "If this is on, {sender} counts that a link was clicked. That it was "
    "you is not recorded.",
}
_ALL = {
    True: "One click, and {sender} is no longer told when you open its mail or click its links.",
    False: "You can refuse before you are asked: {sender} will not be told when you open its mail "
    "or click its links.",
}


@dataclass(frozen=True)
class Row:
    """What the page says of one purpose.

    Attributes:
        tracked: whether it is tracked now, as far as the recipient and the tenant decide.
        settled: the recipient has refused it.
        changeable: whether switching would change anything.
        sentence: what is tracked.
        why: why it is as it is, and since when.
    """

    purpose: Purpose
    tracked: bool
    settled: bool
    changeable: bool
    sentence: str
    why: str


def rows_of(policy: Policy, said: Consents) -> list[Row]:
    """What the page says of each purpose."""
    permission = permit(Toggles(True, True), policy, [said])
    return [
        Row(
            purpose,
            tracked := purpose not in permission.refused,
            (consent := said.get(purpose)) is not None and consent.state == "denied",
            policy.ceiling != "off",
            sentence(purpose, policy),
            _why(policy, consent, tracked),
        )
        for purpose in PURPOSES
    ]


def sentence(purpose: Purpose, policy: Policy) -> str:
    """The sentence that tells what tracking for a purpose is."""
    mode: Mode = "anonymous" if policy.ceiling == "anonymous" else "identified"
    return _SENTENCES[purpose, mode].format(sender=policy.tenant)


def wording(purpose: Purpose, policy: Policy, *, tracked: bool) -> str:
    """What a recipient was shown who switched one purpose: the sentence and its button."""
    return f"{sentence(purpose, policy)} [{BUTTONS[tracked]}]"


def wording_of_all(policy: Policy, *, tracked: bool) -> str:
    """What a recipient was shown who refused everything; `tracked`: anything was tracked."""
    return f"{_ALL[tracked].format(sender=policy.tenant)} [{STOP_ALL[tracked]}]"


def _why(policy: Policy, consent: Consent | None, tracked: bool) -> str:
    sender, when = policy.tenant, _date(consent.at) if consent else ""
    if policy.ceiling == "off":
        return f"{sender} tracks no mail at present."
    if consent is not None and consent.state == "denied":
        return f"You refused this on {when}, {_where(consent)}."
    if consent is not None and consent.state == "granted":
        return f"You agreed to this on {when}, {_where(consent)}."
    if tracked:
        basis = policy.basis.replace("_", " ")
        return f"You were not asked: {sender} relies on {_BASES.get(basis, basis)}. You may refuse."
    return "You have not agreed to this."


def _where(consent: Consent) -> str:
    return "on this page" if consent.method == METHOD else f"says {consent.tenant}"


_BASES = {
    "contract": "a contract with you",
    "legal obligation": "a legal obligation",
    "vital interests": "vital interests",
    "public task": "a public task",
    "legitimate interests": "its legitimate interests",
}


def _date(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


HEADERS = plain_headers("withdrawal.css")
"""The header fields of every page for recipients."""


def choices(tenant: str, rows: Sequence[Row]) -> str:
    """The page with the state of each purpose and the buttons that change it."""
    tracked = sum(row.tracked for row in rows)
    return plain(
        "withdrawal.html",
        "withdrawal.css",
        sender=tenant,
        rows=rows,
        tracked=tracked,
        stoppable=not all(row.settled for row in rows),
        names=_NAMES,
        buttons=BUTTONS,
        of_all=_ALL[tracked > 0].format(sender=tenant),
        stop_all=STOP_ALL[tracked > 0],
    )


def notice(title: str, text: str) -> str:
    """A page that says one thing."""
    return plain("notice.html", "withdrawal.css", title=title, text=text)
