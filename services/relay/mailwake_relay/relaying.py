"""One mail through the relay: what is tracked of it, its sends, its delivery, our answer.

The order is the promise. A send is acknowledged by Kafka before its mail is given away; the client
hears 250 after the next host has said it; else it hears that it is to try again, and what was
delivered by then is remembered. docs/decisions/0010-relay.md says why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakValueDictionary

from msgspec.structs import replace

from mailwake import ids, metrics
from mailwake.contracts import Toggles
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.keyring import Keyring
from mailwake.permission import UNTRACKED
from mailwake.register import Register
from mailwake.settings import Settings
from mailwake.tracker import Instrumented, tracker_of
from mailwake_relay.bounce import bounce
from mailwake_relay.delivered import Delivered, delivery_key
from mailwake_relay.next_host import NextHost, Reply, Transaction
from mailwake_relay.sends import Sends
from mailwake_relay.users import Login
from mailwake_relay.wishes import Letter, WishError, take_letter, with_line_ends

log = logging.getLogger("mailwake.relay")

Outcome = Literal[
    "tracked", "untracked", "kafka_away", "repeated", "refused", "deferred", "unknown"
]
"""What became of a mail: it went out tracked; nothing was to be tracked of it; it went out
untracked since Kafka is away; it was a repetition of what was delivered already; it was refused for
good; the client is to try again; the same, and it may have been taken nevertheless."""

AT_ONCE = 4
"""So many bodies of a split mail are on their way to the next host at the same time."""
_CHUNK, _CHUNK_BYTES = 32, 32 * 1024 * 1024
_PREFERENCE_S = 3.0

_WITHOUT_KAFKA = Reply(
    451, "4.3.0 the mail cannot be tracked now and is not to go out untracked; try again later"
)


@dataclass(slots=True)
class Envelope:
    """What a client said before its mail.

    Attributes:
        recipients: those the next host has taken, each once.
        opened: the transaction in which it has taken them.
        network: the network that the client sends from; empty where it has none.
    """

    login: Login
    sender: str
    utf8: bool
    recipients: list[str]
    opened: Transaction | None = None
    network: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is to hear.

    Attributes:
        delivered: the keys of what was delivered, to be forgotten when the client has heard it.
    """

    reply: Reply
    delivered: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class _Body:
    """One body on its way.

    Attributes:
        audience: all whom it is for.
        left: those of them who do not have it yet.
        tracked: None when it goes out as it came.
    """

    audience: list[str]
    left: list[str]
    tracked: Instrumented | None = None


@dataclass(slots=True)
class _Work:
    """One mail under way.

    Attributes:
        keys: of each recipient, under what its delivery is remembered.
        most_bytes: the largest mail the next host takes; None where it does not say.
        replies: of each recipient who did not have the mail before, what became of it.
        kafka_away: whether something goes out untracked for that.
    """

    envelope: Envelope
    letter: Letter
    keys: dict[str, bytes]
    most_bytes: int | None
    replies: dict[str, Reply] = field(default_factory=dict)
    tracked: bool = False
    kafka_away: bool = False


