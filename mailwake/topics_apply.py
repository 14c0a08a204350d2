"""`mailwake topics`: the topics as their files describe them, made so in Kafka.

What is missing is created, a config that differs is put right, partitions are added where that is
safe. Nothing is ever deleted or made smaller; a second run finds nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from mailwake.errors import ConfigError, UnavailableError
from mailwake.kafka import start_admin
from mailwake.settings import Settings, read_settings
from mailwake.topics import Topic, registry, wanted_partitions
from mailwake.topics_copy import load_topics, save_topics
from mailwake.topics_render import render_strimzi

VISIBLE_WITHIN_S = 30
"""How long a created topic may take until every partition has its leader."""

_DYNAMIC_TOPIC_CONFIG = 1  # config_source in DescribeConfigs: set on this very topic (KIP-226)

_USAGE = """\
usage: mailwake topics apply|list|render --strimzi CLUSTER|save FOLDER|load FOLDER

  apply   create missing topics in Kafka, put configs right, print what changed
  list    print the topics with their partitions, purposes and keys
  render  print them as KafkaTopic resources for a Kafka that Strimzi runs
  save    copy what stands in Kafka alone into a folder; topics may be named behind it
  load    write such a copy into topics that are empty; topics may be named behind it"""


def topics_command(argv: list[str]) -> int:
    """`mailwake topics apply`, `list`, `render`, `save` and `load`. Raises MailwakeError."""
    if argv in (["--help"], ["-h"]):
        print(_USAGE)
    elif argv == ["apply"]:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is in our errors
        done = asyncio.run(apply_topics(read_settings()))
        print("\n".join(done) if done else "nothing to do: all topics are as their files say")
    elif argv == ["list"]:
        settings = read_settings()
        for topic in registry().values():
            partitions = wanted_partitions(topic, settings)
            print(
                f"{settings.topic(topic.name):20} {partitions:4}  {topic.key:24}  {topic.purpose}"
            )
    elif argv[:2] == ["render", "--strimzi"] and len(argv) == 3:
        print(render_strimzi(read_settings(), argv[2]), end="")
    elif argv[:1] in (["save"], ["load"]) and len(argv) > 1 and not argv[1].startswith("-"):
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        copy = save_topics if argv[0] == "save" else load_topics
        for name, count in asyncio.run(copy(read_settings(), Path(argv[1]), argv[2:])).items():
            print(f"{name:20} {count:>12,} records")
    else:
        said = " ".join(argv) or "nothing"
        raise ConfigError(
            "mailwake topics takes apply, list, render --strimzi CLUSTER, save FOLDER or load "
            f"FOLDER, but was given {said}"
        )
    return 0


async def apply_topics(settings: Settings, topics: Mapping[str, Topic] | None = None) -> list[str]:
    """Makes Kafka's topics what their files say; gives a line for each change.

    A topic that would need more partitions but must not get them keeps those it has and has its
    line in every run. `topics` are those of the registry, unless others are given.

    Raises UnavailableError when Kafka does not answer or does not finish, and ConfigError when it
    refuses or when the co-partitioned topics that it has differ in their partitions.
    """
    wanted = (registry() if topics is None else topics).values()
    admin = await start_admin(settings)
    try:
        present = await _partitions(admin)
        together = _common_partitions(wanted, settings, present)
        done = await _create(admin, wanted, settings, present, together)
        done += await _grow(admin, wanted, settings, present)
        done += await _configure(admin, wanted, settings, present)
        return done
    except (KafkaError, TimeoutError) as error:
        raise UnavailableError(
            f"Kafka at {settings.kafka_bootstrap} did not finish ({_told(error)}); "
            "run `mailwake topics apply` again"
        ) from None
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """The topics that Kafka has, with their numbers of partitions."""
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


def _common_partitions(
    topics: Iterable[Topic], settings: Settings, present: Mapping[str, int]
) -> int | None:
    """The number of partitions that the co-partitioned topics have; None when Kafka has none."""
    counts = {
        settings.topic(topic.name): present[settings.topic(topic.name)]
        for topic in topics
        if topic.copartitioned and settings.topic(topic.name) in present
    }
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ConfigError(
            f"Topics whose partitions must be equal differ in Kafka: {told}; stop the services, "
            "delete those that differ and are empty, and run `mailwake topics apply` again"
        )
    return next(iter(counts.values()), None)


async def _create(
    admin: AIOKafkaAdminClient,
    topics: Iterable[Topic],
    settings: Settings,
    present: Mapping[str, int],
    together: int | None,
) -> list[str]:
    new = [
        NewTopic(
            settings.topic(topic.name),
            (topic.copartitioned and together) or wanted_partitions(topic, settings),
            settings.replication,
            replica_assignments={} if settings.replication == -1 else None,
            topic_configs=topic.config,
        )
        for topic in topics
        if settings.topic(topic.name) not in present
    ]
    if not new:
        return []
    answer = await admin.create_topics(new)
    for name, code, message in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):  # another run was quicker
            raise _refused("create topic", name, code, message)
    await _until(lambda: _led(admin, {topic.name: topic.num_partitions for topic in new}))
    return [f"created {topic.name} with {_count(topic.num_partitions)}" for topic in new]


async def _led(admin: AIOKafkaAdminClient, counts: Mapping[str, int]) -> bool:
    """Whether topics have so many partitions, each with a leader, so that they can be written."""
    led = {
        topic["topic"]: sum(partition["leader"] >= 0 for partition in topic["partitions"])
        for topic in await admin.describe_topics()
    }
    return counts.items() <= led.items()


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Waits until a change is seen: Kafka answers before all its brokers know of it."""
    async with asyncio.timeout(VISIBLE_WITHIN_S):
        while True:
            if await reached():
                return
            await asyncio.sleep(0.1)


