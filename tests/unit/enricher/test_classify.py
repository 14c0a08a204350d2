from __future__ import annotations

from typing import Any, get_args

import pytest

from mailwake.contracts import Verdict
from mailwake_enricher.classify import _SIGNS, Reason, classify
from tests.unit.enricher.values import BROWSER, hit

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)

ROWS: list[tuple[dict[str, Any], Verdict, list[Reason]]] = [
    ({"agent": BROWSER}, "human", ["no_machine_sign"]),
    (
        {"agent": "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)"},
        "proxy",
        ["gmail_proxy"],
    ),
    ({"agent": "YahooMailProxy; https://help.yahoo.com/kb/x.html"}, "proxy", ["yahoo_proxy"]),
    ({"agent": "Mozilla/5.0"}, "prefetch", ["apple_prefetch"]),
    ({"agent": "Mozilla/5.0", "referer": "https://m.example"}, "human", ["no_machine_sign"]),
    (
        {"agent": "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko)"},
        "human",
        ["no_machine_sign"],
    ),
    ({"agent": CHROME}, "prefetch", ["edge12_prefetch"]),
    ({"purpose": "prefetch;prerender"}, "prefetch", ["purpose_header"]),
    ({"purpose": "Preview"}, "prefetch", ["purpose_header"]),
    ({"purpose": "prerender"}, "prefetch", ["purpose_header"]),
    ({"purpose": "navigate"}, "human", ["no_machine_sign"]),
    ({"method": "HEAD"}, "scanner", ["head_request"]),
    ({"agent": ""}, "scanner", ["no_agent"]),
    ({"agent": "  "}, "scanner", ["no_agent"]),
    ({"agent": "BarracudaCentral/1.0"}, "scanner", ["scanner_agent"]),
    ({"agent": "Microsoft Office Existence Discovery"}, "scanner", ["scanner_agent"]),
    ({"agent": "Mozilla/5.0 Mimecast URL Protect"}, "scanner", ["scanner_agent"]),
    ({"agent": "Proofpoint URL Defense"}, "scanner", ["scanner_agent"]),
    ({"agent": "curl/8.9.1"}, "scanner", ["script_agent"]),
    ({"agent": "python-requests/2.32"}, "scanner", ["script_agent"]),
    (
        {"agent": "Mozilla/5.0 (X11) HeadlessChrome/126.0 Safari/537.36"},
        "scanner",
        ["script_agent"],
    ),
    (
        {"agent": "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0; Pro)"},
        "human",
        ["outlook"],
    ),
    ({"agent": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"}, "human", ["outlook"]),
    ({"agent": "Microsoft Office Word 2014"}, "human", ["outlook"]),
    ({"agent": "", "network": "", "mode": "anonymous"}, "human", ["agent_withheld"]),
    (
        {"agent": "", "mode": "anonymous", "method": "HEAD"},
        "scanner",
        ["head_request", "agent_withheld"],
    ),
    ({"agent": "curl/8", "purpose": "prefetch"}, "scanner", ["script_agent", "purpose_header"]),
]


@pytest.mark.parametrize(("shown", "verdict", "reasons"), ROWS)
def test_a_hit_is_told_by_what_it_shows(
    shown: dict[str, Any], verdict: Verdict, reasons: list[Reason]
) -> None:
    assert classify(hit(**shown)) == (verdict, tuple(reasons))


def test_every_reason_has_a_row() -> None:
    told = {reason for _, _, reasons in ROWS for reason in reasons}
    assert told == set(get_args(Reason))
    assert {reason for reason, _, _ in _SIGNS} | {"no_machine_sign"} == set(get_args(Reason))
