"""The contracts: what travels in the topics, as typed values; that of a track is `mailwake.track`.

The wire format is JSON; schemas/json/ holds the same contracts as JSON Schema, and a contract test
holds the two together. A record of `sends`, `hits` and `events` holds one object or an array of
objects whose keys fall into the record's partition (docs/decisions/0001-batches.md); every other
topic holds one object a record. They stand in one module since most are made of each other.

Readers are tolerant: a field they do not know is passed over, so that fields can be added within a
version. Times are milliseconds since the Unix epoch by the clock of the one who writes; ids are
described in `mailwake.ids`. Values that are made by the million are not watched by Python's garbage
collector (`gc=False`): none refers to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from mailwake import ids
from mailwake.codec import Codec

# `(?!\n)`: Python's `$` alone lets a line feed follow. `\x85` and `\ufeff` are spaces to some only.
Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$(?!\\n)")]
Tenant = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,19}$(?!\\n)")]
User = Annotated[str, Meta(pattern="^[^@/\\s\\x00-\\x1f\\x85\\ufeff]{1,64}$(?!\\n)")]
Millis = Annotated[int, Meta(ge=0, le=1 << 42)]
Count = Annotated[int, Meta(ge=0, le=1 << 31)]
Revision = Annotated[int, Meta(ge=1, le=1 << 31)]
Index = Annotated[int, Meta(ge=0, lt=1 << 16)]
Url = Annotated[str, Meta(min_length=1, max_length=8192)]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]

RETENTION_DAYS = 180
"""So long a mail is tracked at the most, and where nothing else is said."""

Zone = Annotated[str, Meta(pattern="^[A-Za-z0-9_+/-]{1,64}$(?!\\n)")]
TimeOfDay = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\\n)")]
Asn = Annotated[int, Meta(ge=0, lt=1 << 32)]
RetentionDays = Annotated[int, Meta(ge=1, le=RETENTION_DAYS)]
Percent = Annotated[int, Meta(ge=0, le=100)]

Version = Literal[1]
Kind = Literal["open", "click"]
Mode = Literal["anonymous", "identified"]
Verdict = Literal["human", "proxy", "prefetch", "scanner", "self"]

Purpose = Literal["opens", "clicks"]
ConsentState = Literal["unknown", "granted", "denied"]
Ceiling = Literal["off", "anonymous", "identified"]
LawfulBasis = Literal[
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_task",
    "legitimate_interests",
]
"""What makes processing lawful (GDPR, article 6, 1)."""

NOBODY = "0" * 32
"""Stands for a recipient who was erased among others of a body, so that their places stay."""

PERSON: frozenset[Verdict] = frozenset({"human", "proxy"})
"""The verdicts that say that a person was there; these count and alert."""

PURPOSE: Mapping[Kind, Purpose] = {"open": "opens", "click": "clicks"}
"""What a recipient agrees to, or denies, for an event of each kind to be told."""


class Send(Struct, frozen=True, omit_defaults=True):
    """What is known of one sent mail. Key: `message_id`.

    Attributes:
        user: the sender's id within the tenant; never an address.
        sent_at: when it was handed over, by the sender's clock.
        recipient_count: how many recipients the body went to.
        recipients: their recipient_ids in the order of the recipient index (first is 1); empty in
            mode anonymous.
        mode: anonymous keeps counts alone; identified keeps recipient, network and agent.
        opens: whether the body carries a pixel.
        clicks: whether its links were rewritten.
        links: the targets in the order of the link index (first is 0).
        tag: the campaign or label that reports group by.
        basis: what made tracking it lawful when it was sent; None where the sender did not say.
        sender_network, sender_agent: what the sender sent from, as a hit would show it (a network
            such as `203.0.113.0/24`, a User-Agent), so that the sender's own opens are told.
        retention_days: how many days after `sent_at` it is tracked; later hits give no event.
    """

    message_id: Id
    tenant: Tenant
    user: User
    sent_at: Millis
    recipient_count: Annotated[int, Meta(ge=1, lt=1 << 16)]
    mode: Mode
    opens: bool
    clicks: bool
    recipients: list[Id] = []
    links: list[Url] = []
    tag: Tag | None = None
    basis: LawfulBasis | None = None
    sender_network: Annotated[str, Meta(max_length=64)] = ""
    sender_agent: Annotated[str, Meta(max_length=512)] = ""
    retention_days: RetentionDays = RETENTION_DAYS
    v: Version = 1

    def __post_init__(self) -> None:
        expected = self.recipient_count if self.mode == "identified" else 0
        if len(self.recipients) != expected:
            raise ValueError(
                f"`recipients` holds {len(self.recipients)} ids, where mode {self.mode} with "
                f"recipient_count {self.recipient_count} wants {expected}"
            )


class Party(Struct, frozen=True, omit_defaults=True):
    """One recipient as the sender's mailbox shows it."""

    address: Annotated[str, Meta(max_length=320)]
    name: Annotated[str, Meta(max_length=256)] = ""


