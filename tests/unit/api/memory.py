"""The API's parts without a Kafka: what is written is known at once, to this process alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import TopicPartition
from msgspec import Struct
from msgspec.structs import replace

from mailwake.clickhouse import ClickHouse
from mailwake.codec import Codec
from mailwake.contracts import (
    ALERT_READS,
    MUTE,
    Alert,
    Consent,
    Display,
    Erasure,
    Send,
    user_key,
)
from mailwake.errors import UnavailableError
from mailwake.ids import now_ms
from mailwake.keyring import new_keyring
from mailwake.mutes import Mutes
from mailwake.register import Register
from mailwake.service import Status
from mailwake.settings import Settings
from mailwake.tracker import Tracker
from mailwake.webhook import DELIVERY, WEBHOOK, Attempt, Delivery, DeliveryState
from mailwake.webhooks import Webhooks
from mailwake_api.bearer import Bearer, Caller, Role
from mailwake_api.bell import Bell
from mailwake_api.call import Parts
from mailwake_api.commands import keys_command, new_token
from mailwake_api.connection import Connection
from mailwake_api.deliveries import Deliveries
from mailwake_api.erasing import Erasing
from mailwake_api.kept import Kept, Mails
from mailwake_api.keys import KeyFile
from mailwake_api.locks import Locks
from mailwake_api.problems import Problem
from mailwake_api.published import Published
from mailwake_api.reading import Reader, Row, Value
from mailwake_api.withheld import Denials

T = TypeVar("T", bound=Struct)


class MemoryRegister(Register):
    """A register whose topics are its own memory; `away` stands for a Kafka that is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, object())  # which is never used
        self.away = False
        self.proofs: list[Consent] = []

    @property
    def known(self) -> bool:
        return not self.away

    async def current(self, within_s: float = 5.0) -> None:
        if self.away:
            raise UnavailableError("Kafka is away")

    async def write_consents(self, consents: Sequence[Consent]) -> None:
        await self.current()
        self.proofs += consents
        for consent in consents:
            key = f"{consent.tenant}/{consent.recipient_id}/{consent.purpose}".encode()
            self._take_consent(key, consent)

    async def _write(self, topic: str, codec: Codec[T], values: list[tuple[bytes, T]]) -> None:
        await self.current()
        store: Any = self._preferences if topic == "preferences" else self._policies
        store.update(values)


class MemoryMutes(Mutes):
    """Mutes whose topic is its own memory; they are away with the register."""

    def __init__(self, settings: Settings, register: MemoryRegister) -> None:
        super().__init__(settings)
        self._memory = register

    async def current(self, within_s: float = 5.0) -> None:
        await self._memory.current()


