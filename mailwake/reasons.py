"""Why a verdict is what it is: a closed list of codes, each with its sentence for people.

Events and alerts carry the codes; whoever shows them (the mailbox, a report) says the sentence.
docs/verdicts.md tells which verdict each speaks for, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Reason = Literal[
    "head_request",
    "scanner_agent",
    "script_agent",
    "preview_agent",
    "robot_agent",
    "no_agent",
    "scanner_network",
    "maybe_scanner_network",
    "hosting_network",
    "link_burst",
    "hit_burst",
    "network_burst",
    "hosting_pair",
    "beside_scanner",
    "soon_after_send",
    "minutes_after_send",
    "long_after_send",
    "purpose_header",
    "apple_prefetch",
    "apple_network",
    "edge12_prefetch",
    "gmail_proxy",
    "yahoo_proxy",
    "outlook_proxy",
    "google_network",
    "yahoo_network",
    "sender_network",
    "sender_agent",
    "after_self",
    "outlook",
    "mail_program",
    "read_before",
    "agent_withheld",
    "no_machine_sign",
    "implied_by_click",
]

SENTENCES: dict[Reason, str] = {
    "head_request": "Only asked whether the address works, as no mail program or browser does",
    "scanner_agent": "Fetched by a security scanner that says its name",
    "script_agent": "Fetched by a script or a browser without a screen",
    "preview_agent": "Fetched for a preview, after the link was put into a chat or a post",
    "robot_agent": "Fetched by a robot that says so",
    "no_agent": "Fetched by something that does not say what it is",
    "scanner_network": "Came from the network of a security scanner",
    "maybe_scanner_network": "Came from a network that scans links and that people use too",
    "hosting_network": "Came from a data centre, where scanners run and few people browse",
    "link_burst": "One of many links fetched within seconds, as scanners do",
    "hit_burst": "One of many requests within a minute, as scanners make them",
    "network_burst": "Several networks fetched the mail within two minutes, as scanners do",
    "hosting_pair": "Came with another request from a data centre, as scanners' do",
    "beside_scanner": "Came with a scanner's requests, from the same network and program",
    "soon_after_send": "Came within a minute of sending",
    "minutes_after_send": "Came from a data centre within minutes of sending, as scanners do",
    "long_after_send": "All from one place, long after scanners come",
    "purpose_header": "Fetched in advance by a browser; nobody may have seen it",
    "apple_prefetch": "Fetched in advance by Apple Mail; nobody may have read it",
    "apple_network": "Came from Apple's network, which fetches mail in advance",
    "edge12_prefetch": "Fetched in advance by a proxy; nobody may have read it",
    "gmail_proxy": "Opened in Gmail, whose proxy hides where and on what device",
    "yahoo_proxy": "Opened in Yahoo Mail, whose proxy hides where and on what device",
    "outlook_proxy": "Opened in Outlook on the web, whose proxy hides where and on what device",
    "google_network": "Came from Google's network, which fetches images for its users",
    "yahoo_network": "Came from Yahoo's network, which fetches images for its users",
    "sender_network": "Came from the network that the mail was sent from",
    "sender_agent": "Came from the kind of program that the mail was sent with",
    "after_self": "Came right after the sender's own visit, from the same network",
    "outlook": "Opened in Outlook on a computer",
    "mail_program": "Opened in a mail program",
    "read_before": "The mail had been opened before, as by a person who then follows its links",
    "agent_withheld": "Nothing was kept that could tell a person from a machine",
    "no_machine_sign": "Nothing points to a machine",
    "implied_by_click": "A link was followed, so the mail was read, though no open was seen",
}

_KNOWN: frozenset[str] = frozenset(get_args(Reason))


def sentences(codes: Iterable[str]) -> list[str]:
    """The sentences of an event's reasons, in their order.

    A code that a later release has added and this one does not know is left out.
    """
    return [SENTENCES[code] for code in codes if code in _KNOWN]  # type: ignore[index]
