"""The page where a recipient sees and changes what is tracked: from what is known to HTML; pure.

It is read by people who may mistrust the mail it came in: no script, nothing loaded from elsewhere,
plain words, and the state before the choice.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from mailwake.contracts import Consent, Mode, Policy, Purpose, Toggles
from mailwake.permission import PURPOSES, Consents, permit

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


_STYLE = """
:root { color-scheme: light dark; --page: #f3f5f8; --card: #fff; --text: #16202c; --soft: #55606e;
  --line: #dde3ea; --main: #1a56b0; --on-main: #fff; --on: #8a4b00; --on-back: #fdf0dc;
  --off: #14663a; --off-back: #e0f4e7; }
@media (prefers-color-scheme: dark) { :root { --page: #10151b; --card: #1a212a; --text: #e8edf3;
  --soft: #a5b1bf; --line: #313c49; --main: #8ab8ff; --on-main: #0b1a30; --on: #ffc67d;
  --on-back: #3d2c12; --off: #86dba8; --off-back: #14341f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 38rem; margin: 0 auto; padding: 3rem 1.25rem; }
h1 { font-size: 1.625rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.0625rem; margin: 0; }
p { margin: 0; }
.lead { color: var(--soft); margin-bottom: 1.5rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  overflow: hidden; }
.state { display: flex; gap: .75rem; align-items: center; padding: 1.1rem 1.5rem;
  font-weight: 600; background: var(--off-back); color: var(--off); }
.state.on { background: var(--on-back); color: var(--on); }
.state svg { flex: none; width: 1.5rem; height: 1.5rem; }
.row { padding: 1.25rem 1.5rem; border-top: 1px solid var(--line); display: grid;
  grid-template-columns: 1fr auto; gap: .35rem 1.25rem; align-items: start; }
.row p { grid-column: 1; }
.row button { grid-column: 2; grid-row: 1 / span 3; align-self: center; }
.pill { display: inline-block; margin-left: .5rem; padding: 0 .55rem; border-radius: 1rem;
  font-size: .875rem; font-weight: 600; background: var(--off-back); color: var(--off); }
.pill.on { background: var(--on-back); color: var(--on); }
.why, .small { color: var(--soft); font-size: .9375rem; }
.all { padding: 1.25rem 1.5rem 1.5rem; border-top: 1px solid var(--line); }
.state + .all { border-top: 0; }
.all p { margin-bottom: .9rem; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: .4rem 1.1rem;
  border-radius: .5rem; border: 1px solid var(--main); background: transparent;
  color: var(--main); cursor: pointer; white-space: nowrap; }
button.main { width: 100%; background: var(--main); color: var(--on-main); }
button:hover { text-decoration: underline; }
button:focus-visible { outline: 3px solid var(--main); outline-offset: 2px; }
.small { margin-top: 1.25rem; }
.text { padding: 1.5rem; }
@media (max-width: 30rem) { main { padding: 1.5rem .9rem; } h1 { font-size: 1.375rem; }
  .row { grid-template-columns: 1fr; padding: 1.1rem 1.1rem; }
  .row button { grid-column: 1; grid-row: auto; width: 100%; margin-top: .5rem; }
  .state, .all, .text { padding-left: 1.1rem; padding-right: 1.1rem; } }
@media (forced-colors: active) { .pill, .state { border: 1px solid; } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address is the authority
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The header fields of every page for recipients."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""
_SHIELD = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
    '<path d="M12 3l7 3v5c0 4.6-3 8.2-7 10-4-1.8-7-5.4-7-10V6z"/>{inner}</svg>'
)
_TICK = _SHIELD.format(inner='<path d="M9 12l2 2 4-4"/>')
_EYE = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
    'aria-hidden="true"><path d="M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 '
    '2 12z"/><circle cx="12" cy="12" r="3"/></svg>'
)


def choices(tenant: str, rows: Iterable[Row]) -> str:
    """The page with the state of each purpose and the buttons that change it."""
    rows = list(rows)
    sender = escape(tenant)
    on = [row for row in rows if row.tracked]
    if not on:
        state = f"Mail from {sender} to you is not tracked."
    elif len(on) == len(rows):
        state = f"Mail from {sender} to you is tracked."
    else:
        state = f"Mail from {sender} to you is tracked in part."
    stop = "" if all(row.settled for row in rows) else _stop(sender, bool(on))
    return _page(
        f"Mail from {tenant}: tracking",
        f"""\
<h1>Is mail from {sender} tracked?</h1>
<p class="lead">This page is yours alone: it is for the address that the mail was sent to. What
you choose holds for all mail from {sender} to that address, also for mail you already have.</p>
<form method="post" class="card">
<p class="state{" on" if on else ""}" role="status">{_EYE if on else _TICK}<span>{state}</span></p>
{stop if on else ""}{"".join(map(_row, rows))}{"" if on else stop}</form>
<p class="small">No reason is needed, and you can come back and change it at any time. Links and
pictures in your mail go on to work. Your choice is kept with its time, so that it can be proved,
and without your address.</p>""",
    )


def _row(row: Row) -> str:
    name = _NAMES[row.purpose]
    pill = '<span class="pill on">on</span>' if row.tracked else '<span class="pill">off</span>'
    button = ""
    if row.changeable:
        value = f"{row.purpose}-{'off' if row.tracked else 'on'}"
        button = (
            f'<button name="choice" value="{value}" aria-label="{BUTTONS[row.tracked]}: {name}">'
            f"{BUTTONS[row.tracked]}</button>\n"
        )
    return f"""\
<section class="row">
<h2>{name}{pill}</h2>
<p>{escape(row.sentence)}</p>
<p class="why">{escape(row.why)}</p>
{button}</section>
"""


def _stop(sender: str, tracked: bool) -> str:
    return f"""\
<div class="all">
<p>{_ALL[tracked].format(sender=sender)}</p>
<button class="main" name="choice" value="all-off">{STOP_ALL[tracked]}</button>
</div>
"""


def notice(title: str, text: str) -> str:
    """A page that says one thing."""
    return _page(
        title,
        f'<div class="card text">\n<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>\n</div>',
    )


def _page(title: str, content: str) -> str:
    return _PAGE.format(title=escape(title), style=_STYLE, content=content)