class Relaying:
    """Takes mails through; one for a process."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        register: Register,
        sends: Sends,
        host: NextHost,
        delivered: Delivered,
        name: str,
    ) -> None:
        """`name` is what the relay calls itself. Raises ConfigError for a wrong address."""
        self._settings = settings
        self._keyring = keyring
        self._register = register
        self._sends = sends
        self._host = host
        self._delivered = delivered
        self._name = name
        self._tracker = tracker_of(settings, keyring)
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def relay(self, envelope: Envelope, data: bytes) -> Answer:
        """Takes a mail to the next host; what its client is to hear. Never raises an Exception."""
        began = time.monotonic()
        outcome: Outcome = "deferred"
        try:
            outcome, answer = await self._relay(envelope, data)
        except WishError as error:
            outcome, answer = "refused", Answer(Reply(554, f"{error.status} {error}"))
        except Exception:
            log.exception("a mail could not be relayed")
            answer = Answer(Reply(451, "4.3.0 the relay failed; try again later"))
        finally:
            if envelope.opened is not None:
                envelope.opened.abandon()
                envelope.opened = None
        took = time.monotonic() - began
        metrics.RELAY_MAILS.labels(outcome).inc()
        metrics.RELAY_SECONDS.observe(took)
        log.info(
            "%s/%s: %s, %s recipients, %s bytes, %.0f ms",
            envelope.login.tenant,
            envelope.login.user,
            outcome,
            len(envelope.recipients),
            len(data),
            took * 1000,
        )
        return answer

    def confirm(self, keys: Sequence[bytes]) -> None:
        """Forgets deliveries of which the client has heard."""
        self._delivered.forget(keys)

    async def _relay(self, envelope: Envelope, data: bytes) -> tuple[Outcome, Answer]:
        login = envelope.login
        letter = take_letter(data, envelope.sender.rpartition("@")[2] or self._name)
        opened = envelope.opened
        if opened is not None and not letter.ascii and not opened.eight_bit:
            return "refused", Answer(
                Reply(554, "5.6.1 the next host takes no 8-bit mail; encode it")
            )
        whole = delivery_key(login.tenant, login.user, letter.identity)
        keys = {address: delivery_key(whole, address) for address in envelope.recipients}
        work = _Work(envelope, letter, keys, opened.most_bytes if opened is not None else None)
        # A client that lost patience sends again while the first attempt is still under way.
        lock = self._locks.get(whole) or self._locks.setdefault(whole, asyncio.Lock())
        async with lock:
            left = [address for address in keys if keys[address] not in self._delivered]
            if not left:
                return "repeated", Answer(Reply(250, "2.0.0 taken before"), list(keys.values()))
            await self._deliver_all(work, left)
            wish = letter.wishes.track
            if wish is not None and any(reply.good for reply in work.replies.values()):
                await self._keep_toggles(login, wish)
            return await self._answer(work)

    async def _deliver_all(self, work: _Work, left: list[str]) -> None:
        audience = list(work.keys)
        wanted = self._wanted(work)
        if wanted is None:
            await self._deliver(work, _Body(audience, left))
            return
        if not self._register.known:  # nothing can be said of consents
            await self._without_kafka(work, [_Body(audience, left)])
            return
        bodies = [_Body(audience, left)]
        if work.letter.wishes.split:
            bodies = [_Body([address], [address]) for address in left]
        most = max(1, min(_CHUNK, _CHUNK_BYTES // max(1, len(work.letter.message))))
        as_it_came: list[str] = []
        for at in range(0, len(bodies), most):
            chunk = [await self._instrument(work, body, wanted) for body in bodies[at : at + most]]
            tracked = [(body, body.tracked) for body in chunk if body.tracked is not None]
            as_it_came += [to for body in chunk if body.tracked is None for to in body.left]
            if not tracked:
                continue
            if await self._sends.publish(
                [each.send for _, each in tracked], [each.display for _, each in tracked]
            ):
                gate = asyncio.Semaphore(AT_ONCE)
                async with asyncio.TaskGroup() as group:
                    for body, _ in tracked:
                        group.create_task(self._deliver(work, body, gate))
            else:
                await self._without_kafka(work, [body for body, _ in tracked])
        if as_it_came:
            await self._deliver(work, _Body(audience, as_it_came))

    def _wanted(self, work: _Work) -> Toggles | None:
        """What is to be tracked by the mail's own word or else the user's; None for nothing, as for
        a mail that is signed already: its signature would be broken, and the mail taken for forged.
        """
        login = work.envelope.login
        wanted = work.letter.wishes.track or self._register.toggles(login.tenant, login.user)
        return wanted if (wanted.opens or wanted.clicks) and not work.letter.signed else None

    async def _instrument(self, work: _Work, body: _Body, wanted: Toggles) -> _Body:
        """The body with what may be tracked of it; the same body when that is nothing."""
        login, letter = work.envelope.login, work.letter
        readers = [self._keyring.recipient_id(login.tenant, each) for each in body.audience]
        may = self._register.permission(login.tenant, readers, wanted)
        if not may:
            return body
        # The same for each attempt at the same mail, so that its hits find its send.
        given = "\0".join([login.user, letter.message_id, letter.identity.hex(), *body.audience])
        try:
            done = await asyncio.to_thread(
                self._tracker.instrument,
                letter.message,
                tenant=login.tenant,
                user=login.user,
                opens=may.opens,
                clicks=may.clicks,
                recipients=body.audience,
                mode=may.mode,
                tag=letter.wishes.tag,
                message_id=ids.message_id_of(login.tenant, given),
                basis=may.basis,
                footer=self._settings.relay_footer or None,
                sender_network=letter.wishes.network if login.on_behalf else work.envelope.network,
                sender_agent=letter.wishes.agent if login.on_behalf else letter.agent,
                retention_days=may.retention_days,
            )
        except MailwakeError as error:
            log.info("a mail cannot be tracked: %s", type(error).__name__)
            return body
        too_large = work.most_bytes is not None and len(done.message) > work.most_bytes
        if too_large or not (done.send.opens or done.send.clicks):
            return body
        return dataclasses.replace(body, tracked=done)

    async def _without_kafka(self, work: _Work, bodies: list[_Body]) -> None:
        """What becomes of bodies that were to be tracked and cannot be, as the operator decided."""
        left = [address for body in bodies for address in body.left]
        if self._settings.relay_without_kafka == "refuse":
            work.replies |= dict.fromkeys(left, _WITHOUT_KAFKA)
            return
        work.kafka_away = True
        await self._deliver(work, _Body(list(work.keys), left))

    async def _deliver(
        self, work: _Work, body: _Body, gate: asyncio.Semaphore | None = None
    ) -> None:
        """Gives a body to the next host for those who do not have it yet, and notes who has it."""
        async with gate or asyncio.Semaphore():
            opened, work.envelope.opened = work.envelope.opened, None
            replies = await self._host.deliver(
                work.envelope.sender,
                body.left,
                body.tracked.message if body.tracked else work.letter.message,
                utf8=work.envelope.utf8,
                opened=opened,
            )
            taken = [address for address, reply in replies.items() if reply.good]
            self._delivered.add(work.keys[address] for address in taken)
            work.replies |= replies
            work.tracked |= bool(taken) and body.tracked is not None

    async def _answer(self, work: _Work) -> tuple[Outcome, Answer]:
        replies, everyone = work.replies, list(work.keys.values())
        bad = {address: reply for address, reply in replies.items() if not reply.good}
        waiting = [reply for reply in bad.values() if not reply.permanent]
        some = len(bad) < len(work.keys)
        if bad and not some:
            first = waiting[0] if waiting else next(iter(bad.values()))
            unknown = any(reply.unknown for reply in waiting)
            return "unknown" if unknown else "deferred" if waiting else "refused", Answer(first)
        if waiting or (bad and not await self._bounce(work, bad)):
            text = (
                f"4.5.0 {len(work.keys) - len(bad)} of {len(work.keys)} recipients have the mail; "
                "send it again, and it goes to the others alone"
            )
            unknown = any(reply.unknown for reply in waiting)
            return "unknown" if unknown else "deferred", Answer(Reply(451, text))
        good = next(reply for reply in replies.values() if reply.good or reply.permanent)
        said = good.text if good.good and len(set(replies.values())) == 1 else "2.0.0 taken"
        outcome: Outcome = "untracked"
        if work.kafka_away:
            outcome = "kafka_away"
            said += f"; {UNTRACKED}"
        elif work.tracked:
            outcome = "tracked"
        return outcome, Answer(Reply(250, said), everyone)

    async def _bounce(self, work: _Work, refused: dict[str, Reply]) -> bool:
        """Tells the sender who will not get the mail that others have; whether that is done.

        SMTP has one answer for all recipients, and neither yes nor no would be true.
        """
        sender = work.envelope.sender
        log.warning("%s recipients were refused after others had the mail", len(refused))
        if sender:
            notice = bounce(self._name, sender, work.letter.message, refused)
            utf8 = not notice.isascii()
            told = await self._host.deliver("", [sender], with_line_ends(notice), utf8=utf8)
            if not told[sender].good:
                return False
        self._delivered.add(work.keys[address] for address in refused)
        return True

    async def _keep_toggles(self, login: Login, wish: Toggles) -> None:
        """Makes what a mail said of tracking the user's default; the mail does not depend on it."""
        register = self._register
        if not (register.known and self._sends.ready):
            return
        if register.toggles(login.tenant, login.user) == wish:
            return
        preference = register.preference(login.tenant, login.user)
        try:
            async with asyncio.timeout(_PREFERENCE_S):
                await register.write_preference(replace(preference, last=wish, at=ids.now_ms()))
                await register.current(_PREFERENCE_S)
        except (UnavailableError, TimeoutError):
            log.warning("what a mail said of tracking did not become its user's default")
