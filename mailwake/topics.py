"""The topics: read from schemas/topics/*.yaml, created in Kafka by `mailwake topics apply`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mailwake.errors import ConfigError
from mailwake.schemas import schemas_root
from mailwake.settings import Settings

_REQUIRED = ("topic", "version", "purpose", "owner", "producer", "consumers", "key", "partitions")
_OPTIONAL = (
    "watchers",
    "schema",
    "value",
    "headers",
    "batched",
    "copartitioned",
    "tombstone",
    "config",
)


@dataclass(frozen=True)
class Topic:
    """One topic as its file describes it.

    Attributes:
        name: without the installation's prefix.
        writers, readers: the services that write it and read it. `mailwake.rights` gives them the
            right, and nobody else.
        watchers: those that ask no more of it than where it ends.
        schema: the contract (schemas/json/<schema>.schema.json), None where bytes pass as they are.
        batched: a record holds one object or an array of objects of its partition.
        copartitioned: has the same number of partitions as every other such topic.
        config: the settings of the topic in Kafka's own names.
    """

    name: str
    version: int
    purpose: str
    key: str
    partitions: int
    config: dict[str, str]
    schema: str | None
    batched: bool
    copartitioned: bool
    tombstone: bool
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    watchers: tuple[str, ...]


@cache
def registry() -> dict[str, Topic]:
    """All topics by name, in the order of their files. Raises ConfigError."""
    return read_topics(schemas_root() / "topics")


def wanted_partitions(topic: Topic, settings: Settings) -> int:
    """How many partitions a topic gets where it is made anew."""
    return settings.partitions or topic.partitions


def read_topics(folder: Path) -> dict[str, Topic]:
    """The topics that the YAML files of a folder describe.

    Raises ConfigError, naming file and field, when a file is not as it must be, and when the
    co-partitioned topics differ in their number of partitions.
    """
    topics = [_read(file) for file in sorted(folder.glob("*.yaml"))]
    if not topics:
        raise ConfigError(f"{folder}: no topic files (*.yaml) stand here")
    counts = {topic.partitions: topic.name for topic in topics if topic.copartitioned}
    if len(counts) > 1:
        told = ", ".join(f"{name} has {count}" for count, name in sorted(counts.items()))
        raise ConfigError(f"{folder}: co-partitioned topics must have equal partitions, but {told}")
    return {topic.name: topic for topic in topics}


def _read(file: Path) -> Topic:
    try:
        fields: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{file}: must be a mapping of {', '.join(_REQUIRED)}")
    missing = [name for name in _REQUIRED if name not in fields]
    unknown = [name for name in fields if name not in _REQUIRED + _OPTIONAL]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise ConfigError(f"{file}: {what}; a topic has {', '.join(_REQUIRED + _OPTIONAL)}")
    if fields["topic"] != file.stem:
        raise ConfigError(f"{file}: says topic {fields['topic']!r}; it must be {file.stem!r}")
    for name in ("version", "partitions"):
        if type(fields[name]) is not int or fields[name] < 1:
            raise ConfigError(f"{file}: {name} must be a whole number from 1")
    for name in ("producer", "consumers", "watchers"):
        services = fields.get(name, [])
        if not isinstance(services, list) or not all(isinstance(each, str) for each in services):
            raise ConfigError(f"{file}: {name} must be a list of services")
    config = fields.get("config", {})
    if not isinstance(config, dict):
        raise ConfigError(f"{file}: config must be a mapping of Kafka's topic settings")
    return Topic(
        name=fields["topic"],
        version=fields["version"],
        purpose=fields["purpose"],
        key=fields["key"],
        partitions=fields["partitions"],
        config={name: str(value) for name, value in config.items()},
        schema=fields.get("schema"),
        batched=bool(fields.get("batched", False)),
        copartitioned=bool(fields.get("copartitioned", False)),
        tombstone="tombstone" in fields,
        writers=tuple(fields["producer"]),
        readers=tuple(fields["consumers"]),
        watchers=tuple(fields.get("watchers", ())),
    )
