"""What a mail was read with, in words that people know: the mail service or the program.

A proxy or a prefetch is known by the reasons of the verdict, the rest by the User-Agent. The same
table serves a single event and, as an expression of SQL, a report on millions.
"""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN, OTHER = "unknown", "other"

BY_REASON: tuple[tuple[str, str], ...] = (
    ("gmail_proxy", "Gmail"),
    ("yahoo_proxy", "Yahoo Mail"),
    ("outlook_proxy", "Outlook on the web"),
    ("apple_prefetch", "Apple Mail"),
)
BY_AGENT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Outlook on telephones", ("outlook-ios", "outlook-android")),
    ("Outlook", ("microsoft outlook", "ms-office", "microsoft office word", "macoutlook")),
    ("Thunderbird", ("thunderbird/",)),
    ("Samsung Email", ("samsungemail",)),
    (
        "another mail program",
        ("airmail", "postbox/", "lotus-notes", "evolution/", "kmail", "emclient", "mailspring"),
    ),
    ("Edge", ("edg/", "edga/", "edgios/", "edge/")),
    ("Opera", ("opr/", "opera")),
    ("Samsung Internet", ("samsungbrowser/",)),
    ("Firefox", ("firefox/", "fxios/")),
    ("a program on Android", ("; wv)",)),
    ("Chrome", ("chrome/", "crios/", "chromium/")),
    ("Safari", ("version/",)),
    ("Apple Mail or Outlook", ("(khtml, like gecko)",)),
)
"""The first that fits, by words in the agent in lower case."""


def client_of(agent: str, reasons: Sequence[str]) -> str:
    """The name; `unknown` where nothing was kept, `other` where nothing fits."""
    for reason, name in BY_REASON:
        if reason in reasons:
            return name
    lower = agent.lower()
    for name, words in BY_AGENT:
        if any(word in lower for word in words):
            return name
    return OTHER if agent else UNKNOWN


def _quoted(text: str) -> str:
    assert not set(text) & set("'\\%")  # noqa: S101 (the table above is all that comes here)
    return f"'{text}'"


def _expression() -> str:
    cases = [f"has(reasons, {_quoted(reason)}), {_quoted(name)}" for reason, name in BY_REASON]
    for name, words in BY_AGENT:
        needles = ", ".join(map(_quoted, words))
        cases.append(f"multiSearchAny(lower(agent), [{needles}]), {_quoted(name)}")
    cases.append(f"agent = '', {_quoted(UNKNOWN)}")
    return f"multiIf({', '.join(cases)}, {_quoted(OTHER)})"


CLIENT = _expression()
"""The same as an expression over the columns `agent` and `reasons`."""
