"""Least privilege in Kafka: whoever uses a topic or a group in the code has the right to, and the
rights are what the files say."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from mailwake.cli import COMMANDS
from mailwake.errors import ConfigError
from mailwake.rights import (
    SETUP,
    Right,
    acls_command,
    groups,
    kafka_users,
    render_commands,
    rights,
    user,
)
from mailwake.settings import read_settings
from mailwake.topics import registry
from mailwake_enricher.loader_sources import SOURCES
from mailwake_enricher.worker import READS
from tests.unit.packages import PACKAGES

ENTRIES = {
    command.name: command.does.partition(":")[0]
    for command in COMMANDS
    if command.does.partition(".")[0] not in ("mailwake", "mailwake_local")
    and command.name not in ("token", "api-keys", "signin", "users")
}
"""The services and the commands that use Kafka, and the module where each begins."""

READING = {"Follower", "start_consumer", "subscribe"}
USING = READING | {
    *("require_topics", "partitions_of_topic", "write", "_write", "ends", "topic", "Output"),
    *("first_record", "_reject", "wait", "require_group"),
}
"""What is called with the name of a topic or group, in code that knows Kafka."""

BY_NAME = {"loader": {source.name for source in SOURCES}, "enricher": {*READS}}
"""What a service reads by a list of its own."""

NOT_USED = {
    ("replay", "sends"): "it makes batches as the library's `publish` does",
    ("replay", "displays"): "likewise",
    ("relay", "consent_proofs"): "the register can write statements; a relay takes none",
    ("webhooks", "consent_proofs"): "the register can write statements; webhooks has no producer",
}


NOT_RUN = {
    "replay": {
        "mailwake_enricher.reclassify",  # it reads a time as that does
        "mailwake_enricher.rewind",  # `replay loader` runs as the loader's user
    },
    "digest": {"mailwake_api.call"},  # the digest's mail names a link that the API answers
}
"""What a service imports for a word or two; its calls of Kafka are never made there."""


def files_of(service: str) -> set[Path]:
    """The files of a service: of its module and of all of ours that it imports."""
    found: set[Path] = {file for each in NOT_RUN.get(service, ()) if (file := _file(each))}
    not_run = frozenset(found)
    todo = [ENTRIES[service]]
    while todo:
        file = _file(todo.pop())
        if file is None or file in found:
            continue
        found.add(file)
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.ImportFrom) and node.module:
                todo += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            elif isinstance(node, ast.Import):
                todo += [each.name for each in node.names]
    return found - not_run


def _file(module: str) -> Path | None:
    package, _, rest = module.partition(".")
    if package not in PACKAGES:
        return None
    path = PACKAGES[package].joinpath(*rest.split(".")) if rest else PACKAGES[package]
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


@cache
def uses(file: Path) -> frozenset[tuple[str, str]]:
    """(call, name) for every topic and group that a file's calls name."""
    names = {*registry(), *groups()}
    module: ModuleType | None = None
    found = set()
    for node in ast.walk(_tree(file)):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called not in USING:
            continue
        for argument in [*node.args, *(each.value for each in node.keywords)]:
            if _plain(argument):
                module = module or importlib.import_module(_module(file))
                values = _evaluated(argument, module)
                found |= {(called, value) for value in values if value in names}
    return frozenset(found)


def _module(file: Path) -> str:
    package = next(name for name, folder in PACKAGES.items() if folder in (file, *file.parents))
    inner = file.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join((package, *(part for part in inner if part != "__init__")))


def _plain(node: ast.expr) -> bool:
    """Whether an argument is made of constants: of this module, of its imports, or written out."""
    return all(
        isinstance(each, (ast.Constant, ast.Name, ast.Starred, ast.Tuple, ast.List, ast.Load))
        or (isinstance(each, ast.Call) and getattr(each.func, "id", "") in ("lane_topic", "map"))
        for each in ast.walk(node)
    )


def _evaluated(node: ast.expr, module: ModuleType) -> Iterator[str]:
    inner = node.value if isinstance(node, ast.Starred) else node
    try:
        value = eval(ast.unparse(inner), vars(module))  # noqa: S307 - our own source
    except NameError:  # a variable of the function
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list, map)):
        yield from (each for each in value if isinstance(each, str))


