"""The contracts: what travels in the topics, as typed values, and their one codec.

The wire format is JSON; schemas/json/ holds the same contracts as JSON Schema, and a contract test
holds the two together. A record of `sends`, `hits` and `events` holds one object or an array of
objects whose keys fall into the record's partition (docs/decisions/0001-batches.md); every other
topic holds one object a record.

Readers are tolerant: a field they do not know is passed over, so that fields can be added within a
version. Times are milliseconds since the Unix epoch by the clock of the one who writes; ids are
described in `mailwake.ids`. Values that are made by the million are not watched by Python's garbage
collector (`gc=False`): none refers to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from mailwake import ids

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

KEEP_DAYS = 180
"""So long a mail is tracked at the most, and where nothing else is said."""

Asn = Annotated[int, Meta(ge=0, lt=1 << 32)]
KeepDays = Annotated[int, Meta(ge=1, le=KEEP_DAYS)]
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

PERSON: frozenset[Verdict] = frozenset({"human", "proxy"})
"""The verdicts that say that a person was there; these count and alert."""


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
        keep_days: how many days after `sent_at` it is tracked; later hits give no event.
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
    keep_days: KeepDays = KEEP_DAYS
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
    v: Version = 1


class Alert(Struct, frozen=True, omit_defaults=True):
    """One notification for one user. Key: `tenant/user`; see `user_key`.

    `at` is the time of the event, so that the same event gives the same alert, byte for byte.
    Subscribers deduplicate by `alert_id`; a later revision replaces the earlier.
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


class TrackedSend(Struct, frozen=True, array_like=True, gc=False):
    """What deciding needs of a send; an array in a track.

    Attributes:
        sender_agent: the family of the sender's agent (`mailwake_enricher.rules`).
        keep_days: of the send; 0 for `KEEP_DAYS`, since an array has every item written in every
            row, and so the usual one is the shortest.
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
    keep_days: Annotated[int, Meta(ge=0, le=KEEP_DAYS)] = 0


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


class Toggles(Struct, frozen=True):
    """What is to be tracked of one mail."""

    opens: bool
    clicks: bool


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
    """

    tenant: Tenant
    user: User
    at: Millis
    opens: bool = True
    clicks: bool = True
    notifications: bool = True
    last: Toggles | None = None
    notifications_at: Millis = 0
    v: Version = 1


class Policy(Struct, frozen=True, omit_defaults=True):
    """What a tenant's administrator allows. Key: `tenant`.

    Attributes:
        at: when it was last changed.
        ceiling: the most that any user of the tenant may track.
        basis: what makes tracking lawful. As long as it is consent, a recipient who has not been
            asked is not tracked; with any other, one who has not objected is.
        retention_days: how many days after it was sent a mail is tracked. Each send carries its
            own (`Send.keep_days`): a change holds for the mails that are sent after it.
    """

    tenant: Tenant
    at: Millis
    ceiling: Ceiling = "identified"
    basis: LawfulBasis = "consent"
    retention_days: KeepDays = KEEP_DAYS
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
    """The key of a user's records in `alerts`, `alert_reads` and `preferences`."""
    return f"{tenant}/{user}".encode()


def consent_key(consent: Consent) -> bytes:
    """The key of a consent in `consents` and `consent_proofs`."""
    return f"{consent.tenant}/{consent.recipient_id}/{consent.purpose}".encode()


class InvalidError(ValueError):
    """A value does not keep its contract. It goes to the reject topic; the rest goes on.

    Attributes:
        reason: a code of `RejectReason`.
    """

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason: RejectReason = reason


RejectReason = Literal["not_json", "contract", "wrong_partition", "tenant_mismatch", "too_large"]
"""Why a value stands in a `.rejected` topic (its header `mailwake-reason`)."""

T = TypeVar("T", bound=Struct)


class Codec(Generic[T]):
    """Encodes and decodes one contract. Thread-safe.

    `read` takes what a record may hold, one object or an array of objects, and gives the good
    values beside the bad ones, so that one bad hit does not cost its ninety-nine neighbours.
    """

    def __init__(self, contract: type[T]) -> None:
        self._one = msgspec.json.Decoder(contract)
        self._many = msgspec.json.Decoder(list[contract])  # type: ignore[valid-type]
        self._raw = msgspec.json.Decoder(list[msgspec.Raw])
        self._encoder = msgspec.json.Encoder()

    def encode(self, value: T) -> bytes:
        """One value as JSON."""
        return self._encoder.encode(value)

    def encode_many(self, values: Sequence[T]) -> bytes:
        """Values as a JSON array."""
        return self._encoder.encode(values)

    def decode(self, data: bytes) -> T:
        """One value. Raises InvalidError."""
        try:
            return self._one.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise _invalid(error) from None

    def read(self, data: bytes) -> tuple[list[T], list[tuple[bytes, InvalidError]]]:
        """The values of a record, and the parts that are none with what is wrong with each.

        Never raises: a record that cannot be read at all comes back whole as one bad part.
        """
        many = data.lstrip()[:1] == b"["
        try:
            return (self._many.decode(data) if many else [self._one.decode(data)]), []
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            if not many:
                return [], [(data, _invalid(error))]
        try:
            parts = self._raw.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return [], [(data, _invalid(error))]
        good: list[T] = []
        bad: list[tuple[bytes, InvalidError]] = []
        for part in parts:
            try:
                good.append(self.decode(bytes(part)))
            except InvalidError as error:
                bad.append((bytes(part), error))
        return good, bad


def _invalid(error: Exception) -> InvalidError:
    if isinstance(error, msgspec.ValidationError):
        return InvalidError("contract", str(error))
    return InvalidError("not_json", str(error))


SEND: Codec[Send] = Codec(Send)
DISPLAY: Codec[Display] = Codec(Display)
HIT: Codec[Hit] = Codec(Hit)
EVENT: Codec[Event] = Codec(Event)
ALERT: Codec[Alert] = Codec(Alert)
ALERT_READS: Codec[AlertReads] = Codec(AlertReads)
TRACK: Codec[Track] = Codec(Track)
PREFERENCE: Codec[Preference] = Codec(Preference)
POLICY: Codec[Policy] = Codec(Policy)
CONSENT: Codec[Consent] = Codec(Consent)
RECLASSIFIED: Codec[Reclassified] = Codec(Reclassified)