class Display(Struct, frozen=True, omit_defaults=True):
    """What the sender's own mailbox shows of a send. Key: `message_id`; a tombstone erases.

    Attributes:
        recipients: in the order of the recipient index (first is 1).
        links: the text of each link, in the order of the link index.
    """

    message_id: Id
    tenant: Tenant
    user: User
    subject: Annotated[str, Meta(max_length=998)]
    recipients: list[Party] = []
    links: list[Annotated[str, Meta(max_length=256)]] = []
    v: Version = 1


class Hit(Struct, frozen=True, omit_defaults=True, gc=False):
    """One raw request for a pixel or a link, as the edge saw it. Key: `message_id`.

    Attributes:
        at: when the edge saw it, by the edge's clock.
        recipient: the recipient index; 0 when the body is shared by all recipients.
        link, target: of a click, the link index and where it led.
        network: the client's network, /24 or /48, such as `203.0.113.0/24`; never a full address.
        agent: the User-Agent, at most 512 characters.
        referer: the origin of the Referer, without path and query.
        purpose: what Sec-Purpose, Purpose, X-Purpose or X-Moz said.
        replayed: taken from `hits.unmatched` and sent again.
        asn: the number of the autonomous system that the client's address is in; 0 when unknown.

    In mode anonymous `network`, `agent` and `referer` are empty and `asn` is 0.
    """

    hit_id: Id
    kind: Kind
    at: Millis
    tenant: Tenant
    message_id: Id
    recipient: Index
    mode: Mode
    method: Literal["GET", "HEAD"] = "GET"
    link: Index | None = None
    target: Url | None = None
    network: Annotated[str, Meta(max_length=64)] = ""
    agent: Annotated[str, Meta(max_length=512)] = ""
    referer: Annotated[str, Meta(max_length=256)] = ""
    purpose: Annotated[str, Meta(max_length=64)] = ""
    replayed: bool = False
    asn: Asn = 0
    v: Version = 1

    def __post_init__(self) -> None:
        open_ = self.kind == "open"
        if (self.link is None) != open_ or (self.target is None) != open_:
            raise ValueError("`link` and `target` belong to a click and to nothing else")


class Event(Struct, frozen=True, omit_defaults=True, gc=False):
    """One open or click after joining, deduplicating and classifying. Key: `message_id`.

    Attributes:
        revision: from 1; a later revision of the same event_id replaces the earlier.
        recipient: the recipient index; 0 when the body is shared.
        recipient_count: how many recipients the body went to.
        recipient_id: the recipient, when the body went to exactly one in mode identified and the
            event is not a `forward`.
        first: the first open of the mail, or the first click of the link, that a person made.
        reasons: codes that say why the verdict is what it is, the strongest first; each has a
            sentence in `mailwake.reasons`.
        score: how sure the verdict is, 0 to 100.
        rules_version: the rule set that gave verdict, score and reasons.
        repeat: another event tells of the same act; this one counts for nothing.
        implied: an open that follows from a click, where no open was seen before it.
        forward: an open by one reader more than the mail has recipients: likely a forward.
        returned: an open or click by a person after the mail had been quiet for long
            (`MAILWAKE_RETURN_S`): no person had opened it, forwards aside, or clicked.
        retention_days: of the send: for how many days after `sent_at` the mail is tracked.
    """

    event_id: Id
    revision: Revision
    hit_id: Id
    kind: Kind
    at: Millis
    tenant: Tenant
    user: User
    message_id: Id
    recipient: Index
    recipient_count: Count
    mode: Mode
    verdict: Verdict
    reasons: list[str]
    first: bool
    sent_at: Millis
    recipient_id: Id | None = None
    link: Index | None = None
    target: Url | None = None
    network: str = ""
    agent: str = ""
    tag: Tag | None = None
    score: Percent = 0
    rules_version: Count = 0
    repeat: bool = False
    implied: bool = False
    forward: bool = False
    returned: bool = False
    retention_days: RetentionDays = RETENTION_DAYS
    v: Version = 1


