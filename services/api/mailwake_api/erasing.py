"""Erasures: what is under way and what is done, and how one is carried through.

The topic `erasures` holds the state, `removals` the mails that somebody is taken out of. Every step
can be done again, so that an erasure that was interrupted is begun anew from its start, by this
process or by another, with the same id (docs/decisions/0013-erasure.md).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterable, Mapping

from aiokafka.errors import KafkaError
from msgspec.structs import replace

from mailwake.clickhouse import ClickHouse, secured_url
from mailwake.contracts import (
    DISPLAY,
    ERASURE,
    NOBODY,
    REMOVAL,
    Erasure,
    Removal,
    new_consent,
)
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.following import Follower
from mailwake.ids import now_ms
from mailwake.keeping_up import KeepingUp
from mailwake.keyring import Keyring
from mailwake.permission import PURPOSES
from mailwake.register import Register
from mailwake.removed import WHOLE, Removed
from mailwake.settings import Settings
from mailwake_api.connection import Connection
from mailwake_api.kept import Kept, Mails, in_lots

LOADED_S = 10.0
"""A loader that has stored nothing for so long, though there is something, stands still."""

log = logging.getLogger("mailwake.api.erasing")

METHOD = "erasure"
"""How the denial was said that an erasure leaves."""

ROUNDS = 5
"""So often it is looked for what has come meanwhile, before a pause."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
_AT_ONCE = 1_000

JOINED = ("sends", "hits")
STORED = ("sends", "displays", "hits", "events", "tracks", "consent_proofs")


