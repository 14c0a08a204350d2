"""Rule sets that judge otherwise than the one in the package, and mails as they stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from msgspec.structs import replace

from mailwake.contracts import Event, Hit, Send
from mailwake.track import Track
from mailwake_enricher.rejudge import Mail, counts_of
from mailwake_enricher.rules import RuleSet, packaged_rules
from tests.unit.enricher.values import RULES, copy, run

_FILE = packaged_rules().file
VERSION = _FILE.version + 1000

STRONGER = dataclasses.replace(
    RULES,
    meaning=RuleSet(
        replace(
            _FILE,
            version=VERSION,
            signals={
                **_FILE.signals,
                "mail_program": {"scanner": 100},
                "gmail_proxy": {"prefetch": 100},
                "script_agent": {"human": 10},
            },
            burst=replace(_FILE.burst, hits=3, links=2),
        )
    ),
)
"""Takes mail programs for scanners and Gmail's proxy for a prefetch, scripts for people, and sees a
burst in fewer hits."""


def live(sent: Send, hits: Sequence[Hit]) -> tuple[Track, dict[str, Event]]:
    """What the enricher makes of a mail, its hits in the given order: track, last events."""
    track = Track()
    events = run(track, sent, *hits).events
    track.revision = 7
    return track, {event.event_id: event for event in events}


def mail(sent: Send, hits: Sequence[Hit], track: Track, events: dict[str, Event]) -> Mail:
    """A mail as ClickHouse tells of it."""
    counts = counts_of(copy(track))
    return Mail(sent, track.revision, counts, hits, list(events.values()))
