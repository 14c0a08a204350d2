"""The register: what users prefer, what tenants allow and what recipients agreed to.

It follows the compacted topics `preferences`, `policies` and `consents` in memory, answers from
there, and writes to them. A statement about consent goes to `consent_proofs` first, which is never
compacted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from msgspec import Struct

from mailwake.codec import Codec
from mailwake.contracts import (
    CONSENT,
    POLICY,
    PREFERENCE,
    Consent,
    Mode,
    Policy,
    Preference,
    Purpose,
    Toggles,
    consent_key,
    user_key,
)
from mailwake.errors import UnavailableError
from mailwake.following import Follower, current
from mailwake.kafka import write
from mailwake.permission import PURPOSES, Permission, counts, permit, toggles_of
from mailwake.settings import Settings

log = logging.getLogger("mailwake.register")

FOLLOWED = ("preferences", "policies", "consents")
"""The topics it follows."""
TOPICS = (*FOLLOWED, "consent_proofs")
"""What the register reads and writes."""

T = TypeVar("T", bound=Struct)
_AGAIN_S = 1.0


class Register:
    """One for a process. Use it within its event loop, between `start` and `stop`.

    Attributes:
        denials: changes whenever who has denied may have.
    """

    def __init__(self, settings: Settings, producer: AIOKafkaProducer | None = None) -> None:
        """`producer` is what writing needs; without one the register only reads."""
        self._settings = settings
        self.producer = producer
        self._preferences: dict[bytes, Preference] = {}
        self._policies: dict[bytes, Policy] = {}
        self._consents: dict[bytes, Consent] = {}
        self._deniers: dict[tuple[str, Purpose], set[str]] = {}
        self.denials = 0
        self._consents_follower = Follower(settings, "consents", CONSENT, self._take_consent)
        self._followers: tuple[Follower[Any], ...] = (
            Follower(settings, "preferences", PREFERENCE, _into(self._preferences)),
            Follower(settings, "policies", POLICY, _into(self._policies)),
            self._consents_follower,
        )
        self._overtaken: set[bytes] = set()
        self._overtaking = asyncio.Event()
        self._repairing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow the topics; returns at once."""
        for follower in self._followers:
            follower.start()
        self._repairing = asyncio.create_task(self._repair(), name="repair consents")

    async def stop(self) -> None:
        """Ends following."""
        if self._repairing is not None:
            self._repairing.cancel()
            await asyncio.gather(self._repairing, return_exceptions=True)
        await asyncio.gather(*(follower.stop() for follower in self._followers))

    @property
    def known(self) -> bool:
        """Whether all three topics have been read once; before, nothing may be concluded."""
        return all(follower.caught_up.is_set() for follower in self._followers)

    async def current(self, within_s: float = 5.0) -> None:
        """Returns when the register holds all that was written before this call, by anybody.

        Raises UnavailableError when that does not come about in time.
        """
        await current(self._followers, within_s)

    def preference(self, tenant: str, user: str) -> Preference:
        """A user's switches; all on where none were ever set (`at` is 0 then)."""
        found = self._preferences.get(user_key(tenant, user))
        return found or Preference(tenant, user, at=0)

    def policy(self, tenant: str) -> Policy:
        """A tenant's policy; identified, on the basis of consent, where none was ever set."""
        return self._policies.get(tenant.encode()) or Policy(tenant, at=0)

    def consents(self, tenant: str, recipient_id: str) -> dict[Purpose, Consent]:
        """What a recipient has said, as far as anything."""
        found = {
            purpose: self._consents.get(f"{tenant}/{recipient_id}/{purpose}".encode())
            for purpose in PURPOSES
        }
        return {purpose: consent for purpose, consent in found.items() if consent is not None}

    def denies(self, tenant: str, recipient_id: str, purpose: Purpose) -> bool:
        """Whether a recipient has said no, and has not taken it back."""
        said = self._consents.get(f"{tenant}/{recipient_id}/{purpose}".encode())
        return said is not None and said.state == "denied"

    def deniers(self, tenant: str, purpose: Purpose) -> Set[str]:
        """The recipients of a tenant who have said no, and have not taken it back."""
        return self._deniers.get((tenant, purpose), frozenset())

    def toggles(self, tenant: str, user: str) -> Toggles:
        """What the user's next mail is to be tracked for, unless it says otherwise itself."""
        return toggles_of(self.preference(tenant, user))

    def permission(
        self,
        tenant: str,
        recipient_ids: Iterable[str],
        wanted: Toggles,
        mode: Mode = "identified",
    ) -> Permission:
        """What may be tracked of a body that goes to those recipients (`mailwake.permission`)."""
        said = [self.consents(tenant, recipient_id) for recipient_id in recipient_ids]
        return permit(wanted, self.policy(tenant), said, mode)

    async def write_preference(self, preference: Preference) -> None:
        """Writes a user's switches. Raises UnavailableError."""
        key = user_key(preference.tenant, preference.user)
        await self._write("preferences", PREFERENCE, [(key, preference)])

    async def write_policy(self, policy: Policy) -> None:
        """Writes a tenant's policy. Raises UnavailableError."""
        await self._write("policies", POLICY, [(policy.tenant.encode(), policy)])

    async def write_consents(self, consents: Sequence[Consent]) -> None:
        """Records statements: each as a proof, and those that count as what is in force.

        Told again, they do no harm. Raises UnavailableError; then some may be recorded. Raises
        InvalidError when one does not keep its contract; then none is.
        """
        await self._consents_follower.current()
        keyed = [(consent_key(consent), consent) for consent in consents]
        await self._write("consent_proofs", CONSENT, keyed)
        in_force: dict[bytes, Consent] = {}
        for key, consent in keyed:
            if counts(consent, in_force.get(key) or self._consents.get(key)):
                in_force[key] = consent
        await self._write("consents", CONSENT, list(in_force.items()))

    async def _write(self, topic: str, codec: Codec[T], values: list[tuple[bytes, T]]) -> None:
        encoded = [(key, codec.encode(value)) for key, value in values]
        for _, value in encoded:
            codec.decode(value)  # encoding checks nothing, and what is written stays
        await write(self.producer, self._settings, topic, encoded)

    def _take_consent(self, key: bytes, consent: Consent | None) -> None:
        self.denials += 1
        before = self._consents.get(key)
        if consent is None:
            self._consents.pop(key, None)
        elif counts(consent, before):
            self._consents[key] = consent
        else:
            # Two processes wrote at the same time, and the one that does not count wrote last.
            # Compaction would keep that one, so what counts is written once more.
            self._overtaken.add(key)
            self._overtaking.set()
            return
        self._overtaken.discard(key)
        if said := consent or before:
            deniers = self._deniers.setdefault((said.tenant, said.purpose), set())
            if consent is not None and consent.state == "denied":
                deniers.add(said.recipient_id)
            else:
                deniers.discard(said.recipient_id)

    async def _repair(self) -> None:
        """Writes once more what counts and was overtaken, also before this process began."""
        await self._consents_follower.caught_up.wait()
        while True:
            await self._overtaking.wait()
            if self.producer is None:
                await asyncio.sleep(_AGAIN_S)
                continue
            self._overtaking.clear()
            overtaken, self._overtaken = self._overtaken, set()
            in_force = [(key, self._consents[key]) for key in overtaken if key in self._consents]
            try:
                await self._write("consents", CONSENT, in_force)
            except UnavailableError as error:
                log.warning("consents in force could not be written once more: %s", error)
                self._overtaken |= overtaken
                self._overtaking.set()
                await asyncio.sleep(_AGAIN_S)


def _into(values: dict[bytes, T]) -> Callable[[bytes, T | None], None]:
    def apply(key: bytes, value: T | None) -> None:
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value

    return apply