class MemoryConnection(Connection):
    """Keeps what is published."""

    def __init__(self, settings: Settings, register: MemoryRegister) -> None:
        super().__init__(settings, register)
        self._memory = register
        self.connected.set()
        self.sends: list[Send] = []
        self.written: list[tuple[str, bytes, bytes | None]] = []
        self.mutes = MemoryMutes(settings, register)
        self.courier: MemoryDeliveries | None = None

    async def write(self, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        await self._memory.current()
        for key, value in records:
            if topic == "mutes":
                self.mutes.take(key, MUTE.decode(value) if value else None)
            else:
                self.written.append((topic, key, value))
            if topic == "webhooks.retry.now" and self.courier is not None:
                self.courier.try_it(DELIVERY.decode(value or b""))

    async def publish(self, sends: Sequence[Send], displays: Sequence[Display]) -> None:
        await self._memory.current()
        self.sends += sends


class MemoryBell(Bell):
    """A bell whose topics are its own memory: one partition of `alerts`."""

    def __init__(
        self, settings: Settings, register: MemoryRegister, connection: MemoryConnection
    ) -> None:
        super().__init__(settings, register, connection)
        self._written = connection.written
        self._memory = register
        self._alerts._applied = {_PARTITION: 0}
        for follower in (self._alerts, self._marks):
            follower.caught_up.set()
            follower.current = self.current  # type: ignore[method-assign]

    async def current(self, within_s: float = 5.0) -> None:
        await self._memory.current()
        while self._written:
            topic, key, value = self._written.pop(0)
            if topic == "alert_reads":
                self._take_reads(key, ALERT_READS.decode(value or b""))

    def ring(self, *alerts: Alert) -> None:
        """Takes alerts as they come from the topic."""
        for alert in alerts:
            self._alerts.place = (0, self._alerts._applied[_PARTITION])
            self._take_alert(user_key(alert.tenant, alert.user), alert)
            self._alerts._applied[_PARTITION] += 1


_PARTITION = TopicPartition("alerts", 0)


class MemoryKept(Kept):
    """A ClickHouse in which nothing is kept."""

    def find(self) -> Mails:
        return {}

    def proofs(self) -> list[dict[str, Any]]:
        return []


class MemoryErasing(Erasing):
    """Erasures that are done at once, for there is nothing to erase; unless they are held."""

    def hold(self) -> asyncio.Event:
        """What is to be set for erasures to go on."""
        self._held = asyncio.Event()
        return self._held

    _held: asyncio.Event | None = None

    async def of(self, tenant: str, recipient_id: str) -> list[Erasure]:
        await self._register.current()
        return [self._known[each] for each in self._of.get((tenant, recipient_id), ())]

    async def get(self, tenant: str, erasure_id: str) -> Erasure | None:
        await self._register.current()
        found = self._known.get(erasure_id)
        return found if found and found.tenant == tenant else None

    async def loaded(self) -> None:
        await self._register.current()

    def kept(self, clickhouse: ClickHouse, tenant: str, recipient_id: str) -> Kept:
        return MemoryKept(clickhouse, tenant, recipient_id, bool)

    async def _carry_through(self, erasure: Erasure) -> None:
        if self._held is not None:
            await self._held.wait()
        await self._done(erasure, {}, {})


class MemoryWebhooks(Webhooks):
    """Webhooks whose topic is what was written."""

    def __init__(self, settings: Settings, connection: MemoryConnection) -> None:
        super().__init__(settings)
        self._connection = connection

    async def current(self, within_s: float = 5.0) -> None:
        await self._connection._memory.current()
        for topic, key, value in self._connection.written:
            if topic == "webhooks":
                self.take(key, WEBHOOK.decode(value) if value else None)


class MemoryDeliveries(Deliveries):
    """Deliveries whose topic is its own memory; `answers` stands for a receiver.

    Attributes:
        sent: what the service that delivers has got.
    """

    def __init__(self, settings: Settings, connection: MemoryConnection) -> None:
        super().__init__(settings)
        self._connection = connection
        self.answers: Attempt | None = Attempt(now_ms(), "delivered", 204, 12)
        self.sent: list[Delivery] = []

    def try_it(self, delivery: Delivery) -> None:
        """What the service that delivers does."""
        self.sent.append(delivery)
        if self.answers is not None:
            attempts = [*delivery.attempts, self.answers]
            state: DeliveryState = "delivered" if self.answers.outcome == "delivered" else "failed"
            told = replace(delivery, attempts=attempts, state=state, due_at=0, tries=1)
            self.take(b"", told)

    async def current(self, within_s: float = 5.0) -> None:
        await self._connection._memory.current()


class MemoryReader(Reader):
    """A ClickHouse in which nothing is stored; `away` stands for one that is."""

    def __init__(self) -> None:
        super().__init__("clickhouse://127.0.0.1:9/none")  # which is never reached
        self.away = False
        self.asked: list[tuple[str, dict[str, Value]]] = []

    async def rows(self, sql: str, **values: Value) -> list[Row]:
        if self.away:
            raise Problem(503, "unavailable", "ClickHouse is away", {"Retry-After": "5"})
        self.asked.append((sql, values))
        return [(0, 0)] if sql.startswith("SELECT count(), toUnixTimestamp64Milli(max") else []


class Memory:
    """An API in memory.

    Attributes:
        parts: what its handlers work with.
    """

    def __init__(self, folder: Path) -> None:
        keys = folder / "api-keys.json"
        keys_command(["new", str(keys)])
        self.settings = Settings(api_keys=keys, api_max_bytes=100_000)
        self.register = MemoryRegister(self.settings)
        self.connection = MemoryConnection(self.settings, self.register)
        self.reader = MemoryReader()
        self.bell = MemoryBell(self.settings, self.register, self.connection)
        self.keyring = new_keyring()
        self.keys = KeyFile(keys)
        self.erasing = MemoryErasing(self.settings, self.keyring, self.register, self.connection)
        self.webhooks = MemoryWebhooks(self.settings, self.connection)
        self.deliveries = MemoryDeliveries(self.settings, self.connection)
        self.connection.courier = self.deliveries
        self.parts = Parts(
            self.settings,
            Status(ready=True),
            self.keyring,
            Tracker(self.keyring, "https://t.example", withdrawal_url="https://w.example"),
            self.register,
            self.connection,
            Bearer(self.keys.current, audience="mailwake"),
            Locks(),
            Published(),
            self.reader,
            Denials(self.reader, self.register),
            self.bell,
            self.erasing,
            self.connection.mutes,
            self.webhooks,
            self.deliveries,
        )

    def authorization(self, sub: str, role: Role = "user", tenant: str = "acme") -> dict[str, str]:
        """The header field of a caller."""
        key = self.keys.current()[0]
        token = new_token(self.settings, key, Caller(tenant, sub, role), 600)
        return {"Authorization": f"Bearer {token}"}