async def _grow(
    admin: AIOKafkaAdminClient,
    topics: Iterable[Topic],
    settings: Settings,
    present: Mapping[str, int],
) -> list[str]:
    told = []
    grown: dict[str, int] = {}
    kept: dict[str, list[str]] = {}
    for topic in topics:
        name = settings.topic(topic.name)
        has, wants = present.get(name, 0), wanted_partitions(topic, settings)
        if not 0 < has < wants:
            continue
        why = _must_not_grow(topic)
        if why:
            kept.setdefault(f"{_count(has)}, though {wants} are wanted: {why}", []).append(name)
        else:
            grown[name] = wants
            told.append(f"grew {name} from {has} to {_count(wants)}")
    if grown:
        await admin.create_partitions({name: NewPartitions(to) for name, to in grown.items()})
        await _until(lambda: _led(admin, grown))
    return told + [f"kept {', '.join(names)} at {what}" for what, names in kept.items()]


def _must_not_grow(topic: Topic) -> str | None:
    """Why more partitions would do harm, and what to do instead."""
    if topic.copartitioned:
        return (
            "messages would move to other partitions, away from their tracks; for more, let the "
            "services finish and start anew under another MAILWAKE_TOPIC_PREFIX"
        )
    if "compact" in topic.config.get("cleanup.policy", ""):
        return (
            "old and new values of a key would stand in two partitions and both survive; for more, "
            "copy it to another MAILWAKE_TOPIC_PREFIX"
        )
    return None


async def _configure(
    admin: AIOKafkaAdminClient,
    topics: Iterable[Topic],
    settings: Settings,
    present: Mapping[str, int],
) -> list[str]:
    wanted = {
        settings.topic(topic.name): topic.config
        for topic in topics
        if settings.topic(topic.name) in present
    }
    if not wanted:
        return []
    told: list[str] = []
    changed: dict[str, dict[str, str]] = {}
    for name, entries in (await _configs(admin, wanted)).items():
        drift = _drift(entries, wanted[name])
        values = _values(entries)
        told += [f"set {key} of {name} from {values.get(key)} to {to}" for key, to in drift.items()]
        if drift:
            # AlterConfigs replaces all that is set on the topic: what others set is kept.
            ours = [entry for entry in entries if entry[3] == _DYNAMIC_TOPIC_CONFIG]
            changed[name] = _values(ours) | drift
    if changed:
        resources = [ConfigResource(ConfigResourceType.TOPIC, *each) for each in changed.items()]
        for answer in await admin.alter_configs(resources):
            for code, message, _, name in answer.resources:
                if code:
                    raise _refused("set the config of topic", name, code, message)
        await _until(lambda: _configured(admin, changed))
    return told


async def _configured(admin: AIOKafkaAdminClient, wanted: Mapping[str, dict[str, str]]) -> bool:
    found = await _configs(admin, wanted)
    return not any(_drift(entries, wanted[name]) for name, entries in found.items())


def _values(entries: list[Any]) -> dict[str, str]:
    return {entry[0]: entry[1] for entry in entries}


def _drift(entries: list[Any], wanted: Mapping[str, str]) -> dict[str, str]:
    values = _values(entries)
    return {key: to for key, to in wanted.items() if values.get(key) != to}


async def _configs(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, list[Any]]:
    """What is set on each topic: entries of (name, value, read_only, source, …)."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, list[Any]] = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _, name, entries in answer.resources:
            if code:
                raise _refused("read the config of topic", name, code, message)
            found[name] = entries
    return found


def _refused(what: str, name: str, code: int, message: str | None) -> ConfigError:
    error: type[Exception] = for_code(code)
    reason = message or error.__name__
    return ConfigError(
        f"Kafka refuses to {what} {name}: {reason.rstrip('.')}; put right MAILWAKE_PARTITIONS, "
        f"MAILWAKE_REPLICATION, schemas/topics or the rights of this client"
    )


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _count(partitions: int) -> str:
    return f"{partitions} partition" + "s" * (partitions != 1)
