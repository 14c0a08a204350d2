"""The verdict of one hit and its reasons, from what the hit itself shows.

Facts: which agents fetch mail's pixels and links, gathered from public code and documentation of
mail providers and security gateways; each row of `_SIGNS` is one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mailwake.contracts import Hit, Verdict

Reason = Literal[
    "head_request",
    "scanner_agent",
    "script_agent",
    "no_agent",
    "purpose_header",
    "apple_prefetch",
    "edge12_prefetch",
    "gmail_proxy",
    "yahoo_proxy",
    "outlook",
    "agent_withheld",
    "no_machine_sign",
]
"""Why a verdict is what it is; a closed list, since events and reports carry the codes."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a hit shows of who fetched it; `agent` and `purpose` in lower case."""

    method: str
    agent: str
    referer: bool
    purpose: str
    withheld: bool


Sign = tuple[Reason, Verdict, Callable[[Look], bool]]


def _agent_has(*words: str) -> Callable[[Look], bool]:
    return lambda look: any(word in look.agent for word in words)


# The strongest first: the first that holds gives the verdict, all that hold are its reasons.
_SIGNS: tuple[Sign, ...] = (
    ("head_request", "scanner", lambda look: look.method == "HEAD"),
    (
        "scanner_agent",
        "scanner",
        _agent_has("barracudacentral", "office existence discovery", "mimecast", "proofpoint"),
    ),
    (
        "script_agent",
        "scanner",
        _agent_has("curl/", "wget/", "python-requests", "python-urllib", "headless", "phantomjs"),
    ),
    ("no_agent", "scanner", lambda look: not look.agent and not look.withheld),
    (
        "purpose_header",
        "prefetch",
        lambda look: any(word in look.purpose for word in ("prefetch", "preview", "prerender")),
    ),
    # Apple Mail Privacy Protection; with a Referer it is a browser that hides its name.
    (
        "apple_prefetch",
        "prefetch",
        lambda look: look.agent == "mozilla/5.0" and not look.referer,
    ),
    # A prefetching proxy with a frozen agent, seen from Google's network.
    (
        "edge12_prefetch",
        "prefetch",
        _agent_has("chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0"),
    ),
    ("gmail_proxy", "proxy", _agent_has("googleimageproxy")),
    ("yahoo_proxy", "proxy", _agent_has("yahoomailproxy")),
    # Public lists of bots have it among them; it is a person at a desktop.
    ("outlook", "human", _agent_has("microsoft outlook", "ms-office", "microsoft office word")),
    # In mode anonymous the edge keeps no agent: its absence says nothing.
    ("agent_withheld", "human", lambda look: not look.agent and look.withheld),
)


def classify(hit: Hit) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict of a hit by itself, and why, the strongest reason first."""
    return _classify(hit.method, hit.agent, bool(hit.referer), hit.purpose, hit.mode == "anonymous")


@lru_cache(maxsize=8192)  # agents repeat; what comes out depends on nothing else
def _classify(
    method: str, agent: str, referer: bool, purpose: str, withheld: bool
) -> tuple[Verdict, tuple[Reason, ...]]:
    look = Look(method, agent.strip().lower(), referer, purpose.lower(), withheld)
    holding = [(reason, verdict) for reason, verdict, holds in _SIGNS if holds(look)]
    if not holding:
        return "human", ("no_machine_sign",)
    return holding[0][1], tuple(reason for reason, _ in holding)
