"""`mailwake topics save` and `load`: a copy of what stands in Kafka alone, and back.

A copy is a folder with a file a topic, `<topic>.jsonl.gz`: a line a record, `{"key": …, "at": …,
"value": …, "headers": […]}`, bytes as base64, `at` in milliseconds since 1970, in the order of
their partitions; a tombstone has no value. It holds what the topics hold, names and addresses of
`displays` and `preferences` too, so its files are readable by their owner alone.

Records keep their times, so that what a topic lets go of by its age goes when it would have gone,
and come to the partitions of their keys: a copy may be loaded into topics with another number of
partitions.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import Struct

from mailwake.errors import ConfigError, UnavailableError
from mailwake.kafka import partitions_of_topic, start_consumer, start_producer, stop_client
from mailwake.settings import Settings
from mailwake.topics import Topic, registry

LONG_MS = 31 * 86_400_000
"""What a topic keeps for longer is no buffer: nobody else has it any more."""
_AT_ONCE = 2_000
_POLL_MS = 500


class Copied(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One record of a copy; `at` is its time in milliseconds."""

    key: bytes | None
    at: int
    value: bytes | None = None
    headers: list[tuple[str, bytes]] = []


def kept() -> list[str]:
    """The topics that are copied unless others are named: compacted ones, and those that keep for
    longer than a month."""
    return [topic.name for topic in registry().values() if _keeps(topic)]


def _keeps(topic: Topic) -> bool:
    retention = int(topic.config.get("retention.ms", 0))
    compact = "compact" in topic.config.get("cleanup.policy", "")
    return compact or retention == -1 or retention > LONG_MS


async def save_topics(settings: Settings, folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Copies topics (names without the prefix), up to where they end now, into a new folder.

    Gives how many records each has. The folder stands there whole or not at all. Raises ConfigError
    when something stands there already, and UnavailableError.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: something stands here already; name a folder that is to be")
    wanted = _known(names)
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700, parents=True)
        consumer = await start_consumer(
            settings, client_id="mailwake-topics", max_poll_records=_AT_ONCE
        )
        try:
            counts = {name: await _save(settings, consumer, name, part) for name in wanted}
        except KafkaError as error:
            raise _not_done(settings, error) from None
        finally:
            await stop_client(consumer)
        part.rename(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write the copy: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return counts


async def _save(settings: Settings, consumer: Any, name: str, folder: Path) -> int:
    places = await partitions_of_topic(settings, name)
    ends = await consumer.end_offsets(places)
    count = 0
    with _new(folder / _file(name)) as raw, gzip.open(raw, "wb", 6) as file:
        for place in places:
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            while await consumer.position(place) < ends[place]:
                found = (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, [])
                lines = [_line(record) for record in found if record.offset < ends[place]]
                count += len(lines)
                file.write(b"".join(lines))
    return count


def _new(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _line(record: Any) -> bytes:
    headers = [(name, bytes(value)) for name, value in record.headers]
    copied = Copied(record.key, record.timestamp, record.value, headers)
    return msgspec.json.encode(copied) + b"\n"


async def load_topics(settings: Settings, folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Writes a copy into topics, which must be empty; gives how many records each has got.

    What was begun and not finished is loaded into fresh topics anew. Raises UnavailableError and,
    before anything is written, ConfigError when a file is missing or damaged or a topic not empty.
    """
    wanted = _known(names)
    for name in wanted:
        for _ in _read(folder / _file(name)):
            pass
        await _require_empty(settings, name)
    producer = await start_producer(settings, client_id="mailwake-topics")
    try:
        return {
            name: await _load(producer, settings.topic(name), _read(folder / _file(name)))
            for name in wanted
        }
    except KafkaError as error:
        raise _not_done(settings, error) from None
    finally:
        await stop_client(producer)


async def _load(producer: AIOKafkaProducer, topic: str, records: Iterable[Copied]) -> int:
    count = 0
    acks: list[asyncio.Future[Any]] = []
    for each in records:
        acks.append(
            await producer.send(
                topic, each.value, key=each.key, timestamp_ms=each.at, headers=each.headers
            )
        )
        count += 1
        if len(acks) == _AT_ONCE:
            await asyncio.gather(*acks)
            acks.clear()
    await asyncio.gather(*acks)
    return count


async def _require_empty(settings: Settings, name: str) -> None:
    places = await partitions_of_topic(settings, name)
    consumer = await start_consumer(settings, client_id="mailwake-topics")
    try:
        starts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
    except KafkaError as error:
        raise _not_done(settings, error) from None
    finally:
        await stop_client(consumer)
    if starts != ends:
        raise ConfigError(
            f"the topic {settings.topic(name)} is not empty, and old records would come after new "
            "ones; load into topics that were just made, before any service runs"
        )


def _read(path: Path) -> Iterator[Copied]:
    """The records of a file. Raises ConfigError."""
    decode = msgspec.json.Decoder(Copied).decode
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                yield decode(line)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: the copy does not have this topic; name those that it has"
        ) from None
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: the copy is damaged ({error}); take another") from None


def _file(name: str) -> str:
    return f"{name}.jsonl.gz"


def _known(names: Iterable[str]) -> list[str]:
    wanted = list(names) or kept()
    if unknown := [name for name in wanted if name not in registry()]:
        raise ConfigError(
            f"there is no topic {', '.join(unknown)}; `mailwake topics list` lists them"
        )
    return wanted


def _not_done(settings: Settings, error: Exception) -> UnavailableError:
    told = str(error) or type(error).__name__
    return UnavailableError(
        f"Kafka at {settings.kafka_bootstrap} did not finish ({told}); begin anew"
    )
