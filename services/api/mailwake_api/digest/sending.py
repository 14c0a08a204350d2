"""The digests of the users that this process is for: who is due gets one, and it is remembered.

What is remembered stands in the topic `digests`: that a digest is being sent, before it is, and
that it was sent, after. So a day has one however often a process ends; when one ends in between,
the next sends the same digest with the same Message-ID, by which mail programs know it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from email.utils import parseaddr

from aiokafka import AIOKafkaProducer
from msgspec import structs

from mailwake.contracts import DIGEST, PREFERENCE, Digest, Preference
from mailwake.following import Follower
from mailwake.ids import now_ms
from mailwake.kafka import write
from mailwake.keeping_up import KeepingUp
from mailwake.keyring import Keyring
from mailwake.metrics import DIGESTS, DIGESTS_DUE
from mailwake.mutes import Mutes
from mailwake.settings import Settings
from mailwake_api.digest.due import Period, due
from mailwake_api.digest.letter import Whose, letter
from mailwake_api.digest.off import off_token
from mailwake_api.digest.telling import tell
from mailwake_api.problems import Problem
from mailwake_api.reading import Reader
from mailwake_api.web.outgoing import Host, RefusedError, hand_over

log = logging.getLogger("mailwake.digest")

AGAIN_MS = 600_000
"""A digest that could not be handed over is tried again after so long."""
LOADED_S = 10.0
"""A loader that has stored nothing for so long, though there is something, stands still."""
_FAILURES = 3


class Digests:
    """Use it within its event loop, between `start` and `stop`."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        producer: AIOKafkaProducer,
        reader: Reader,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._settings = settings
        self._smtp = Host(
            settings.digest_smtp or settings.relay_next, settings.relay_next_timeout_s
        )
        self._keyring = keyring
        self._producer = producer
        self._reader = reader
        self._clock = clock
        self._wishes: dict[bytes, Preference] = {}
        self._last: dict[bytes, Digest] = {}
        self._again: dict[bytes, int] = {}
        self._mutes = Mutes(settings)
        self._preferences = Follower(settings, "preferences", PREFERENCE, self.take_preference)
        self._digests = Follower(settings, "digests", DIGEST, self.take_digest)

    def start(self) -> None:
        """Begins to follow what it goes by; returns at once."""
        for each in (self._preferences, self._digests, self._mutes):
            each.start()

    async def stop(self) -> None:
        """Ends following."""
        await asyncio.gather(self._preferences.stop(), self._digests.stop(), self._mutes.stop())

    def take_preference(self, key: bytes, preference: Preference | None) -> None:
        """Notes a record of `preferences`: of those who want a digest."""
        if preference is None or preference.daily_digest is None:
            self._wishes.pop(key, None)
        else:
            self._wishes[key] = preference

    def take_digest(self, key: bytes, digest: Digest | None) -> None:
        """Notes a record of `digests`."""
        if digest is None:
            self._last.pop(key, None)
        else:
            self._last[key] = digest

    async def current(self) -> None:
        """Returns when all is known that was written before. Raises UnavailableError."""
        await asyncio.gather(
            self._preferences.current(), self._digests.current(), self._mutes.current()
        )

    def due(self, ours: Callable[[bytes], bool]) -> list[bytes]:
        """The keys of the users of ours who are to get a digest now.

        Those whose last attempt failed shortly before are due too, but wait.
        """
        now = self._clock()
        all_due = [
            key
            for key, wish in self._wishes.items()
            if ours(key) and due(wish, self._last.get(key), now)
        ]
        DIGESTS_DUE.set(len(all_due))
        return [key for key in all_due if self._again.get(key, 0) <= now]

    async def send(
        self, keys: list[bytes], ours: Callable[[bytes], bool], progressed: Callable[[], None]
    ) -> None:
        """Sends them their digests, one after the other, as long as they are ours; `progressed` is
        called after each.

        Returns early when several in a row could not be made or handed over; they are tried again
        after a while, and what is left is due the next time. Raises UnavailableError.
        """
        async with KeepingUp(self._settings, log.info, LOADED_S) as keeping_up:
            await keeping_up.wait("loader", await keeping_up.ends("sends", "displays", "events"))
        failures = 0
        for key in keys:
            # Asked once more: it may have been switched off, or been sent, since.
            await self.current()
            wish, now = self._wishes.get(key), self._clock()
            period = due(wish, self._last.get(key), now) if wish and ours(key) else None
            if wish is None or period is None:
                continue
            try:
                outcome = await self._send(key, wish, period)
            except (RefusedError, Problem) as error:
                log.warning("a digest waits: %s", error)
                self._again[key] = now + AGAIN_MS
                failures += 1
                if failures == _FAILURES:
                    return
                continue
            failures = 0
            self._again.pop(key, None)
            DIGESTS.labels(outcome).inc()
            progressed()

    async def _send(self, key: bytes, wish: Preference, period: Period) -> str:
        """Sends one digest; gives what became of it. Raises RefusedError and Problem when
        that may change."""
        noted = Digest(
            wish.tenant, wish.user, period.day, period.since, period.until, state="sending"
        )
        last = self._last.get(key)
        if last is None or last.state != "sending":
            await self._note(key, noted)
        state = await self._hand_over(wish, period)
        await self._note(key, structs.replace(noted, state=state))
        return state

    async def _hand_over(self, wish: Preference, period: Period) -> str:
        tenant, user, asked = wish.tenant, wish.user, wish.daily_digest
        assert asked is not None  # noqa: S101 (else it is not due)
        report = await tell(
            self._reader, tenant, user, period, lambda mail: self._mutes.muted(tenant, user, mail)
        )
        if report is None:
            return "nothing"
        url = self._settings.withdrawal_url
        off = f"{url}/digest/off/{off_token(self._keyring, tenant, user)}"
        sender = self._settings.digest_from
        try:
            mail = letter(sender, asked, Whose(tenant, user, url, off), period, report)
            await asyncio.to_thread(
                hand_over, self._smtp, parseaddr(sender)[1], [asked.address], mail
            )
        except RefusedError as error:
            if not error.lasting:
                raise
            log.warning("a digest was refused for good: %s", error)
            return "refused"
        except ValueError:  # whose text may hold the address
            log.warning("a digest was refused for good: its address is none")
            return "refused"
        return "sent"

    async def _note(self, key: bytes, digest: Digest) -> None:
        await write(self._producer, self._settings, "digests", [(key, DIGEST.encode(digest))])