class Erasing:
    """The erasures of one process. Use it within its event loop, between `start` and `stop`."""

    def __init__(
        self, settings: Settings, keyring: Keyring, register: Register, connection: Connection
    ) -> None:
        self._settings = settings
        self._keyring = keyring
        self._register = register
        self._connection = connection
        self._known: dict[str, Erasure] = {}
        self._of: dict[tuple[str, str], list[str]] = {}
        self._follower = Follower(settings, "erasures", ERASURE, self._take)
        self._removed = Removed(settings)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begin = asyncio.Lock()
        self._resuming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow, and takes up what was interrupted; returns at once."""
        self._follower.start()
        self._removed.follower.start()
        self._resuming = asyncio.create_task(self._resume(), name="resume erasures")

    async def stop(self) -> None:
        """Ends; what is under way is taken up by the next start, or when it is asked for."""
        tasks = [*self._tasks.values(), *((self._resuming,) if self._resuming else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(self._follower.stop(), self._removed.follower.stop())

    async def of(self, tenant: str, recipient_id: str) -> list[Erasure]:
        """The erasures of a recipient, oldest first. Raises UnavailableError."""
        await self._follower.current()
        found = [self._known[each] for each in self._of.get((tenant, recipient_id), ())]
        return sorted(found, key=lambda each: (each.asked_at, each.erasure_id))

    async def get(self, tenant: str, erasure_id: str) -> Erasure | None:
        """An erasure of a tenant. Raises UnavailableError."""
        await self._follower.current()
        erasure = self._known.get(erasure_id)
        return erasure if erasure and erasure.tenant == tenant else None

    async def begin(self, tenant: str, recipient_id: str) -> Erasure:
        """Begins to erase a recipient, or goes on with it; returns as soon as that stands in Kafka.

        The recipient counts as denying by then. Raises UnavailableError.
        """
        async with self._begin:
            under_way = [each for each in await self.of(tenant, recipient_id) if not each.done_at]
            if under_way:
                erasure = under_way[0]
            else:
                erasure = Erasure(uuid.uuid4().hex, tenant, recipient_id, now_ms())
                await self._write("erasures", [(erasure.erasure_id, ERASURE.encode(erasure))])
                self._take(b"", erasure)
            await self._deny(tenant, recipient_id)
            self._go_on(erasure)
        return erasure

    async def wait(self, erasure: Erasure, seconds: float) -> Erasure:
        """The erasure when it is done, or as it is after so many seconds."""
        task = self._tasks.get(erasure.erasure_id)
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)
        return self._known[erasure.erasure_id]

    def kept(self, clickhouse: ClickHouse, tenant: str, recipient_id: str) -> Kept:
        """What ClickHouse keeps of a recipient."""

        def is_it(address: str) -> bool:
            return self._keyring.recipient_id(tenant, address) == recipient_id

        return Kept(clickhouse, tenant, recipient_id, is_it)

    async def loaded(self) -> None:
        """Returns when ClickHouse has what stands in Kafka now. Raises UnavailableError."""
        async with KeepingUp(self._settings, log.info, LOADED_S) as keeping_up:
            await keeping_up.wait("loader", await keeping_up.ends(*STORED))

    async def _resume(self) -> None:
        await self._follower.caught_up.wait()
        for erasure in list(self._known.values()):
            if not erasure.done_at:
                log.info("erasure %s was interrupted; it goes on", erasure.erasure_id)
                self._go_on(erasure)

    def _take(self, key: bytes, erasure: Erasure | None) -> None:
        if erasure is None:
            return
        known = self._known.get(erasure.erasure_id)
        if known is None:
            self._of.setdefault((erasure.tenant, erasure.recipient_id), []).append(
                erasure.erasure_id
            )
        if known is None or erasure.done_at or not known.done_at:
            self._known[erasure.erasure_id] = erasure

    def _go_on(self, erasure: Erasure) -> None:
        task = self._tasks.get(erasure.erasure_id)
        if task is None or task.done():
            task = asyncio.create_task(self._run(erasure), name=f"erasure {erasure.erasure_id}")
            self._tasks[erasure.erasure_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(erasure.erasure_id, None))

    async def _run(self, erasure: Erasure) -> None:
        """Carries an erasure through, however long Kafka, ClickHouse or a service is away."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._carry_through(erasure)
                return
            except (MailwakeError, KafkaError) as error:
                log.warning("erasure %s waits: %s", erasure.erasure_id, error)
            except Exception as error:  # whose text may hold what no log may
                log.error("erasure %s: %s; it waits", erasure.erasure_id, type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _carry_through(self, erasure: Erasure) -> None:
        await self._deny(erasure.tenant, erasure.recipient_id)
        await self._removed.follower.current()
        mails: dict[str, frozenset[int]] = {
            message_id: self._removed.of[erasure.tenant, message_id]
            for message_id in self._removed.by_erasure.get(erasure.erasure_id, ())
        }
        todo: set[str] = set(mails)
        clickhouse = ClickHouse(secured_url(self._settings))
        kept = self.kept(clickhouse, erasure.tenant, erasure.recipient_id)
        rows: dict[str, int] = {}
        try:
            async with KeepingUp(self._settings, log.info) as keeping_up:
                for _ in range(ROUNDS):
                    # What the tracks know of their sends, and the tables of everything.
                    await keeping_up.wait("enricher", await keeping_up.ends(*JOINED))
                    await keeping_up.wait("loader", await keeping_up.ends(*STORED))
                    found = await asyncio.to_thread(kept.find)
                    todo |= {each for each in found if mails.get(each) != found[each]}
                    _merge(mails, found)
                    left = await asyncio.to_thread(kept.count, mails)
                    if not todo and not any(left.values()):
                        await self._done(erasure, mails, rows)
                        return
                    await self._forget(erasure, {each: mails[each] for each in todo}, kept)
                    todo = set()
                    await keeping_up.wait("enricher", await keeping_up.ends("removals"))
                    await keeping_up.wait("loader", await keeping_up.ends(*STORED))
                    await self._note(erasure, mails, _sum(rows, left))
                    removed = await asyncio.to_thread(kept.remove, mails)
                    rows = _sum(rows, {table: max(left[table], removed[table]) for table in left})
        finally:
            await asyncio.to_thread(clickhouse.close)
        raise UnavailableError("mail to the recipient goes on coming in; it is looked for again")

    async def _forget(self, erasure: Erasure, mails: Mails, kept: Kept) -> None:
        """Has the enricher and the loader forget, and takes the names out of `displays`.

        The removals come first: whoever takes up an erasure knows from them what was found by a
        display that is gone.
        """
        at = now_ms()
        await self._write(
            "removals",
            (
                (
                    message_id,
                    REMOVAL.encode(
                        Removal(message_id, erasure.tenant, erasure.erasure_id, at, sorted(places))
                    ),
                )
                for message_id, places in mails.items()
            ),
        )
        rewritten = await asyncio.to_thread(lambda: list(kept.displays(mails)))
        gone = (message_id for message_id, places in mails.items() if not places)
        await self._write("displays", ((message_id, None) for message_id in gone))
        await self._write(
            "displays", ((each.message_id, DISPLAY.encode(each)) for each in rewritten)
        )

    async def _deny(self, tenant: str, recipient_id: str) -> None:
        """Has the recipient count as one who denies, and so nobody, who stands for who was erased.

        So late requests give nothing, and what several did stays hidden that one of them withdrew.
        """
        await self._register.current()
        denials = [
            new_consent(
                tenant,
                each,
                purpose,
                "denied",
                max(now_ms(), said[purpose].at + 1 if purpose in said else 0),
                METHOD,
            )
            for each in (recipient_id, NOBODY)
            for said in (self._register.consents(tenant, each),)
            for purpose in PURPOSES
            if purpose not in said or said[purpose].state != "denied"
        ]
        if denials:
            async with self._connection.writing():
                await self._register.write_consents(denials)

    async def _note(
        self, erasure: Erasure, mails: Mails, rows: Mapping[str, int], done_at: int = 0
    ) -> None:
        known = self._known[erasure.erasure_id]
        now = replace(
            known,
            done_at=done_at,
            mails=sum(not places for places in mails.values()),
            shared=sum(bool(places) for places in mails.values()),
            # What an interrupted run had counted is gone by now, and is counted no more.
            rows={
                table: max(known.rows.get(table, 0), rows.get(table, 0))
                for table in {*known.rows, *rows}
            },
        )
        await self._write("erasures", [(now.erasure_id, ERASURE.encode(now))])
        self._take(b"", now)

    async def _done(self, erasure: Erasure, mails: Mails, rows: Mapping[str, int]) -> None:
        await self._note(erasure, mails, rows, done_at=now_ms())
        log.info("erasure %s is done", erasure.erasure_id)

    async def _write(self, topic: str, records: Iterable[tuple[str, bytes | None]]) -> None:
        """Writes records, by message_id or erasure_id. Raises UnavailableError."""
        keyed = [(key.encode(), value) for key, value in records]
        for some in in_lots(keyed, _AT_ONCE):
            await self._connection.write(topic, some)


def _merge(mails: dict[str, frozenset[int]], found: Mails) -> None:
    """Adds what was found to what is known; a mail that goes as a whole stays one that does."""
    for message_id, places in found.items():
        before = mails.get(message_id)
        whole = not places or before == WHOLE
        mails[message_id] = WHOLE if whole else places | (before or WHOLE)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {table: one.get(table, 0) + other.get(table, 0) for table in {*one, *other}}
