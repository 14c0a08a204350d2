"""Who is told of a user's alerts, or of the day, while the services are replaced: a page that
listens to the bell, a webhook's receiver, and users who want a digest."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator

import httpx
from standardwebhooks.webhooks import Webhook as Verifier

from mailwake.contracts import (
    ALERT,
    DIGEST,
    PREFERENCE,
    Alert,
    DailyDigest,
    Preference,
    user_key,
)
from mailwake.ids import now_ms, partitioner
from mailwake.keyring import Keyring
from mailwake.settings import Settings
from mailwake.topics import registry, wanted_partitions
from mailwake.webhook import Webhook, delivery_of, secret_text
from tests.balancer import Balancer
from tests.following import put, until
from tests.mailbox import HOUR, Mailbox, noon
from tests.smtp_host import SmtpHost
from tests.topics import read_all
from tests.traffic import PATIENCE_S
from tests.webhooks.hooking import SECRET, webhook, write_webhooks
from tests.webhooks.receiver import Receiver, Request, says


async def alerts_of(settings: Settings) -> list[Alert]:
    """Every revision of every alert, as they were told."""
    return [ALERT.decode(each.value or b"") for each in await read_all(settings, "alerts")]


class Listener:
    """A page that listens to the bell, as a browser does: a stream that ends is taken up again
    where it ended, at whatever process the balancer gives.

    Attributes:
        address: of the process that it listens to.
        streams: how many there were so far.
        heard: how much each alert told of, when it was told last; not of those that were withdrawn,
            as one is when an open that came before its own arrives after it.
    """

    def __init__(self, balancer: Balancer, token: str) -> None:
        self._balancer = balancer
        self._headers = {"Authorization": f"Bearer {token}"}
        self._last = ""
        self.address = ""
        self.streams = 0
        self.heard: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """It listens inside, and fails at its end with what went wrong."""
        task = asyncio.create_task(self._listen())
        try:
            await until("the bell is heard", lambda: task.done() or bool(self._last))
            yield
        finally:
            if not task.done():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def hears_all(self, settings: Settings) -> None:
        """Until it has heard of each alert what was told last."""
        last: dict[str, Alert] = {}
        for alert in await alerts_of(settings):
            if alert.alert_id not in last or alert.revision > last[alert.alert_id].revision:
                last[alert.alert_id] = alert
        told = {alert.alert_id: alert.count for alert in last.values() if not alert.withdrawn}
        await until("all alerts are heard", lambda: self.heard == told, 60)

    async def _listen(self) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            while True:
                headers = self._headers | ({"Last-Event-ID": self._last} if self._last else {})
                # A stream outlives what a balancer waits for: it ends with its process.
                with self._balancer.call() as self.address:
                    url = f"http://{self.address}/v1/alerts/stream"
                    request = client.build_request("GET", url, headers=headers)
                    answer = await client.send(request, stream=True)
                try:
                    assert answer.status_code == 200, f"the stream: {answer.status_code}"
                    self.streams += 1
                    await self._take(answer)
                finally:
                    await answer.aclose()

    async def _take(self, answer: httpx.Response) -> None:
        event = ""
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                self._last = value
            elif field == "event":
                event = value
                assert event != "resync", "the stream has lost alerts"
            elif field == "data" and event == "alert":
                alert = json.loads(value)
                if alert["withdrawn"]:
                    self.heard.pop(alert["alert_id"], None)
                else:
                    self.heard[alert["alert_id"]] = alert["count"]


class Posted:
    """A webhook of a user, and what its receiver got.

    Attributes:
        verified: how often each message came, by its id.
        releases: which releases posted, by their `User-Agent`.
    """

    def __init__(self) -> None:
        self._receiver = Receiver(hook=self._take)
        self._webhook: Webhook | None = None
        self.verified: Counter[str] = Counter()
        self.releases: set[str] = set()

    @contextlib.asynccontextmanager
    async def subscribed(
        self, settings: Settings, keyring: Keyring, tenant: str, user: str
    ) -> AsyncIterator[None]:
        """All alerts of a user are posted to it inside."""
        async with self._receiver.listening() as receiver:
            self._webhook = webhook(keyring, tenant, user, receiver.url("hook"))
            await write_webhooks(settings, self._webhook)
            yield

    async def gets_all(self, settings: Settings) -> None:
        """Until every revision of every alert was posted: under its id, and nothing else."""
        hook = self._webhook
        assert hook is not None
        wanted = {delivery_of(each, hook, 0).delivery_id for each in await alerts_of(settings)}
        await until("all is posted", lambda: self.verified.keys() >= wanted, 120)
        assert {*self.verified} == wanted

    async def _take(self, request: Request, writer: asyncio.StreamWriter) -> None:
        Verifier(secret_text(SECRET)).verify(request.body.decode(), request.headers)
        self.verified[request.id] += 1
        self.releases.add(request.headers["user-agent"])
        await says(204)(request, writer)


class Digested:
    """Users of a tenant of their own who want a digest, of a day that is half over.

    The processes that send digests share the users as they share partitions; so as many at a time
    begin to want one as there are partitions.
    """

    TENANT = "globex"

    def __init__(self, settings: Settings, host: SmtpHost) -> None:
        self._settings, self._host = settings, host
        server, _, database = settings.clickhouse_url.rpartition("/")
        self._mailbox = Mailbox(f"{server}/", database)
        self._names = map("u{}".format, itertools.count(1))
        self._users: list[str] = []

    async def wish(self) -> None:
        """A user of each partition wants one from now on; each has a mail that was opened."""
        count = wanted_partitions(registry()["digests"], self._settings)
        partition_of = partitioner(count)
        users: dict[int, str] = {}
        while len(users) < count:
            user = next(self._names)
            users.setdefault(partition_of(user_key(self.TENANT, user)), user)
        for user in users.values():
            self._users.append(user)
            await asyncio.to_thread(self._opened, user, len(self._users))
        await put(self._settings, "preferences", map(self._wish, users.values()))

    async def each_gets_one(self) -> None:
        """Until each who wants one has got it; fails when one has come twice."""

        def sent() -> dict[str, int]:
            mails = Counter(to for mail in self._host.taken for to in mail.recipients)
            return {user: mails[_address(user)] for user in self._users}

        await until("each has a digest", lambda: all(sent().values()), 120)
        async with asyncio.timeout(60):
            # It is noted after, by another process.
            wanted = {user: ["sending", "sent"] for user in self._users}
            while await self._states() != wanted:  # noqa: ASYNC110
                await asyncio.sleep(1)
        assert sent() == dict.fromkeys(self._users, 1)

    def stop(self) -> None:
        """Lets go of ClickHouse."""
        self._mailbox.client.close()

    def _opened(self, user: str, number: int) -> None:
        sent_at = now_ms() - 48 * HOUR
        send = self._mailbox.send(number, "anna", tenant=self.TENANT, user=user, sent_at=sent_at)
        self._mailbox.happen(send, self._mailbox.event(send, "open", 47 * HOUR))

    def _wish(self, user: str) -> tuple[bytes, bytes]:
        now = now_ms()
        wish = DailyDigest(_address(user), noon(), 0)
        preference = Preference(
            self.TENANT, user, at=now, daily_digest=wish, daily_digest_at=now - 20 * HOUR
        )
        return user_key(self.TENANT, user), PREFERENCE.encode(preference)

    async def _states(self) -> dict[str, list[str]]:
        """What was noted of each user's digest, in its order."""
        noted: dict[str, list[str]] = {}
        for record in await read_all(self._settings, "digests"):
            digest = DIGEST.decode(record.value or b"")
            noted.setdefault(digest.user, []).append(digest.state)
        return noted


def _address(user: str) -> str:
    return f"{user}@globex.example"
