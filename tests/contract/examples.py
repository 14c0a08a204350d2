"""The folders of schemas/, as the contract tests read them; schemas/README.md says how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from mailwake import contracts, track, webhook
from mailwake.codec import Codec, RejectReason
from mailwake.schemas import schemas_root

CODECS: dict[str, Codec[Any]] = {
    "send": contracts.SEND,
    "display": contracts.DISPLAY,
    "hit": contracts.HIT,
    "event": contracts.EVENT,
    "alert": contracts.ALERT,
    "alert_reads": contracts.ALERT_READS,
    "track": track.TRACK,
    "preference": contracts.PREFERENCE,
    "mute": contracts.MUTE,
    "digest": contracts.DIGEST,
    "policy": contracts.POLICY,
    "consent": contracts.CONSENT,
    "reclassified": track.RECLASSIFIED,
    "erasure": contracts.ERASURE,
    "removal": contracts.REMOVAL,
    "webhook": webhook.WEBHOOK,
    "delivery": webhook.DELIVERY,
}
REASONS: tuple[str, ...] = get_args(RejectReason)


@dataclass(frozen=True)
class Example:
    """One file of schemas/examples: the value of one record.

    Attributes:
        reason: why it is refused; None for a good one.
    """

    topic: str
    name: str
    data: bytes
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.topic}/{self.name}"


def examples(root: Path | None = None) -> list[Example]:
    """All examples, good and invalid."""
    folder = (root or schemas_root()) / "examples"
    return [
        Example(
            str(file.relative_to(folder).parts[0]),
            file.stem,
            file.read_bytes(),
            (file.stem.rpartition(".")[2] or "?") if file.parent.name == "invalid" else None,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]


GOOD = [example for example in examples() if example.reason is None]
INVALID = [example for example in examples() if example.reason is not None]


def of(topic: str, chosen: list[Example] = GOOD) -> list[Example]:
    """The examples of a topic, the good ones unless others are given."""
    return [each for each in chosen if each.topic == topic]


def described(root: Path | None = None) -> dict[str, dict[str, Any]]:
    """What each topic's file says, by the file's stem."""
    folder = (root or schemas_root()) / "topics"
    return {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in folder.glob("*.yaml")}


@cache
def schema(contract: str) -> dict[str, Any]:
    """A contract's JSON Schema."""
    file = schemas_root() / "json" / f"{contract}.schema.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


@cache
def validator(contract: str) -> jsonschema.protocols.Validator:
    """What checks one value. A whole number is written without a point: 1.0 is none (README)."""
    # Without `$schema`: what is referred to would get a validator of its own, less strict.
    known = Registry().with_resources(
        (
            schema(each)["$id"],
            DRAFT202012.create_resource({k: v for k, v in schema(each).items() if k != "$schema"}),
        )
        for each in CODECS
    )
    strict = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    made: jsonschema.protocols.Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, type_checker=strict
    )(schema(contract), registry=known)
    return made


def accepts(contract: str, value: Any) -> bool:
    """Whether the schema, and the one rule of `send` that a schema cannot say, accept a value."""
    if not validator(contract).is_valid(value):
        return False
    if contract == "send" and value["mode"] == "identified":
        return bool(len(value["recipients"]) == value["recipient_count"])
    return True


def parts(data: bytes, *, batched: bool) -> list[Any]:
    """The values that a record holds. Raises msgspec.DecodeError or RecursionError: no JSON."""
    value = msgspec.json.decode(data)
    return value if batched and isinstance(value, list) else [value]


def orphans(root: Path) -> Iterator[str]:
    """What in schemas/ belongs to nothing, and what lacks what belongs to it, a line each."""
    topics = described(root)
    named = {fields["schema"] for fields in topics.values() if "schema" in fields}
    stand = {file.name.removesuffix(".schema.json") for file in (root / "json").iterdir()}
    yield from (f"json/{each}: no topic names this schema" for each in sorted(stand - named))
    yield from (f"json/{each}.schema.json: missing" for each in sorted(named - stand))
    found = examples(root)
    for topic, fields in topics.items():
        kinds = {each.reason is None for each in found if each.topic == topic}
        if fields.get("schema"):
            if True not in kinds:
                yield f"examples/{topic}: missing"
        elif kinds:
            yield f"examples/{topic}: the topic has no schema"
        source = topic.removesuffix(".rejected")
        if source != topic and not any(e.topic == source and e.reason for e in found):
            yield f"examples/{source}/invalid: missing, but {topic} stands"
    for each in found:
        if each.topic not in topics:
            yield f"examples/{each}: no topic of this name"
        if each.reason is not None and each.reason not in REASONS:
            yield f"examples/{each}: names no reason of {', '.join(REASONS)}"