class Alert(Struct, frozen=True, omit_defaults=True):
    """One notification for one user. Key: `tenant/user`; see `user_key`.

    Subscribers deduplicate by `alert_id`; a later revision replaces the earlier.

    Attributes:
        event_id: the event that it began with.
        at: the time of that event, and not when the alert was made, so that the same events give
            the same alert, byte for byte.
        count: how many opens of the mail, or clicks of the link, it tells of.
        last_at: the time of the last of them; 0 when there is but one.
        returned: the mail had been quiet for long before.
        quiet: it came in the user's quiet hours: it is listed and does not ring.
        withdrawn: what it told of turned out to be a machine's, or another alert tells of it; it
            counts for nothing.
    """

    alert_id: Id
    revision: Revision
    event_id: Id
    kind: Kind
    at: Millis
    tenant: Tenant
    user: User
    message_id: Id
    recipient: Index
    recipient_count: Count
    verdict: Verdict
    reasons: list[str]
    recipient_id: Id | None = None
    link: Index | None = None
    target: Url | None = None
    tag: Tag | None = None
    count: Revision = 1
    last_at: Millis = 0
    returned: bool = False
    quiet: bool = False
    withdrawn: bool = False
    v: Version = 1


class AlertReads(Struct, frozen=True, omit_defaults=True):
    """Which of a user's alerts are read. Key: `tenant/user`; see `user_key`.

    Attributes:
        at: when they were last marked.
        alert_ids: those of the alerts that the bell still shows; the others are forgotten.
    """

    tenant: Tenant
    user: User
    at: Millis
    alert_ids: Annotated[list[Id], Meta(max_length=1024)]
    v: Version = 1


class Toggles(Struct, frozen=True):
    """What is to be tracked of one mail."""

    opens: bool
    clicks: bool


class QuietHours(Struct, frozen=True, omit_defaults=True):
    """When a user's bell does not ring, by the clock on the user's wall; see `mailwake.quiet`.

    Attributes:
        zone: the name of a time zone in the IANA database, such as `Europe/Berlin`.
        start, end: from when to when, `HH:MM`. Where `end` is not after `start`, it is of the next
            day.
        days: the days that they begin on, from 1 (Monday) to 7; empty is every day.
    """

    zone: Zone
    start: TimeOfDay
    end: TimeOfDay
    days: Annotated[list[Annotated[int, Meta(ge=1, le=7)]], Meta(max_length=7)] = []


class DailyDigest(Struct, frozen=True, omit_defaults=True):
    """That a user wants a mail a day about what was opened and clicked.

    Attributes:
        address: the user's own, where the mail goes.
        zone: the time zone that `hour` is of, such as `Europe/Berlin`.
        hour: from when in the day it is sent, 0 to 23.
    """

    address: Annotated[str, Meta(pattern="^[^@\\s]+@[^@\\s]+$(?!\\n)", max_length=320)]
    zone: Zone
    hour: Annotated[int, Meta(ge=0, le=23)] = 7


class Preference(Struct, frozen=True, omit_defaults=True):
    """A user's switches. Key: `tenant/user`; see `user_key`.

    Attributes:
        at: when they were last changed.
        opens, clicks: whether the user wants open and link tracking.
        notifications: whether alerts are wanted.
        notifications_at: when that was last switched, so that what was told before it is judged by
            what held then; 0 when it never was.
        last: the toggles of the last mail for which the user set them; they are the default of the
            next until the switches are changed, which clears them.
        quiet: when alerts do not ring; None for never.
        daily_digest: None where none is wanted.
        daily_digest_at: when it was last switched on; 0 when it never was.
    """

    tenant: Tenant
    user: User
    at: Millis
    opens: bool = True
    clicks: bool = True
    notifications: bool = True
    last: Toggles | None = None
    notifications_at: Millis = 0
    quiet: QuietHours | None = None
    daily_digest: DailyDigest | None = None
    daily_digest_at: Millis = 0
    v: Version = 1


class Mute(Struct, frozen=True, omit_defaults=True):
    """That a user wants no alerts of one mail. Key: `tenant/user/message_id`; see `mute_key`. A
    tombstone takes it back.

    Attributes:
        at: when it was muted.
    """

    tenant: Tenant
    user: User
    message_id: Id
    at: Millis
    v: Version = 1


class Digest(Struct, frozen=True, omit_defaults=True):
    """Up to when a user's daily digests tell. Key: `tenant/user`; see `user_key`.

    Attributes:
        day: the user's day that it is for, `YYYY-MM-DD`; a day has one digest at most.
        since, until: it tells of what happened from then on, and before then.
        state: `sending` before the mail is handed over, `sent` after; `nothing` where there was
            nothing to tell, `refused` where the host takes no mail for that address.
    """

    tenant: Tenant
    user: User
    day: Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\\n)")]
    since: Millis
    until: Millis
    state: Literal["sending", "sent", "nothing", "refused"]
    v: Version = 1


