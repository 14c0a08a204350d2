"""`mailwake topics render --strimzi`: the topics as resources for a Kafka that Strimzi runs.

For clusters where topics are not made by clients: Strimzi's topic operator makes them from these,
just as `mailwake topics apply` would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mailwake.errors import ConfigError
from mailwake.settings import Settings
from mailwake.topics import Topic, registry, wanted_partitions

API_VERSION = "kafka.strimzi.io/v1"
"""The one that Strimzi 1.0 knows, and 0.49 is the first to."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
CLUSTER_LABEL = "strimzi.io/cluster"


def kafka_topics(
    settings: Settings, cluster: str, topics: Mapping[str, Topic] | None = None
) -> list[dict[str, Any]]:
    """A KafkaTopic for each topic; `cluster` is the name of the Kafka resource they belong to.

    `topics` are those of the registry, unless others are given. Raises ConfigError for a name that
    Kubernetes does not take.
    """
    found = [
        _kafka_topic(topic, settings, cluster)
        for topic in (registry() if topics is None else topics).values()
    ]
    check_names(cluster, [each["metadata"]["name"] for each in found], "MAILWAKE_TOPIC_PREFIX")
    return found


def check_names(cluster: str, names: Sequence[str], prefix: str) -> None:
    """Raises ConfigError for a name that Kubernetes does not take, or that stands there twice;
    `prefix` is what they begin with, in words."""
    for name in (cluster, *names):
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise ConfigError(
                f"{name!r} cannot be the name of one resource in Kubernetes; put right the "
                f"cluster's name or {prefix} (lower-case letters, digits, dashes, dots)"
            )


def render_strimzi(settings: Settings, cluster: str) -> str:
    """The YAML of `kafka_topics`, with a line on top that says what wrote it."""
    head = f"# Written by `mailwake topics render --strimzi {cluster}`.\n"
    return head + "---\n".join(
        yaml.safe_dump(each, sort_keys=False) for each in kafka_topics(settings, cluster)
    )


def _kafka_topic(topic: Topic, settings: Settings, cluster: str) -> dict[str, Any]:
    name = settings.topic(topic.name)
    spec: dict[str, Any] = {"topicName": name, "partitions": wanted_partitions(topic, settings)}
    if settings.replication != -1:  # otherwise the broker's default, as when we create them
        spec["replicas"] = settings.replication
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaTopic",
        # What Kubernetes calls it: an underscore may not stand there.
        "metadata": {"name": name.replace("_", "-"), "labels": {CLUSTER_LABEL: cluster}},
        "spec": spec | {"config": dict(topic.config)},
    }
