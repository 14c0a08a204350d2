"""What is said of readers and of clients."""

from __future__ import annotations

import pytest

from mailwake_api.clients import client_of
from mailwake_api.mails import line


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((1, 0, 0, 0), "not the recipient, as far as is known"),
        ((3, 0, 0, 0), "none of 3 recipients, as far as is known"),
        ((1, 1, 1, 0), "the recipient"),
        ((1, 3, 1, 0), "the recipient, in about 3 places"),
        ((1, 2, 2, 1), "the recipient, and likely someone it was forwarded to"),
        ((3, 1, 1, 0), "someone of 3 recipients"),
        ((3, 2, 2, 0), "someone of 3 recipients, at least 2 readers"),
        ((3, 4, 2, 0), "someone of 3 recipients, at least 2 readers, about 4 readers"),
    ],
)
def test_the_readers_line(told: tuple[int, int, int, int], expected: str) -> None:
    assert line(*told) == expected


@pytest.mark.parametrize(
    ("agent", "reasons", "expected"),
    [
        ("Mozilla/5.0 (via ggpht.com GoogleImageProxy)", ["gmail_proxy"], "Gmail"),
        ("Mozilla/5.0", ["soon_after_send", "apple_prefetch"], "Apple Mail"),
        ("Mozilla/5.0 … Thunderbird/140.0", [], "Thunderbird"),
        ("Microsoft Office/16.0 (Microsoft Outlook 16.0.1; Pro)", ["outlook"], "Outlook"),
        ("Mozilla/5.0 … Chrome/140.0 Safari/537.36 Edg/140.0", [], "Edge"),
        ("Mozilla/5.0 … Chrome/140.0 Safari/537.36", [], "Chrome"),
        ("Mozilla/5.0 … Version/18.0 Safari/605.1.15", [], "Safari"),
        ("Something", [], "other"),
        ("", ["agent_withheld"], "unknown"),
    ],
)
def test_clients(agent: str, reasons: list[str], expected: str) -> None:
    assert client_of(agent, reasons) == expected
