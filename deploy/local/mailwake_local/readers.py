"""Who reads the mail of `mailwake up --demo`: how programs, proxies and scanners ask for a mail.

Each asks as its kind really does; the address is of a network for documentation (RFC 5737, RFC
3849), as a proxy before the edge would say it in X-Forwarded-For.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X)"
_KHTML = "(KHTML, like Gecko)"

AGENTS: Mapping[str, str] = {
    "thunderbird": f"{_WINDOWS[:-1]}; rv:140.0) Gecko/20100101 Thunderbird/140.4.0",
    "outlook": "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)",
    "outlook_ios": "Outlook-iOS/723.4027091.prod.iphone (4.2415.0)",
    "gmail": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com "
    "GoogleImageProxy)",
    "yahoo": "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "apple_privacy": "Mozilla/5.0",
    "apple_mail": f"{_IPHONE} AppleWebKit/605.1.15 {_KHTML}",
    "chrome": f"{_WINDOWS} AppleWebKit/537.36 {_KHTML} Chrome/141.0.0.0 Safari/537.36",
    "firefox": f"{_WINDOWS[:-1]}; rv:144.0) Gecko/20100101 Firefox/144.0",
    "safari": f"{_IPHONE} AppleWebKit/605.1.15 {_KHTML} Version/18.6 Mobile/15E148 Safari/604.1",
    "edge": f"{_WINDOWS} AppleWebKit/537.36 {_KHTML} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    "scanner": "Mozilla/5.0 (compatible; BarracudaCentral/1.0; +https://www.barracudacentral.org)",
    "chat": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
}
"""As each calls itself."""


@dataclass(frozen=True)
class Look:
    """One request.

    Attributes:
        link: which link of the mail (the first is 0); None asks for the pixel.
        round: requests of the same round come together, a later round some seconds after.
    """

    agent: str
    address: str
    link: int | None = None
    method: Literal["GET", "HEAD"] = "GET"
    round: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


Habit = Literal[
    "desk", "gmail", "gmail_click", "outlook", "outlook_click", "phone", "phone_click", "yahoo",
    "twice", "both_links", "apple_privacy", "scanned", "scanned_then_read", "prefetched",
    "shared", "nobody",
]  # fmt: skip
"""What becomes of a mail."""


def looks(habit: Habit, number: int) -> list[Look]:
    """The requests for the mail of this number. The same number has the same address always."""
    home, second = _address(number), _address(number + 100)
    match habit:
        case "desk":
            return [Look("thunderbird", home), Look("firefox", home, link=0, round=1)]
        case "gmail":
            return [Look("gmail", "203.0.113.81")]
        case "gmail_click":
            return [Look("gmail", "203.0.113.82"), Look("chrome", home, link=0, round=1)]
        case "outlook":
            return [Look("outlook", home)]
        case "outlook_click":
            return [Look("outlook", home), Look("edge", home, link=1, round=1)]
        case "phone":
            return [Look("apple_mail", home)]
        case "phone_click":
            return [Look("outlook_ios", home), Look("safari", home, link=0, round=1)]
        case "yahoo":
            return [Look("yahoo", "203.0.113.90")]
        case "twice":
            return [
                Look("thunderbird", home),
                Look("outlook_ios", second, round=1),
                Look("safari", second, link=0, round=2),
            ]
        case "both_links":
            return [
                Look("outlook", home),
                Look("chrome", home, link=0, round=1),
                Look("chrome", home, link=1, round=2),
            ]
        case "apple_privacy":
            return [Look("apple_privacy", "203.0.113.120")]
        case "scanned":
            return _scan(home)
        case "scanned_then_read":
            return [*_scan(home), Look("outlook", second, round=2)]
        case "prefetched":
            purpose = {"Sec-Purpose": "prefetch;prerender"}
            return [Look("gmail", "203.0.113.83"), Look("chrome", home, link=0, headers=purpose)]
        case "shared":
            return [Look("gmail", "203.0.113.84"), Look("chat", second, link=0, round=1)]
        case "nobody":
            return []


def _scan(address: str) -> list[Look]:
    return [
        Look("scanner", address),
        Look("scanner", address, link=0, method="HEAD"),
        Look("scanner", address, link=0),
        Look("scanner", address, link=1),
    ]


def _address(number: int) -> str:
    """One of as many networks as there are readers, all of them for documentation."""
    return f"2001:db8:{number:x}::{number:x}"
