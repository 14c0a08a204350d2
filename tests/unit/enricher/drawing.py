"""Hits and sends as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from mailwake.contracts import Hit
from mailwake_enricher.meaning import MARKS
from tests.unit.enricher.values import BROWSER, NOW, hit

AGENTS = [
    BROWSER,
    BROWSER,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18",
    "Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/140.0",
    "curl/8",
    "Mozilla/5.0 (Windows) (via ggpht.com GoogleImageProxy)",
    "Mozilla/5.0",
    "",
]
NETWORKS = ["203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"]
STREAMS = ["1a0c4506c0000001", "1a0c4506c0000002"]
SENDS = [
    {},
    {"sender_network": NETWORKS[0], "sender_agent": BROWSER},
    {"recipient_count": 2, "recipients": ["aa" * 16, "bb" * 16]},
    {"mode": "anonymous", "recipients": []},
    {"sent_at": NOW, "clicks": True},
    {"retention_days": 1},
    {"sent_at": NOW - 250_000},
    {"sent_at": NOW - 1_000_000, "recipient_count": 2, "recipients": ["aa" * 16, "bb" * 16]},
]
"""What the sends are like."""


@st.composite
def some_hits(draw: st.DrawFn, most: int = MARKS, span: int = 200_000) -> list[Hit]:
    """Hits within a span of time, each of a stream and with a number of its own."""
    count = draw(st.integers(0, most))
    return [
        hit(
            hit_id=f"{draw(st.sampled_from(STREAMS))}{number + 1:016x}",
            at=NOW + draw(st.sampled_from([0, 1000, 5000, draw(st.integers(0, span))])),
            agent=draw(st.sampled_from(AGENTS)),
            network=draw(st.sampled_from(NETWORKS)),
            recipient=draw(st.sampled_from([0, 0, 0, 1])),
            method=draw(st.sampled_from(["GET", "GET", "GET", "HEAD"])),
            purpose=draw(st.sampled_from(["", "", "", "prefetch"])),
            asn=draw(st.sampled_from([0, 0, 8075, 714, 22616, 16509, 24940, 64500])),
            **({} if (link := draw(st.sampled_from([None, 0, 1, 2]))) is None else {"link": link}),
        )
        for number in range(count)
    ]
