"""Who may do what in Kafka: least privilege, from what schemas/ says of topics and groups.

A service is a user of its own. It may write and read the topics whose files name it, ask where
those end that it watches, and be a member of its group; nothing else. No right for idempotent
producers is given apart: since Kafka 2.8 whoever may write a topic has it (KIP-679), and nobody
uses transactions. `mailwake acls render` prints the rights as commands for Kafka, or as KafkaUser
resources for Strimzi.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from mailwake.errors import ConfigError
from mailwake.schemas import schemas_root
from mailwake.settings import Settings, read_settings
from mailwake.topics import Topic, registry
from mailwake.topics_render import API_VERSION, CLUSTER_LABEL, check_names

SETUP = "setup"
"""The user of `mailwake topics apply`."""

APPLY = ("Alter", "AlterConfigs", "Create", "Describe", "DescribeConfigs")
"""What `mailwake topics apply` does to topics."""

USER_PREFIX = "mailwake-"


@dataclass(frozen=True)
class Group:
    """A consumer group: the service that its members are, and those who ask how far it is."""

    name: str
    member: str
    watchers: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Right:
    """What one user may do with one topic or group.

    Attributes:
        kind: topic or group.
        name: in Kafka, with the installation's prefix.
        operations: in Kafka's words, sorted. Read and Write bring Describe with them.
    """

    kind: str
    name: str
    operations: tuple[str, ...]


@cache
def groups() -> dict[str, Group]:
    """All groups by name (without the prefix), from schemas/groups.yaml."""
    described = yaml.safe_load((schemas_root() / "groups.yaml").read_text("utf-8"))
    return {
        name: Group(name, fields["member"], tuple(fields.get("watchers", ())))
        for name, fields in described.items()
    }


def rights(settings: Settings, topics: Mapping[str, Topic] | None = None) -> dict[str, list[Right]]:
    """The rights of each user (without a prefix), sorted.

    `topics` are those of the registry, unless others are given. "sending platforms" and "operators"
    are users too; the groups that they read alerts in are theirs, and stand in no file of ours.
    """
    found: dict[str, list[Right]] = {}
    for topic in (registry() if topics is None else topics).values():
        name = settings.topic(topic.name)
        for service in {*topic.writers, *topic.readers, *topic.watchers}:
            operations = ["Read"] * (service in topic.readers)
            operations += ["Write"] * (service in topic.writers)
            right = Right("topic", name, tuple(operations or ["Describe"]))
            found.setdefault(user(service), []).append(right)
        found.setdefault(SETUP, []).append(Right("topic", name, APPLY))
    for group in groups().values():
        for service in {group.member, *group.watchers}:
            operation = "Read" if service == group.member else "Describe"
            right = Right("group", settings.topic(group.name), (operation,))
            found.setdefault(user(service), []).append(right)
    return {name: sorted(each) for name, each in sorted(found.items())}


def user(service: str) -> str:
    """A service as a user: as its command is called, with dashes for spaces."""
    return service.replace(" ", "-")


def render_commands(settings: Settings, prefix: str = USER_PREFIX) -> str:
    """Commands of Kafka's own tool that give each user its rights, a line each."""
    lines = [
        "# Written by `mailwake acls render`. ADMIN is a file with an admin's client settings."
    ]
    for name, given in rights(settings).items():
        grouped = itertools.groupby(
            sorted(given, key=lambda right: (right.kind, right.operations)),
            key=lambda right: (right.kind, right.operations),
        )
        for (kind, operations), some in grouped:
            words = [
                *("kafka-acls.sh", "--bootstrap-server", settings.kafka_bootstrap),
                *(
                    "--command-config",
                    "ADMIN",
                    "--add",
                    "--allow-principal",
                    f"User:{prefix}{name}",
                ),
                *(word for each in operations for word in ("--operation", each)),
                *(word for right in some for word in (f"--{kind}", right.name)),
            ]
            lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def kafka_users(
    settings: Settings, cluster: str, prefix: str = USER_PREFIX
) -> list[dict[str, Any]]:
    """A KafkaUser of Strimzi for each user, with a SCRAM-SHA-512 password that Strimzi makes.

    Raises ConfigError for a name that Kubernetes does not take.
    """
    given = rights(settings)
    check_names(cluster, [prefix + name for name in given], "the user's prefix")
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "KafkaUser",
            "metadata": {"name": prefix + name, "labels": {CLUSTER_LABEL: cluster}},
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {"type": "simple", "acls": list(map(_acl, some))},
            },
        }
        for name, some in given.items()
    ]


def _acl(right: Right) -> dict[str, Any]:
    return {
        "resource": {"type": right.kind, "name": right.name, "patternType": "literal"},
        "operations": list(right.operations),
    }


def render_strimzi(settings: Settings, cluster: str, prefix: str = USER_PREFIX) -> str:
    """The YAML of `kafka_users`, with a line on top that says what wrote it."""
    head = f"# Written by `mailwake acls render --strimzi {cluster}`.\n"
    return head + "---\n".join(_dump(kafka_users(settings, cluster, prefix)))


def _dump(resources: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    return (yaml.safe_dump(dict(each), sort_keys=False) for each in resources)


def acls_command(argv: list[str]) -> int:
    """`mailwake acls render`; gives the exit status. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake acls",
        description="What each service may do in Kafka, and nothing else (docs/security.md).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="print it as commands of kafka-acls.sh")
    render.add_argument(
        "--strimzi", metavar="CLUSTER", help="as KafkaUser resources for a Kafka that Strimzi runs"
    )
    render.add_argument(
        "--prefix", default=USER_PREFIX, help="of the users' names (default: %(default)s)"
    )
    given = parser.parse_args(argv)
    if not given.prefix.isprintable() or " " in given.prefix:
        raise ConfigError(f"--prefix {given.prefix!r} must have no blanks")
    settings = read_settings()
    if given.strimzi:
        print(render_strimzi(settings, given.strimzi, given.prefix), end="")
    else:
        print(render_commands(settings, given.prefix), end="")
    return 0
