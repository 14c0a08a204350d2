"""Takes over what `mailwake reclassify` has made of a mail; pure.

The worker is the only writer of tracks and events, so it is the worker that writes what was judged
anew. It does so only while the track is the very one that was judged: when a hit has come since,
what was judged says too little, and reclassify judges the mail again
(docs/decisions/0012-reclassify.md).
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import fields

from mailwake.track import Reclassified, Track
from mailwake_enricher.telling import Outcome

TakeOver = Literal["applied", "outdated", "unreadable"]
"""What became of a record that holds a mail judged anew."""

_KEPT = ("v", "revision", "send", "seen", "waiting", "erased")
_TAKEN = tuple(field.name for field in fields(Track) if field.name not in _KEPT)


def take_over(track: Track, judged: Reclassified, outcome: Outcome) -> TakeOver:
    """Tells the events of a mail that was judged anew, and makes its counts the track's.

    The track changes where `judged` has one: in the last part of a mail. It keeps what it has seen,
    so that no hit is lost and none counts twice.
    """
    if track.revision != judged.revision or track.send is None:
        return "outdated"
    outcome.events += judged.events
    if judged.track is not None:
        for name in _TAKEN:
            setattr(track, name, getattr(judged.track, name))
    return "applied"
