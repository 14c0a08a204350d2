"""`mailwake reclassify`: judges what was judged before anew, by another rule set.

With --dry-run it reads ClickHouse and prints what would change. Otherwise it hands each mail that
changes to the enricher, by the topic `reclassified`: the enricher is the only writer of events and
tracks, so events, counts, and hits that come meanwhile agree (docs/decisions/0012-reclassify.md).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from mailwake.clickhouse import ClickHouse, secured_url
from mailwake.contracts import Event
from mailwake.errors import ConfigError
from mailwake.ids import partitioner
from mailwake.kafka import start_producer, stop_client
from mailwake.keeping_up import Ends, KeepingUp
from mailwake.settings import Settings, read_settings
from mailwake.topics import registry
from mailwake.track import RECLASSIFIED, Reclassified
from mailwake_enricher.archive import Archive, Choice, Outline, chunks
from mailwake_enricher.confusion import Comparison
from mailwake_enricher.decide import Rules
from mailwake_enricher.progress import Progress, spoken
from mailwake_enricher.rejudge import Judged, Mail, rejudge
from mailwake_enricher.rules import read_rules

RECORD_BYTES = 512 * 1024
"""How large a record of a mail may be; one with more changed events comes in several."""

TIME = (
    "TIME is a date or a time, as in 2026-09-01 or 2026-09-01T08:30; UTC unless it says otherwise."
)

TRIES = 4
"""How often a mail is judged whose track changes meanwhile."""


def main(argv: list[str]) -> int:
    """Runs the command; gives the exit status: 1 when some mails changed while they were judged."""
    parser = argparse.ArgumentParser(
        prog="mailwake reclassify",
        description="Judges opens and clicks anew by a rule set, and tells what changes.",
        epilog=f"{TIME} A mail with an event in the time is judged as a whole.",
    )
    parser.add_argument("--rules", metavar="FILE", type=Path, required=True)
    parser.add_argument("--since", metavar="TIME", help="mails with an event at or after it")
    parser.add_argument("--until", metavar="TIME", help="mails with an event before it")
    parser.add_argument("--tenant", metavar="T", help="mails of this tenant alone")
    parser.add_argument("--dry-run", action="store_true", help="print what would change, no more")
    arguments = parser.parse_args(argv)
    settings = read_settings()
    rules = Rules(
        repeat_window_ms=settings.repeat_window_s * 1000,
        return_ms=settings.return_s * 1000,
        join_wait_ms=settings.join_wait_s * 1000,
        keep_ms=int(registry()["tracks"].config["retention.ms"]),
        meaning=read_rules(arguments.rules),
    )
    choice = Choice(
        arguments.tenant,
        millis_of(arguments.since, "--since"),
        millis_of(arguments.until, "--until"),
    )
    run = Reclassify(settings, rules, choice, dry_run=arguments.dry_run)
    began = time.monotonic()
    try:
        asyncio.run(run.run())
    finally:
        run.close()
    seconds = time.monotonic() - began
    compared = run.comparison
    print(
        f"rule set {rules.meaning.version}: {compared.hits:,} hits of {compared.mails:,} mails "
        f"judged anew in {spoken(seconds)}, {compared.hits / max(seconds, 1e-6):,.0f} hits/s\n"
    )
    print("\n".join(compared.lines()))
    if arguments.dry_run:
        print("\nnothing was written (--dry-run)")
    elif run.moving:
        print(f"\n{run.moving:,} mails changed while they were judged; run this again for them")
        return 1
    return 0


def millis_of(given: str | None, name: str) -> int | None:
    """A time in milliseconds since the epoch. Raises ConfigError."""
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise ConfigError(
            f"{name} {given!r} is no time; write it as 2026-09-01 or 2026-09-01T08:30"
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


class Reclassify:
    """One run.

    Attributes:
        comparison: what changes; complete after `run`.
        moving: mails that changed each time they were judged, and are not as they should be.
    """

    def __init__(self, settings: Settings, rules: Rules, choice: Choice, *, dry_run: bool) -> None:
        self.comparison = Comparison()
        self.moving = 0
        self._settings = settings
        self._rules = rules
        self._dry_run = dry_run
        self._clickhouse = ClickHouse(secured_url(settings))
        self._archive = Archive(self._clickhouse, choice)

    def close(self) -> None:
        """Closes the connection to ClickHouse."""
        self._clickhouse.close()

    async def run(self) -> None:
        """Judges all mails that were chosen. Raises MailwakeError."""
        total = await asyncio.to_thread(self._archive.count)
        progress = Progress(total, "mails", "hits")
        try:
            async with AsyncExitStack() as stack:
                writer: _Writer | None = None
                if not self._dry_run:
                    producer = await start_producer(self._settings, client_id="mailwake-reclassify")
                    stack.push_async_callback(stop_client, producer)
                    keeping_up = await stack.enter_async_context(
                        KeepingUp(self._settings, progress.say)
                    )
                    writer = await _Writer.made(self._settings, producer, keeping_up)
                stretches = self._archive.stretches()
                while stretch := await asyncio.to_thread(next, stretches, None):
                    await self._take(stretch, progress, writer)
        finally:
            progress.clear()

    async def _take(
        self, stretch: list[Outline], progress: Progress, writer: _Writer | None
    ) -> None:
        """Judges a stretch and has it written, again and again until it is as it must be."""
        rest = stretch
        for number in range(TRIES):
            if writer:
                # The tracks were read before: their hits and events stand in ClickHouse after.
                await writer.loaded()
            sent: list[Outline] = []
            for chunk in chunks(rest):
                mails = await asyncio.to_thread(self._archive.read, chunk)
                ends = await writer.hits() if writer else {}
                judged = await asyncio.to_thread(self._judge, mails)
                if not number:
                    for mail, each in zip(mails, judged, strict=True):
                        self.comparison.add(each, len(mail.hits), len(mail.events))
                    progress.add(len(chunk), sum(len(mail.hits) for mail in mails))
                if writer:
                    changed = {
                        mail.send.message_id: _reclassified(mail, each, self._rules)
                        for mail, each in zip(mails, judged, strict=True)
                        if each.differs
                    }
                    await writer.write(changed, ends)
                    sent += [outline for outline in chunk if outline.message_id in changed]
            if not writer or not sent:
                return
            await writer.written()
            rest = await asyncio.to_thread(self._archive.again, sent)
        self.moving += len(sent)

    def _judge(self, mails: Sequence[Mail]) -> list[Judged]:
        return [rejudge(mail, self._rules) for mail in mails]


class _Writer:
    """Hands mails to the enricher, and waits for what must be known before and after."""

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        keeping_up: KeepingUp,
        partitions: int,
    ) -> None:
        self._topic = settings.topic("reclassified")
        self._producer = producer
        self._keeping_up = keeping_up
        self._partition_of = partitioner(partitions)

    @classmethod
    async def made(
        cls, settings: Settings, producer: AIOKafkaProducer, keeping_up: KeepingUp
    ) -> _Writer:
        """A writer. Raises UnavailableError when Kafka has no topic `reclassified`."""
        await keeping_up.ends("reclassified")
        partitions = await producer.partitions_for(settings.topic("reclassified"))
        return cls(settings, producer, keeping_up, len(partitions))

    async def loaded(self) -> None:
        """Returns when ClickHouse has all hits and events that stand in Kafka now."""
        await self._keeping_up.wait(
            "loader", await self._keeping_up.ends("sends", "hits", "events")
        )

    async def hits(self) -> Ends:
        """Where the hits end now: those that were read stand before it."""
        return await self._keeping_up.ends("sends", "hits")

    async def write(self, mails: dict[str, Reclassified], ends: Ends) -> None:
        """Has mails written, once the enricher has taken the hits up to `ends`.

        A hit that was judged here and comes to the enricher after would count twice; when it has
        come before, the track is another one, and the mail is passed over.
        """
        if not mails:
            return
        await self._keeping_up.wait("enricher", ends)
        acks = []
        for message_id, mail in mails.items():
            key = message_id.encode()
            for part in parts(mail):
                acks.append(
                    await self._producer.send(
                        self._topic, part, key=key, partition=self._partition_of(key)
                    )
                )
        await asyncio.gather(*acks)

    async def written(self) -> None:
        """Returns when what was written here stands in ClickHouse."""
        await self._keeping_up.wait("enricher", await self._keeping_up.ends("reclassified"))
        await self._keeping_up.wait("loader", await self._keeping_up.ends("events", "tracks"))


def _reclassified(mail: Mail, judged: Judged, rules: Rules) -> Reclassified:
    return Reclassified(
        message_id=mail.send.message_id,
        tenant=mail.send.tenant,
        revision=mail.revision,
        rules_version=rules.meaning.version,
        events=judged.changed,
        track=judged.track,
    )


def parts(mail: Reclassified, most: int = RECORD_BYTES) -> Iterator[bytes]:
    """The records of a mail; all but the last have no track."""
    whole = RECLASSIFIED.encode(mail)
    if len(whole) <= most or not mail.events:
        yield whole
        return
    for events in _halves(mail, mail.events, most):
        yield RECLASSIFIED.encode(replace(mail, events=events, track=None))
    yield RECLASSIFIED.encode(replace(mail, events=[]))


def _halves(mail: Reclassified, events: list[Event], most: int) -> Iterator[list[Event]]:
    size = len(RECLASSIFIED.encode(replace(mail, events=events, track=None)))
    if size <= most or len(events) == 1:
        yield events
        return
    half = len(events) // 2
    yield from _halves(mail, events[:half], most)
    yield from _halves(mail, events[half:], most)
