"""Every example goes through its schema and its codec; nothing in schemas/ is orphaned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mailwake import ids
from mailwake.codec import InvalidError
from mailwake.contracts import EVENT, HIT
from mailwake.rejects import reject
from mailwake.schemas import schemas_root
from mailwake.topics import registry
from tests.contract.examples import (
    CODECS,
    GOOD,
    INVALID,
    REASONS,
    Example,
    accepts,
    described,
    of,
    orphans,
    parts,
    validator,
)

good = pytest.mark.parametrize("example", GOOD, ids=str)
UNREADABLE = [each for each in INVALID if each.reason in ("not_json", "contract")]


def contract_of(example: Example) -> str:
    contract = registry()[example.topic].schema
    assert contract is not None
    return contract


def test_nothing_is_orphaned() -> None:
    assert list(orphans(schemas_root())) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda root: (root / "json/x.schema.json").touch(), "json/x: no topic names this schema"),
        (lambda root: (root / "json/hit.schema.json").unlink(), "json/hit.schema.json: missing"),
        (lambda root: shutil.rmtree(root / "examples/alerts"), "examples/alerts: missing"),
        (
            lambda root: shutil.copytree(root / "examples/hits", root / "examples/clicks"),
            "examples/clicks/batch: no topic of this name",
        ),
        (
            lambda root: (root / "topics/alerts.yaml").unlink(),
            "json/alert: no topic names this schema",
        ),
        (
            lambda root: (root / "examples/hits/invalid/x.odd.json").touch(),
            f"examples/hits/x.odd: names no reason of {', '.join(REASONS)}",
        ),
        (
            lambda root: shutil.rmtree(root / "examples/sends/invalid"),
            "examples/sends/invalid: missing, but sends.rejected stands",
        ),
        (
            lambda root: shutil.copytree(root / "examples/hits", root / "examples/hits.rejected"),
            "examples/hits.rejected: the topic has no schema",
        ),
    ],
)
def test_an_orphan_would_be_found(
    tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    root = tmp_path / "schemas"
    shutil.copytree(schemas_root(), root)
    damage(root)
    assert told in list(orphans(root))


@good
def test_its_schema_accepts_it(example: Example) -> None:
    contract = contract_of(example)
    for value in parts(example.data, batched=registry()[example.topic].batched):
        validator(contract).validate(value)
        assert accepts(contract, value)


@good
def test_its_codec_takes_it_and_gives_it_back(example: Example) -> None:
    codec = CODECS[contract_of(example)]
    values, bad = (
        codec.read(example.data)
        if registry()[example.topic].batched
        else (
            [codec.decode(example.data)],
            [],
        )
    )
    assert bad == []
    assert codec.read(codec.encode_many(values)) == (values, [])
    if "later" not in example.name and "shorter" not in example.name:
        for value, written in zip(
            values, parts(example.data, batched=registry()[example.topic].batched), strict=True
        ):
            assert msgspec.json.decode(codec.encode(value)) == without_defaults(example, written)


def without_defaults(example: Example, written: object) -> object:
    """What the codec leaves out: fields that say their default."""
    if not isinstance(written, dict):
        return written
    fields = validator(contract_of(example)).schema["properties"]  # type: ignore[index]
    unset = object()
    return {
        name: value
        for name, value in written.items()
        if value != fields[name].get("default", unset)
    }


@pytest.mark.parametrize("example", UNREADABLE, ids=str)
def test_its_schema_refuses_it(example: Example) -> None:
    try:
        values = parts(example.data, batched=registry()[example.topic].batched)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        assert example.reason == "not_json"
        return
    assert example.reason == "contract"
    assert not all(accepts(contract_of(example), value) for value in values)


@pytest.mark.parametrize("example", UNREADABLE, ids=str)
def test_its_codec_refuses_it_with_the_reason(example: Example) -> None:
    codec = CODECS[contract_of(example)]
    if not registry()[example.topic].batched:
        with pytest.raises(InvalidError) as caught:
            codec.decode(example.data)
        assert caught.value.reason == example.reason
        return
    values, bad = codec.read(example.data)
    assert {error.reason for _, error in bad} == {example.reason}
    if "array-with" in example.name:
        assert values
    else:
        assert values == []


@pytest.mark.parametrize(
    "example", [each for each in INVALID if f"{each.topic}.rejected" in registry()], ids=str
)
def test_its_reject_record_says_what_the_topic_promises(example: Example) -> None:
    rejected = described()[f"{example.topic}.rejected"]
    for part, error in CODECS[contract_of(example)].read(example.data)[1]:
        value, told = reject(part, error, example.topic, 3, 14)
        headers = dict(told)
        assert value == part
        assert list(headers) == list(rejected["headers"])
        assert headers["mailwake-reason"].decode() in REASONS
        assert headers["mailwake-source"] == f"{example.topic}/3/14".encode()
        assert 0 < len(headers["mailwake-error"]) <= 500
        assert b"\n" not in headers["mailwake-error"]


@pytest.mark.parametrize("reason", ["not_json", "contract", "wrong_partition"])
def test_there_are_examples_of_a_reason(reason: str) -> None:
    assert any(each.reason == reason for each in INVALID)


@pytest.mark.parametrize("topic", [name for name, each in registry().items() if each.batched])
def test_a_batch_keeps_to_one_partition(topic: str) -> None:
    partition_of = ids.partitioner(registry()[topic].partitions)
    spread = {
        example.reason: {
            partition_of(part["message_id"].encode()) for part in parts(example.data, batched=True)
        }
        for example in [*of(topic), *of(topic, INVALID)]
        if example.reason in (None, "wrong_partition")
        and len(parts(example.data, batched=True)) > 1
    }
    assert len(spread[None]) == 1
    assert all(len(partitions) > 1 for reason, partitions in spread.items() if reason)


@pytest.mark.parametrize("example", of("events"), ids=str)
def test_events_carry_the_id_of_their_hit(example: Example) -> None:
    for event in EVENT.read(example.data)[0]:
        assert event.event_id == ids.event_id(event.hit_id, event.kind)


def test_the_hits_of_the_examples_lead_to_their_events() -> None:
    hits = {hit.hit_id for each in of("hits") for hit in HIT.read(each.data)[0]}
    first = next(each for each in of("events") if each.name == "first-click")
    assert EVENT.decode(first.data).hit_id in hits