class Policy(Struct, frozen=True, omit_defaults=True):
    """What a tenant's administrator allows. Key: `tenant`.

    Attributes:
        at: when it was last changed.
        ceiling: the most that any user of the tenant may track.
        basis: what makes tracking lawful. As long as it is consent, a recipient who has not been
            asked is not tracked; with any other, one who has not objected is.
        retention_days: how many days after it was sent a mail is tracked. Each send carries its
            own (`Send.retention_days`): a change holds for the mails that are sent after it.
    """

    tenant: Tenant
    at: Millis
    ceiling: Ceiling = "identified"
    basis: LawfulBasis = "consent"
    retention_days: RetentionDays = RETENTION_DAYS
    v: Version = 1


class Consent(Struct, frozen=True, omit_defaults=True):
    """What one recipient has said about one purpose, once. Key: `tenant/recipient_id/purpose`;
    see `consent_key`.

    Attributes:
        consent_id: derives from all other fields, so that what is told twice is one.
        at: when it was said; the latest counts, of two at the same time the denial.
        method: how it was said, such as `withdrawal_page`, `signup_form` or `import`.
        wording: what the recipient was asked, word for word, or the name and version of that text.
        source: where the statement comes from, such as the address of the form; never a person's.
    """

    consent_id: Id
    tenant: Tenant
    recipient_id: Id
    purpose: Purpose
    state: ConsentState
    at: Millis
    method: Annotated[str, Meta(min_length=1, max_length=64)]
    wording: Annotated[str, Meta(max_length=4096)] = ""
    source: Annotated[str, Meta(max_length=256)] = ""
    v: Version = 1


def new_consent(
    tenant: str,
    recipient_id: str,
    purpose: Purpose,
    state: ConsentState,
    at: int,
    method: str,
    wording: str = "",
    source: str = "",
) -> Consent:
    """A consent with the id that its fields give. They are not checked; `CONSENT` does that."""
    fields = (tenant, recipient_id, purpose, state, str(at), method, wording, source)
    return Consent(
        ids.consent_id(*fields), tenant, recipient_id, purpose, state, at, method, wording, source
    )


def user_key(tenant: str, user: str) -> bytes:
    """The key of a user's records in `alerts`, `alert_reads`, `digests` and `preferences`."""
    return f"{tenant}/{user}".encode()


def mute_key(tenant: str, user: str, message_id: str) -> bytes:
    """The key of a mute in `mutes`."""
    return f"{tenant}/{user}/{message_id}".encode()


def consent_key(consent: Consent) -> bytes:
    """The key of a consent in `consents` and `consent_proofs`."""
    return f"{consent.tenant}/{consent.recipient_id}/{consent.purpose}".encode()


class Erasure(Struct, frozen=True, omit_defaults=True):
    """One erasure of a recipient, under way or done; its receipt is made of it. Key: `erasure_id`.

    Attributes:
        asked_at: when it was asked for.
        done_at: when it was seen to be complete; 0 as long as it is under way.
        mails: how many went to the recipient alone, which are gone as a whole.
        shared: how many went to others too, which no longer name the recipient.
        rows: how many rows were deleted or changed, by table.
    """

    erasure_id: Id
    tenant: Tenant
    recipient_id: Id
    asked_at: Millis
    done_at: Millis = 0
    mails: Count = 0
    shared: Count = 0
    rows: dict[str, Count] = {}
    v: Version = 1


class Removal(Struct, frozen=True, omit_defaults=True):
    """One mail that somebody is erased from. Key: `message_id`.

    Attributes:
        at: when it was removed.
        recipients: the recipient indexes (first is 1) that are nobody's now; empty when the whole
            mail goes, since it was for nobody else.
    """

    message_id: Id
    tenant: Tenant
    erasure_id: Id
    at: Millis
    recipients: list[Annotated[int, Meta(ge=1, lt=1 << 16)]] = []
    v: Version = 1


SEND: Codec[Send] = Codec(Send)
DISPLAY: Codec[Display] = Codec(Display)
HIT: Codec[Hit] = Codec(Hit)
EVENT: Codec[Event] = Codec(Event)
ALERT: Codec[Alert] = Codec(Alert)
ALERT_READS: Codec[AlertReads] = Codec(AlertReads)
PREFERENCE: Codec[Preference] = Codec(Preference)
MUTE: Codec[Mute] = Codec(Mute)
DIGEST: Codec[Digest] = Codec(Digest)
POLICY: Codec[Policy] = Codec(Policy)
CONSENT: Codec[Consent] = Codec(Consent)
ERASURE: Codec[Erasure] = Codec(Erasure)
REMOVAL: Codec[Removal] = Codec(Removal)