def used_by(service: str) -> dict[str, set[str]]:
    """Topic or group -> the calls that name it, in all that a service imports."""
    found: dict[str, set[str]] = {}
    for file in files_of(service):
        for called, name in uses(file):
            found.setdefault(name, set()).add(called)
    return found


def granted(service: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for right in rights(read_settings({}))[user(service)]:
        found.setdefault(right.name, set()).update(right.operations)
    return found


@pytest.mark.parametrize("service", ENTRIES)
def test_what_a_service_uses_is_granted(service: str) -> None:
    has = granted(service)
    left = {(service, name) for name in used_by(service) if name not in has}
    assert left == {each for each in NOT_USED if each[0] == service}


@pytest.mark.parametrize("service", ENTRIES)
def test_what_a_service_reads_it_may_read(service: str) -> None:
    has = granted(service)
    by_name: dict[str, set[str]] = {name: set() for name in BY_NAME.get(service, ())}
    for name, called in (by_name | used_by(service)).items():
        if (called & READING or name in BY_NAME.get(service, ())) and (
            service,
            name,
        ) not in NOT_USED:
            assert "Read" in has[name], f"{service} reads {name}"


@pytest.mark.parametrize("service", ENTRIES)
def test_nothing_is_granted_that_a_service_does_not_name(service: str) -> None:
    """But for what is named by parts: `<topic>.rejected`, the lanes and the loader's sources."""
    made = {f"{topic}.rejected" for topic in registry()}
    made |= {topic for topic in registry() if topic.startswith("webhooks.retry.")}
    made |= BY_NAME.get(service, set())
    extra = {*granted(service)} - {*used_by(service)} - made
    assert extra - {service} == set()  # its group bears its name


def test_the_users_are_the_services() -> None:
    others = {"sending-platforms", "operators", "lag", SETUP}
    assert {*rights(read_settings({}))} - others == {*ENTRIES}


def test_nobody_may_what_he_need_not() -> None:
    given = rights(read_settings({}))
    assert {each.operations for name, some in given.items() if name != SETUP for each in some} <= {
        ("Read",),
        ("Write",),
        ("Read", "Write"),
        ("Describe",),
    }
    writers = {
        name
        for name, some in given.items()
        for each in some
        if each.name == "tracks" and "Write" in each.operations
    }
    assert writers == {"enricher"}


def test_who_scales_the_enricher_asks_and_no_more() -> None:
    assert rights(read_settings({}))["lag"] == [
        Right("group", "enricher", ("Describe",)),
        Right("topic", "hits", ("Describe",)),
        Right("topic", "sends", ("Describe",)),
    ]


def test_prefixes_stand_in_the_names() -> None:
    settings = read_settings({"MAILWAKE_TOPIC_PREFIX": "t1."})
    assert all(each.name.startswith("t1.") for some in rights(settings).values() for each in some)
    printed = render_commands(settings, "acme-")
    assert "--allow-principal User:acme-edge --operation Write --topic t1.hits\n" in printed


def test_strimzi_gets_the_same_rights() -> None:
    settings = read_settings({})
    users = kafka_users(settings, "mailwake")
    for each in users:
        acls = each["spec"]["authorization"]["acls"]
        told = {
            (acl["resource"]["type"], acl["resource"]["name"], tuple(acl["operations"]))
            for acl in acls
        }
        service = each["metadata"]["name"].removeprefix("mailwake-")
        given = rights(settings)[service]
        assert told == {(right.kind, right.name, right.operations) for right in given}
    assert len(users) == len(rights(settings))


def test_the_command_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert acls_command(["render"]) == 0
    assert "kafka-acls.sh --bootstrap-server" in capsys.readouterr().out
    assert acls_command(["render", "--strimzi", "mailwake"]) == 0
    kinds = {each["kind"] for each in yaml.safe_load_all(capsys.readouterr().out)}
    assert kinds == {"KafkaUser"}


def test_a_prefix_that_kubernetes_does_not_take_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot be the name of one resource"):
        acls_command(["render", "--strimzi", "mailwake", "--prefix", "Acme_"])
