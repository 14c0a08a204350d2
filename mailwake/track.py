"""The contract of a track: the running state of one sent mail.

Its parts are arrays (docs/decisions/0003-the-track.md): items are added at the end alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from mailwake.codec import Codec
from mailwake.contracts import (
    RETENTION_DAYS,
    Asn,
    Count,
    Event,
    Hit,
    Id,
    Index,
    Millis,
    Mode,
    Percent,
    Revision,
    Tag,
    Tenant,
    User,
    Version,
)


class TrackedSend(Struct, frozen=True, array_like=True, gc=False):
    """What deciding needs of a send; an array in a track.

    Attributes:
        sender_agent: the family of the sender's agent (`mailwake_enricher.rules`).
        retention_days: of the send; 0 for `RETENTION_DAYS`, since an array has every item written
            in every row, and so the usual one is the shortest.
    """

    tenant: Tenant
    user: User
    recipient_count: Count
    recipient_id: Id | None
    mode: Mode
    opens: bool
    clicks: bool
    sent_at: Millis
    tag: Tag | None
    sender_network: str = ""
    sender_agent: str = ""
    retention_days: Annotated[int, Meta(ge=0, le=RETENTION_DAYS)] = 0


class Mark(Struct, array_like=True, gc=False):
    """A recent hit as a track keeps it while its event may still be revised; an array.

    Attributes:
        stream, network, agent, target: where in the track's `texts` these stand.
        number: of the hit in its stream.
        link: the link index; -1 for the pixel.
        flags: what else the hit showed, as bits (mailwake_enricher.marks).
        came: how many hits the mail had when it came, itself among them. The revision of what is
            told of it is one more than have come since (docs/decisions/0011-meaning.md).
        state: what was made of it, as bits (mailwake_enricher.signs).
        told: whether an event of it was.
    """

    at: Millis
    stream: Index
    number: Annotated[int, Meta(ge=0)]
    link: Annotated[int, Meta(ge=-1, lt=1 << 16)]
    recipient: Index
    flags: Count
    asn: Asn
    network: Index
    agent: Index
    target: Index
    came: int
    state: Count = 0
    told: bool = False


class Tally(Struct, array_like=True, gc=False):
    """What events come to; an array. The fields are those of `Track`, and besides:

    Attributes:
        people: readers no two of whom can be one person, as far as is known.
        known: the readers themselves, five characters each (mailwake_enricher.readers).
        until: the time of the newest hit among these; 0 when there is none.
    """

    opens: Count = 0
    clicks: Count = 0
    machine_opens: Count = 0
    machine_clicks: Count = 0
    repeats: Count = 0
    first_open_at: Millis = 0
    last_open_at: Millis = 0
    first_click_at: Millis = 0
    last_click_at: Millis = 0
    clicked: list[Index] = msgspec.field(default_factory=list)
    forwards: Count = 0
    people: Count = 0
    known: str = ""
    until: Millis = 0
    open_score: Percent = 0
    click_score: Percent = 0


class Track(Struct, array_like=True, gc=False):
    """The running state of one sent mail; key `message_id`. An array, for it is read and written
    at every hit (docs/decisions/0003-the-track.md).

    Attributes:
        revision: grows by one with each write.
        send: None as long as the hits wait for their send.
        opens, clicks: what persons did, repeats and forwards left out; implied opens count.
        machine_opens, machine_clicks: what machines and the sender did, repeats left out.
        repeats: hits that repeated an event within the window.
        first_open_at … last_click_at: of what persons did; 0 when nothing was.
        clicked: link indexes that a person clicked, in the order of their first clicks.
        seen: hit memory: stream -> [floor, last, number, …] (mailwake_enricher.seen).
        readers: repeat memory of hits that are settled: digest of kind, link and reader -> time of
            the last event.
        waiting: hits that came before their send, in the order they came.
        marks: the recent hits, whose events may still be revised, by time.
        texts: what the marks point to.
        settled: what the hits before the marks came to; None when there are no marks (then it is
            all of the above) or no hits before them.
        forwards: opens by readers beyond the recipients.
        readers_about: how many read it, estimated: networks and families of agents.
        readers_least: how many did so at the least.
        hits: how many have come, copies and those left out that found no room to wait.
        erased: when a recipient of the mail was erased, 0 when none was; from then on its hits are
            dropped. Of a mail to that recipient alone nothing else is left, not even the send.
        open_score, click_score: how sure the surest of `opens`, and of `clicks`, is, 0 to 100; 0
            where there is none.
    """

    v: Version = 1
    revision: Count = 0
    send: TrackedSend | None = None
    opens: Count = 0
    clicks: Count = 0
    machine_opens: Count = 0
    machine_clicks: Count = 0
    repeats: Count = 0
    first_open_at: Millis = 0
    last_open_at: Millis = 0
    first_click_at: Millis = 0
    last_click_at: Millis = 0
    clicked: list[Index] = msgspec.field(default_factory=list)
    seen: dict[str, list[int]] = msgspec.field(default_factory=dict)
    readers: dict[str, Millis] = msgspec.field(default_factory=dict)
    waiting: list[Hit] = msgspec.field(default_factory=list)
    marks: list[Mark] = msgspec.field(default_factory=list)
    texts: list[str] = msgspec.field(default_factory=list)
    settled: Tally | None = None
    forwards: Count = 0
    readers_about: Count = 0
    readers_least: Count = 0
    hits: Count = 0
    erased: Millis = 0
    open_score: Percent = 0
    click_score: Percent = 0


class Reclassified(Struct, frozen=True, omit_defaults=True):
    """One mail judged anew, for the enricher to take over. Key: `message_id`.

    A mail with very many changed events comes in several of these; the last has the track.

    Attributes:
        revision: of the track that stood when the mail was judged; of any other it says nothing.
        rules_version: the rule set that judged.
        events: those that change, each with a revision above what stood.
        track: what all events of the mail come to; its `send`, `seen`, `waiting` and `revision`
            are of no account.
    """

    message_id: Id
    tenant: Tenant
    revision: Revision
    rules_version: Count
    events: list[Event] = []
    track: Track | None = None
    v: Version = 1


TRACK: Codec[Track] = Codec(Track)


RECLASSIFIED: Codec[Reclassified] = Codec(Reclassified)
